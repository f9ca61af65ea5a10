"""An experiment: its configuration, its run's folder, and the stages from videos to the cross-dataset table."""
