"""Searches methods and hyper-parameters at random, on the sources alone."""

from functools import partial

from fas_jax.experiment.configuration import Experiment, experiment_main


def main(settings: Experiment) -> None:
    """Searches methods and hyper-parameters at random, by cross-validation within the sources.

    Each method says what is drawn for it: --methods.NAME.search. Tables, a figure of what mattered and ready settings
    for fas-jax train go to RUN/search/PROTOCOL. The target is not read. An interrupted search goes on, and one with
    more --search.trials adds to what it finds there.
    """
    from fas_jax.runtime import devices
    from fas_jax.studies.search.run import search

    folders = search(settings)
    for folder in folders if devices.is_first() else ():
        print((folder / "search.md").read_text(encoding="utf-8"))
        print(f"All of it is in {folder}.")


command = partial(experiment_main, main, "quickstart")
