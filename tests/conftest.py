"""What all tests share."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before JAX is imported, here and in the processes that tests start: what one test compiled, the next ones read.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="fas-jax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import pytest
from hypothesis import settings

# Machines that run tests are often busy; a time limit for each example would fail at random.
settings.register_profile("fas_jax", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("fas_jax")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data for trials, which need not be there."""
    if not SHARED.exists():
        pytest.skip("no shared data beside the project")
    return SHARED


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all runs with the data of `tests.commands`; whoever changes its contents takes a copy."""
    return tmp_path_factory.mktemp("tiny-cache")
