"""Run in a process of its own, because the number of virtual devices is fixed when JAX starts.

    XLA_FLAGS=--xla_force_host_platform_device_count=4 python -m tests.network_trial OUT.npz [CHECKPOINTS]

Trains a tiny network on made-up frames, on all devices of all processes of its job, and writes the gradient of one
batch and what was trained.
"""

import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

from fas_jax.base.settings import Execution
from fas_jax.runtime import devices
from fas_jax.training import network_steps
from fas_jax.training.checkpoints import Checkpoints
from fas_jax.training.classification import Classification
from fas_jax.training.network_settings import NetworkTraining
from fas_jax.training.networks import Trained, train_network
from fas_jax.training.stopping import Validated
from tests.tiny_network import TINY

EXECUTION = Execution(run_devices=1, checkpoint_every=1)
OBJECTIVE = Classification(TINY, dropout=0.2, smoothing=0.05)
SETTINGS = NetworkTraining(steps=12, learning_rate=1e-2, warm_up=2, validate_every=4, clip_norm=1.0)


def batch_of(step: int, size: int = 8) -> dict[str, np.ndarray]:
    """Bona fide frames are lighter on the left; the batch is a pure function of the step."""
    rng = np.random.default_rng([5, step])
    labels = (np.arange(size) % 2).astype(np.int32)
    frames = rng.integers(0, 160, (size, 32, 32, 3))
    frames[:, :, :16] += 70 * labels[:, None, None, None]
    return {"frames": frames.astype(np.uint8), "labels": labels, "slots": np.arange(size, dtype=np.int32)}


def validate(objective: Classification, params, stats) -> Validated:
    """By the loss of frames that no step sees."""
    batch = batch_of(10**6, 32)
    margin = np.asarray(jax.jit(objective.log_odds)(params, stats, batch["frames"]), np.float64)
    margin = margin * (2 * batch["labels"] - 1)
    right = np.array([[(margin[batch["labels"] == label] > 0).sum()] for label in (0, 1)])
    loss = np.logaddexp(0, -margin).mean(keepdims=True).astype(np.float32)
    return Validated(np.zeros(1), loss, right, np.array([[16], [16]]), np.array([[16], [16]]))


def begin(objective: Classification = OBJECTIVE, seed: int = 0):
    params, stats = objective.network.init(seed)
    return {"backbone": params, "head": objective.head(seed)}, stats


def train(
    settings: NetworkTraining = SETTINGS, objective: Classification = OBJECTIVE, batches=batch_of, **options
) -> Trained:
    checks = partial(validate, objective)
    return train_network(
        objective, *begin(objective), batches, checks, settings, options.pop("execution", EXECUTION), 3, **options
    )


def gradient(
    settings: NetworkTraining = SETTINGS, objective: Classification = OBJECTIVE, execution: Execution = EXECUTION
):
    """Gradient, loss and new statistics of one batch on all devices."""
    mesh = devices.make_mesh(1, 8, execution.run_devices)
    shares = mesh.shape[devices.DATA]
    divided = {name: values.reshape(shares, -1, *values.shape[1:]) for name, values in batch_of(0).items()}
    batch = devices.place(divided, mesh, devices.BY_ROW)
    function = devices.parallel(
        partial(network_steps.mean_gradient, objective, settings),
        mesh,
        (devices.SAME, devices.SAME, devices.BY_ROW, devices.SAME, devices.SAME),
        devices.SAME,
        mapping=execution.mapping,
    )
    key = jax.random.wrap_key_data(devices.place(jax.random.key_data(jax.random.key(9)), mesh))
    return devices.fetch(function(*devices.place(begin(objective), mesh), batch, key, np.int32(0)))


def slow_batch(step: int) -> dict[str, np.ndarray]:
    """So that a test has time to kill the process."""
    time.sleep(0.1)
    return batch_of(step)


def main(out: str, folder: str = "", mapping: str = "shard_map") -> None:
    devices.join()
    execution = Execution(run_devices=1, checkpoint_every=1, mapping=mapping)  # type: ignore[arg-type]
    checkpoints = Checkpoints(Path(folder), {"trial": 1}) if folder else None
    found = train(batches=slow_batch if folder else batch_of, checkpoints=checkpoints, execution=execution)
    arrays = {f"trained/{i}": leaf for i, leaf in enumerate(jax.tree.leaves((found.params, found.stats)))}
    arrays |= {f"gradient/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(gradient(execution=execution)))}
    if devices.is_first():
        np.savez(out, devices=jax.device_count(), best=found.best_step, loss=found.history["train_loss"], **arrays)
    devices.wait_for_all("the end")


if __name__ == "__main__":
    main(*sys.argv[1:])
