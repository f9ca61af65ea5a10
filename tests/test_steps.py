"""Fifty optimiser steps of every objective beside PyTorch's: same weights, batches and masks."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from fas_jax.training import network_steps
from tests import step_cases
from tests.make_golden_steps import GOLDEN, by_torch
from tests.objective_trial import NAMES
from tests.step_cases import OBJECTIVES, SETTINGS, STEPS

ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-4


def ours(name: str) -> dict[str, np.ndarray]:
    """Losses, and parameters and statistics after the last step, by their path."""
    objective, settings = OBJECTIVES[name], SETTINGS[name]
    state = network_steps.start(*step_cases.start(name), settings, step_cases.SEED)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("runs", "data"))
    step = network_steps.step_program(objective, settings, mesh, "shard_map")
    hyper = np.array([settings.learning_rate, settings.weight_decay], np.float32)
    losses = []
    for number in range(STEPS):
        batch = {key: values[None] for key, values in step_cases.batch(name, number).items()}
        state, loss = step(state, batch, hyper)
        losses.append(float(loss))
    return {"losses": np.array(losses), **step_cases.flat({**state.params, "stats": state.stats})}


def golden(name: str) -> dict[str, np.ndarray]:
    """The same of PyTorch, as `make_golden_steps` stored it."""
    return {key.removeprefix(f"{name}/"): each for key, each in np.load(GOLDEN).items() if key.startswith(f"{name}/")}


def difference(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """The largest difference of a number, as a share of the largest number of its array or of 1."""
    assert found.keys() == wanted.keys()
    return max(np.abs(found[key] - each).max() / max(1, np.abs(each).max()) for key, each in wanted.items())


def slow(name: str):
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["ssdg", slow("safas"), slow("finetune")])
@pytest.mark.optimised
def test_fifty_steps_are_pytorchs(name):
    wanted, found = golden(name), ours(name)
    begun = step_cases.flat(step_cases.start(name)[0])
    # They went somewhere: most parameters moved more than ten times as far as they may differ.
    moved = [difference({key: each}, {key: wanted[key]}) > 10 * TOLERANCE for key, each in begun.items()]
    assert np.mean(moved) > 0.5
    assert difference(found, wanted) < TOLERANCE


@pytest.mark.peer
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_golden_steps_are_what_pytorch_finds_here(name):
    pytest.importorskip("torch")
    assert difference(by_torch(name), golden(name)) < 1e-6


@pytest.mark.slow
def test_four_devices_compute_what_one_does(tmp_path):
    """Gradients of losses that compare clips, or count those of a domain, of which a device has none."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.objective_trial", str(tmp_path / "out.npz")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(np.load(tmp_path / "out.npz"))
    for name in NAMES:
        one = {key: each for key, each in found.items() if key.startswith(f"{name}/1 shard_map/")}
        largest = max(np.abs(each).max() for key, each in one.items() if "/gradient/" in key)
        for mapping in ("shard_map", "pmap"):
            for key, wanted in one.items():
                own = found[key.replace("/1 shard_map/", f"/4 {mapping}/")]
                # The scale before another normalisation has a gradient that is zero but for rounding.
                least = 0.05 * largest if "/gradient/" in key else 1
                assert np.abs(own - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), least), (key, mapping)
