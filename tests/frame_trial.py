"""Run as one process or several of one job: python -m tests.frame_trial FOLDER

Fits a tiny network on made-up clips as a run does it, with its files in the folder, and scores all clips.
"""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np

from fas_jax.base.parameters import save_tree
from fas_jax.runtime import devices
from tests.test_finetune import DESK, METHOD, clips, fit


def main(folder: str) -> None:
    devices.join()
    place = Path(folder)
    detector = fit(dataclasses.replace(METHOD, steps=6, validate_every=3), desk=dataclasses.replace(DESK, folder=place))
    scores = detector.score(clips().read(np.arange(32, 40), METHOD.inputs())).clip
    if devices.is_first():
        save_tree(place / "out.safetensors", {"scores": scores, **detector.params}, {"devices": jax.device_count()})
    devices.wait_for_all("the end")


if __name__ == "__main__":
    main(*sys.argv[1:])
