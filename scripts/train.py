"""Trains the models of an experiment."""

from fas_jax.base.settings import Experiment
from fas_jax.runtime import cli


def main(settings: Experiment) -> None:
    """Trains an experiment's models, after preparing and extracting what is missing; evaluates nothing."""
    from fas_jax import experiment
    from fas_jax.runtime import devices

    run = experiment.train(settings)
    if devices.is_first():
        print(f"{len(run.trials)} ensembles are trained; scripts/evaluate.py {run.folder} scores them.")


if __name__ == "__main__":
    cli.experiment_main(main, "configs/quickstart.toml")
