"""One of several processes that train on features that stay on disk, with options STORES RUN."""

import sys
from pathlib import Path

from fas_jax.runtime import devices

if __name__ == "__main__":
    places, run = map(Path, sys.argv[1:])
    devices.join()
    from fas_jax.base.settings import Evaluation, Execution
    from fas_jax.experiment import planning
    from fas_jax.experiment.corpus import Corpus
    from fas_jax.experiment.fitting import fit_methods
    from fas_jax.features.store import FeatureStore
    from fas_jax.methods.recurrent import Gru
    from fas_jax.methods.stack import LstmStack
    from tests import stores

    quick = {"batch_size": 16, "max_epochs": 3, "validate_every": 1, "monitor": "loss"}
    settings = stores.experiment(
        methods={"gru": Gru(hidden=4, **quick), "meta": LstmStack(over=("gru",), hidden=4, **quick)},
        training=Execution(resident_mb=1, part_mb=1),
        evaluation=Evaluation(targets=("M",)),
    )
    corpus = Corpus.of({"whole": [FeatureStore.open(path) for path in sorted(places.iterdir())]})
    fit_methods(settings, planning.plan(settings, corpus.videos), corpus, run)
