"""Run in a process of its own, because the number of virtual devices is fixed when JAX starts.

    XLA_FLAGS=--xla_force_host_platform_device_count=4 python -m tests.device_trial shard_map OUT.npz

Writes gradients of one batch and parameters after 50 steps, of two runs side by side.
"""

import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fas_jax.base.settings import Training
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.runtime import devices
from fas_jax.training import fitting, program, steps
from fas_jax.training.fitting import Clips, Run


def clips(features: int = 6) -> Clips:
    """Forty clips whose lengths rise, so that the devices' shares of a batch hold different numbers of frames."""
    rng = np.random.default_rng(0)
    lengths = 1 + np.arange(40) // 8
    mask = np.arange(5) < lengths[:, None]
    labels = rng.integers(0, 2, 40).astype(np.int32)
    values = rng.normal(size=(40, 5, features)) + labels[:, None, None]
    return Clips(jnp.asarray(values * mask[..., None], jnp.float32), jnp.asarray(mask), jnp.asarray(labels))


# 18 clips in batches of 12: the second batch is not full, and neither share is even over 4 devices.
RUNS = (Run("a", 1, np.arange(18), np.arange(18, 40)), Run("b", 2, np.arange(5, 23), np.arange(23, 40)))
ARCHITECTURE = RecurrentClassifier("gru", 6, 8, "he")


def main(mapping: str, out: str, run_devices: str = "1", large: str = "") -> None:
    if large:  # as a network is trained that is large for a CPU
        program._LARGE = 0
    everything = clips()
    params = ARCHITECTURE.init(jax.random.key(3))
    batch = np.full((jax.local_device_count(), -(-18 // jax.local_device_count())), -1, np.int32)
    batch.reshape(-1)[:18] = np.arange(22, 40)

    mesh = devices.make_mesh(1, 18, 1)
    gradient = devices.parallel(
        partial(steps.mean_gradient, ARCHITECTURE),
        mesh,
        (devices.SAME, devices.SAME, devices.BY_ROW, devices.SAME),
        devices.SAME,
        mapping=mapping,
    )
    grads, (loss, _, count) = gradient(params, everything, batch, jnp.ones(2))
    settings = Training(
        batch_size=12, max_epochs=25, validate_every=25, patience=99, learning_rate=1e-2, mapping=mapping
    )
    settings = replace(settings, run_devices=int(run_devices))
    fitted = fitting.fit(ARCHITECTURE, RUNS, everything, settings)
    arrays = {f"gradient/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(grads))}
    arrays |= {f"params/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(fitted.params))}
    np.savez(out, devices=jax.local_device_count(), loss=loss, count=count, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
