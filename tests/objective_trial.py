"""Run in a process of its own, because the number of virtual devices is fixed when JAX starts.

    JAX_NUM_CPU_DEVICES=4 python -m tests.objective_trial OUT.npz

Writes loss, gradient and statistics of one batch, by every objective, on one device and on all by either mapping.
"""

import sys
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh

from fas_jax.runtime import devices
from fas_jax.training import network_steps
from tests import step_cases

NAMES = ("ssdg", "safas")


def gradient(name: str, count: int, mapping: devices.Mapping) -> dict[str, np.ndarray]:
    """On so many devices, which share the batch."""
    mesh = Mesh(np.array(jax.devices()[:count]).reshape(1, -1), (devices.RUNS, devices.DATA))
    batch = {key: each.reshape(count, -1, *each.shape[1:]) for key, each in step_cases.batch(name, 1).items()}
    function = devices.parallel(
        partial(network_steps.mean_gradient, step_cases.OBJECTIVES[name], step_cases.SETTINGS[name]),
        mesh,
        (devices.SAME, devices.SAME, devices.BY_ROW, devices.SAME, devices.SAME),
        devices.SAME,
        mapping=mapping,
    )
    params, stats = step_cases.start(name)
    # Late in the training, where the gradient is reversed in full.
    found, loss, stats = function(params, stats, batch, jax.random.key(9), np.int32(step_cases.STEPS))
    return {"loss": np.asarray(loss), **step_cases.flat({"gradient": found, "stats": stats})}


def main(out: str) -> None:
    assert jax.device_count() == 4
    found = {}
    for name in NAMES:
        for count, mapping in ((1, "shard_map"), (4, "shard_map"), (4, "pmap")):
            own = gradient(name, count, mapping)  # type: ignore[arg-type]
            found |= {f"{name}/{count} {mapping}/{place}": values for place, values in own.items()}
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
