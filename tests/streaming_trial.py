"""One of several processes that train on features that stay on disk, with options STORES RUN."""

import sys
from pathlib import Path

from fas_jax.runtime import devices

if __name__ == "__main__":
    places, run = map(Path, sys.argv[1:])
    devices.join()
    from fas_jax.features.corpus import Corpus

    from fas_jax import crossdataset
    from fas_jax.base.settings import Evaluation, Models, Stacking, Training
    from fas_jax.features.store import FeatureStore
    from tests import stores

    settings = stores.experiment(
        models=Models(lstm=4, bilstm=4, gru=4, meta=4),
        training=Training(batch_size=16, max_epochs=3, validate_every=1, monitor="loss", resident_mb=1, part_mb=1),
        stacking=Stacking(folds=2, max_epochs=1),
        evaluation=Evaluation(targets=("M",)),
    )
    made = [FeatureStore.open(path) for path in sorted(places.iterdir())]
    corpus = Corpus.of(made)
    crossdataset.train(settings, crossdataset.plan(settings, corpus.videos), corpus, run)
