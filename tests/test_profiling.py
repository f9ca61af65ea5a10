"""The profiler's trace appears, holds the steps, and changes no result."""

import gzip
import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from fas_jax.base.settings import Training
from fas_jax.training import fitting, profiling
from tests.device_trial import ARCHITECTURE, RUNS, clips


@pytest.mark.parametrize("steps", [1, 8])
def test_a_few_steps_after_the_first_are_traced(tmp_path, monkeypatch, capsys, steps):
    monkeypatch.setattr(profiling, "_STEPS", steps)
    settings = Training(batch_size=12, max_epochs=3, validate_every=1, patience=99, learning_rate=1e-2)
    plain = fitting.fit(ARCHITECTURE, RUNS, clips(), settings)
    traced = fitting.fit(ARCHITECTURE, RUNS, clips(), replace(settings, profile=str(tmp_path)), title="gru 8")
    for one, other in zip(jax.tree.leaves(plain.params), jax.tree.leaves(traced.params), strict=True):
        np.testing.assert_array_equal(one, other)
    (trace,) = tmp_path.rglob("perfetto_trace.json.gz")
    assert trace.relative_to(tmp_path).parts[0] == "gru 8"
    found = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert any("while" in event.get("name", "") for event in found)
    assert f"a trace of {min(steps, 2)} steps: open {trace}" in capsys.readouterr().out


@pytest.mark.parametrize(("steps", "traced"), [(12, 8), (5, 3)])
def test_steps_of_a_network_on_frames_are_traced(tmp_path, capsys, steps, traced):
    program = jax.jit(lambda x: x + 1)
    value = np.float32(0)
    with profiling.traced_steps(tmp_path, "net") as note:
        for _ in range(steps):
            value = program(value)
            note(value)
    (trace,) = tmp_path.rglob("perfetto_trace.json.gz")
    assert trace.relative_to(tmp_path).parts[0] == "net"
    assert f"a trace of {traced} steps: open {trace}" in capsys.readouterr().out
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    calls = sum(event.get("name", "").startswith("PjitFunction") for event in events)
    # Python's and the runtime's call of a program are events each.
    assert calls == 2 * traced
