"""From video files to the cross-dataset table."""

from fas_jax.base.settings import Experiment
from fas_jax.runtime import cli


def main(settings: Experiment) -> None:
    """Runs a whole experiment, from videos to the cross-dataset table, and goes on where it was interrupted."""
    from fas_jax import experiment
    from fas_jax.runtime import devices

    folder = experiment.run(settings)
    if devices.is_first():
        print((folder / "results.md").read_text(encoding="utf-8"))
        print(f"The report is {folder / 'report.md'}.")


if __name__ == "__main__":
    cli.experiment_main(main, "configs/quickstart.toml")
