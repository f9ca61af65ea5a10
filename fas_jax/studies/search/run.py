"""The search as a stage of an experiment: from its settings to what was found for each protocol."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.experiment import stages
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.planning import LEFT_OUT, ORACLE, TRAINING_DOMAIN
from fas_jax.experiment.run import only_job
from fas_jax.protocols.presets import Protocol
from fas_jax.runtime import devices
from fas_jax.studies.search.crossvalidation import search_protocol
from fas_jax.studies.search.report import write_search
from fas_jax.studies.search.space import chosen, draw_all


def search(experiment: Experiment) -> list[Path]:
    """Random search on the sources of each protocol; reads no target's features.

    Returns:
        The folder of each protocol, with what `write_search` writes.

    Raises:
        UserError: Before anything is read, what cannot be drawn, an unknown protocol or one that validates on its
            target; and as `stages.run` and `search_protocol`.
    """
    experiment.check()
    if experiment.evaluation.selection == ORACLE:
        raise UserError(
            f"evaluation.selection = {ORACLE} chooses on the target, which a search must not read; take "
            f"{TRAINING_DOMAIN} or {LEFT_OUT}"
        )
    draw_all(experiment)
    protocols = chosen(experiment.search, stages.check(experiment))
    with only_job(experiment):
        return _search(experiment, protocols)


def _search(experiment: Experiment, protocols: Sequence[Protocol]) -> list[Path]:
    opened = stages.open_checked(experiment)
    # Methods that the run holds besides are not searched.
    own = dataclasses.replace(opened.experiment, methods=experiment.methods)
    folders = []
    with opened.seconds.stage("search"):
        for protocol in protocols:
            folder = opened.folder / "search" / protocol.name
            plans = [each for each in opened.plans if each.protocol.name == protocol.name]
            found = search_protocol(own, plans, opened.corpus, folder)
            if devices.is_first():
                write_search(folder, experiment, found)
            folders.append(folder)
    return folders
