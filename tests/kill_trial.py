"""A small training in a process of its own, to be killed: python -m tests.kill_trial FOLDER OUT.npz"""

import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from fas_jax.base.settings import Training
from fas_jax.training import fitting
from fas_jax.training.checkpoints import Checkpoints
from tests.device_trial import ARCHITECTURE, RUNS, clips

SETTINGS = Training(
    batch_size=12,
    max_epochs=60,
    validate_every=1,
    patience=999,
    learning_rate=1e-2,
    monitor="loss",
    checkpoint_every=1,
)


def main(folder: str, out: str) -> None:
    runs = [*RUNS, replace(RUNS[0], name="c", seed=3, learning_rate=1e-3)]
    print("ready", flush=True)
    fitted = fitting.fit(ARCHITECTURE, runs, clips(), SETTINGS, Checkpoints(Path(folder), {"trial": "kill"}))
    leaves = {f"params/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(fitted.params))}
    np.savez(out, best=fitted.best_epoch, **leaves, **fitted.history)


if __name__ == "__main__":
    main(*sys.argv[1:])
