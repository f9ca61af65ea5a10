"""One of several processes that train together, under scripts/launch.py, with options FOLDER OUT EPOCHS RUN_DEVICES."""

import sys
from pathlib import Path

from fas_jax.runtime import devices

if __name__ == "__main__":
    folder, out, epochs, run_devices = sys.argv[1:]
    devices.join()
    import jax
    import numpy as np

    from fas_jax.base.settings import Training
    from fas_jax.training import fitting
    from fas_jax.training.checkpoints import Checkpoints
    from tests.device_trial import ARCHITECTURE, RUNS, clips

    settings = Training(
        batch_size=12, max_epochs=int(epochs), validate_every=1, patience=10**6, learning_rate=1e-2, monitor="loss",
        checkpoint_every=1, run_devices=int(run_devices),
    )  # fmt: skip
    fitted = fitting.fit(ARCHITECTURE, RUNS, clips(), settings, Checkpoints(Path(folder), {"trial": "processes"}))
    if devices.is_first():
        np.savez(out, **{f"params/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(fitted.params))})
