"""One of several processes that fit a network on frames, under scripts/launch.py, with options FOLDER OUT.

Each writes what it has found to OUT-NUMBER.npz.
"""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np

from fas_jax.methods.base import Detector, Failed, Job
from fas_jax.methods.frame_training import fit_networks
from fas_jax.runtime import devices
from tests.test_finetune import DESK, METHOD, TASK, clips

SETTINGS = dataclasses.replace(METHOD, steps=12, validate_every=2, learning_rate=1e-2)


def fit(folder: Path) -> dict[str, np.ndarray]:
    """The parameters of the detector, and scores of clips that it was not fitted on."""
    desk = dataclasses.replace(DESK, folder=folder)
    given = clips()
    (found,) = fit_networks([Job(SETTINGS, TASK)], given, desk)
    assert not isinstance(found, Failed)
    detector: Detector = found
    leaves = {f"params/{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(detector.params))}
    return leaves | {"scores": detector.score(given.read(np.arange(34, 40), SETTINGS.inputs())).clip}


if __name__ == "__main__":
    devices.join()
    np.savez(f"{sys.argv[2]}-{jax.process_index()}.npz", **fit(Path(sys.argv[1])))
    devices.wait_for_all("the end")
