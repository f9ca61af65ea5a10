"""Trains the methods of an experiment."""

from functools import partial

from fas_jax.experiment.configuration import Experiment, experiment_main


def main(settings: Experiment) -> None:
    """Trains an experiment's methods, after preparing and extracting what is missing; evaluates nothing.

    A run that is finished takes further methods: add a table [methods.NAME], and only that one is trained.
    """
    from fas_jax.experiment import stages
    from fas_jax.runtime import devices

    run = stages.train(settings)
    if devices.is_first():
        count = sum(len(each) for each in run.fitted.detectors.values())
        print(f"{count} detectors are trained; scripts/evaluate.py {run.folder} scores them.")


command = partial(experiment_main, main, "quickstart")
