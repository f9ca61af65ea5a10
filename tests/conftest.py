"""What all tests share."""

import atexit
import importlib
import importlib.metadata
import os
import pkgutil
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests import kept_programs

# Before JAX is imported, here and in the processes that tests start: what one test compiled, the next ones read.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _kept = kept_programs.home()
    _session = kept_programs.open_session(_kept)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_session)
    atexit.register(kept_programs.close_session, _session, _kept)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Likewise: tests spend far longer on compiling programs than on running them. The older of XLA's two ways to make code
# of fused operations compiles in half the time; from jaxlib 0.11 on there is only the newer one.
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    _quick = ["--xla_backend_optimization_level=0"]
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        _quick.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join([*_quick, os.environ.get("XLA_FLAGS", "")]).strip()

# Likewise: our own code promotes no dtype and no rank in silence.
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import jaxtyping
import pytest
from hypothesis import settings

from tests import background

# Before anything of the package is imported: every call is checked against the types and shapes that it declares.
_CHECKED = ("models", "training", "features", "methods", "evaluation", "experiment", "deployment")
importlib.import_module("tests.checked_types")
jaxtyping.install_import_hook([f"fas_jax.{room}" for room in _CHECKED], "tests.checked_types.check_types")

# Methods import what only their annotations name under TYPE_CHECKING, so that `--help` need not; the checks need it.
# What they import is imported before: to other packages, TYPE_CHECKING means static checkers alone.
importlib.import_module("fas_jax.training.chunks")
importlib.import_module("fas_jax.datasets.loading")
importlib.import_module("fas_jax.models.recurrent")
with pytest.MonkeyPatch.context() as patched:
    patched.setattr(typing, "TYPE_CHECKING", True)
    for module in pkgutil.iter_modules(importlib.import_module("fas_jax.methods").__path__):
        importlib.import_module(f"fas_jax.methods.{module.name}")

# Machines that run tests are often busy; a time limit for each example would fail at random.
settings.register_profile("fas_jax", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("fas_jax")

# Files that take minutes begin first, so that no worker is left with one of them when the others are done.
_LONGEST = (
    *("processes", "end2end", "reproduction", "scripts", "search", "rendered_training", "tasks", "robustness"),
    *("preparation", "features", "foreign_method", "interruption", "training", "chain", "scoring", "networks"),
    *("distributed_extraction", "finetune", "selecting_epochs", "synthetic_rendering", "fitting", "oracle"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}": number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Ends what a test has started and not waited for, or it would disturb the tests after it."""
    yield
    background.end_all()


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """For tests of arguments of other types than declared: what the package refuses by itself, and stand-ins."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made up and left blank: drawing them is three quarters of a report's time."""

    def blank(figure: object, file: Path | IO[bytes], **options: object) -> None:
        file.write_bytes(b"") if isinstance(file, Path) else file.write(b"")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", blank)


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
