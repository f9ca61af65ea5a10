"""Traced and compiled programs in the user's cache."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from fas_jax.runtime import programs

ROOT = Path(__file__).parents[1]
CODE = """
import logging, sys, jax
from fas_jax.runtime.programs import keep_programs, run_kept
keep_programs()
compiled = []
jax.monitoring.register_event_listener(lambda name, **_: compiled.append(name))
print(float(jax.jit(lambda x: (x @ x).sum() + 7)(jax.numpy.ones((8, 8)))))

def network(params, x):
    print("traced", file=sys.stderr)
    return jax.numpy.tanh(x @ params["kernel"]) * 3


params = {"kernel": jax.numpy.arange(12.0).reshape(4, 3) / 7}
x = jax.numpy.linspace(-1, 1, 20).reshape(5, 4)
for rows in (x, x, x[:2]):
    kept = run_kept("a network", jax.jit(network), params, rows)
    assert (kept == jax.jit(lambda *args: jax.numpy.tanh(args[1] @ args[0]["kernel"]) * 3)(params, rows)).all()
print(sum(name.endswith("cache_misses") for name in compiled), sum(name.endswith("cache_hits") for name in compiled))
"""


def run(**environment: str) -> tuple[str, int, int, int]:
    """The result, and how many programs were compiled, read and traced."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    found = subprocess.run(
        [sys.executable, "-c", CODE],
        env=kept | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    result, counts = found.stdout.splitlines()
    compiled, read = counts.split()
    return result, int(compiled), int(read), found.stderr.count("traced")


@pytest.mark.slow
def test_the_next_process_compiles_nothing(tmp_path):
    result, compiled, read, traced = run(XDG_CACHE_HOME=str(tmp_path))
    assert compiled > 0
    assert traced == 2  # of three calls, two of one shape
    again = (result, 0, compiled + read, 0)
    assert run(XDG_CACHE_HOME=str(tmp_path)) == again
    (folder,) = (tmp_path / "fas_jax" / "programs").iterdir()
    traces = list((folder / "traces").iterdir())
    assert len(traces) == 2
    damaged = bytearray(traces[0].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    traces[0].write_bytes(damaged)
    assert run(XDG_CACHE_HOME=str(tmp_path)) == (result, 0, compiled + read, 1)
    assert run(XDG_CACHE_HOME=str(tmp_path)) == again


def test_a_trace_is_kept_no_longer_than_the_code(tmp_path, monkeypatch):
    class Network:
        __module__ = "their_network"

    module = types.ModuleType("their_network")
    module.__file__ = str(tmp_path / "their_network.py")
    monkeypatch.setitem(sys.modules, "their_network", module)
    found = []
    for code in ("x = 1", "x = 2"):
        (tmp_path / "their_network.py").write_text(code)
        programs._code_of.cache_clear()
        found.append(programs._code_of(Network))
    assert len({*found, programs._code_of(None)}) == 3


@pytest.mark.parametrize("place", ["own", ""])
def test_the_users_own_choice_goes_first(tmp_path, place):
    chosen = str(tmp_path / place) if place else ""
    run(XDG_CACHE_HOME=str(tmp_path / "home"), JAX_COMPILATION_CACHE_DIR=chosen)
    assert not (tmp_path / "home").exists() or not place


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(XDG_CACHE_HOME=str(tmp_path / "file"))[0] == "519.0"
