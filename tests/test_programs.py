"""Compiled programs in the user's cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = """
import logging, sys, jax
from fas_jax.runtime.programs import keep_programs
keep_programs()
compiled = []
jax.monitoring.register_event_listener(lambda name, **_: compiled.append(name))
print(float(jax.jit(lambda x: (x @ x).sum() + 7)(jax.numpy.ones((8, 8)))))
print(sum(name.endswith("cache_misses") for name in compiled), sum(name.endswith("cache_hits") for name in compiled))
"""


def run(**environment: str) -> tuple[str, int, int]:
    """The result, and how many programs were compiled and read."""
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
    return result, int(compiled), int(read)


def test_the_next_process_compiles_nothing(tmp_path):
    result, compiled, read = run(XDG_CACHE_HOME=str(tmp_path))
    assert compiled > 0 == read
    assert run(XDG_CACHE_HOME=str(tmp_path)) == (result, 0, compiled)
    (folder,) = (tmp_path / "fas_jax" / "programs").iterdir()
    assert any(folder.iterdir())


@pytest.mark.parametrize("place", ["own", ""])
def test_the_users_own_choice_goes_first(tmp_path, place):
    chosen = str(tmp_path / place) if place else ""
    run(XDG_CACHE_HOME=str(tmp_path / "home"), JAX_COMPILATION_CACHE_DIR=chosen)
    assert not (tmp_path / "home").exists() or not place


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(XDG_CACHE_HOME=str(tmp_path / "file"))[0] == "519.0"
