"""Runs an experiment, from videos to the cross-dataset table."""

from functools import partial

from fas_jax.experiment.configuration import Experiment, experiment_main


def main(settings: Experiment) -> None:
    """Runs a whole experiment, from videos to the cross-dataset table; an interrupted one continues."""
    from fas_jax.experiment import stages
    from fas_jax.runtime import devices

    folder = stages.run(settings)
    if devices.is_first():
        print((folder / "results.md").read_text(encoding="utf-8"))
        print(f"The report is {folder / 'report.md'}.")


command = partial(experiment_main, main, "quickstart")
