"""The rooms of fas_jax: their order, the imports between them, and who may import JAX.

Every import statement of the source counts, wherever it stands. One inside a function is put off until the function
runs, and one under TYPE_CHECKING never runs, but both tie their module to the other. Modules that the registry of
methods names in strings are imported when a configuration asks for them, and count as well. What does not count is the
package's own `__init__.py`, which Python runs before each of its modules, unless a name is imported from it.
"""

import ast
import graphlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "base",
    "runtime",
    "pixels",
    "datasets",
    "synthetic",
    "protocols",
    "models",
    "training",
    "features",
    "methods",
    "evaluation",
    "deployment",
    "reporting",
    "experiment",
    "studies",
    "library",
    "commands",
)
"""A room imports itself and those before it."""
WITHOUT_JAX = ("base", "pixels", "protocols", "evaluation", "reporting")
"""Worker processes, `--help` and the evaluation of anybody's scores start without JAX."""
MOST_ENTRIES = 20
MOST_LINES = 350
LONG: tuple[str, ...] = ()
"""Files that still have more lines."""


class Arrow(NamedTuple):
    """One import."""

    source: str
    target: str
    where: str
    """File and line."""


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "fas_jax").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def arrows() -> tuple[Arrow, ...]:
    return tuple(
        Arrow(module, target, f"{path.relative_to(ROOT)}:{line}")
        for module, path in modules().items()
        for target, line in imported(path.read_text(encoding="utf-8"), set(modules()))
    )


def imported(source: str, known: set[str]) -> list[tuple[str, int]]:
    """The modules of the package that a module's text imports, with the lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports name their module in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name if name in known else str(node.module), node.lineno) for name in names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name, colon, _ = node.value.partition(":")
            if colon and name in known:
                found.append((name, node.lineno))
    return list(dict.fromkeys(each for each in found if each[0].split(".")[0] == "fas_jax"))


def room(module: str) -> str:
    """`base` for `fas_jax.base.files`; empty for `fas_jax` itself, which exports the library."""
    return [*module.split("."), ""][1]


def test_the_graph_sees_imports_wherever_they_stand() -> None:
    source = """
import fas_jax.a
from fas_jax import b
from fas_jax.c import thing
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from fas_jax.d import Other
def later():
    from fas_jax.e import f
KINDS = {"g": "fas_jax.g:Kind", "text": "fas_jax.g is a module"}
"""
    known = {"fas_jax", *(f"fas_jax.{name}" for name in ("a", "b", "c", "d", "e", "e.f", "g"))}
    found = dict(imported(source, known))
    assert found == {
        f"fas_jax.{name}": line
        for name, line in zip(("a", "b", "c", "d", "e.f", "g"), (2, 3, 4, 7, 9, 10), strict=True)
    }


def test_the_top_has_the_rooms_and_few_entries() -> None:
    entries = {path.name for path in (ROOT / "fas_jax").iterdir() if path.name != "__pycache__"}
    assert entries == {*ROOMS, "__init__.py", "__main__.py", "py.typed"}
    assert len(entries) <= MOST_ENTRIES


def test_imports_go_one_way_between_rooms() -> None:
    floors = {name: floor for floor, name in enumerate((*ROOMS, "", "__main__"))}
    upward = [
        f"{each.where} imports {each.target}"
        for each in arrows()
        if floors[room(each.source)] < floors.get(room(each.target), len(floors))
    ]
    assert not upward, "\n".join(upward)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for each in arrows():
        if each.target in graph:
            graph[each.source].add(each.target)
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_every_import_names_a_module_that_exists() -> None:
    missing = [f"{each.where} imports {each.target}" for each in arrows() if each.target not in modules()]
    assert not missing, "\n".join(missing)


def test_the_package_imports_neither_scripts_nor_tests() -> None:
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"scripts", "tests"}, path


def test_rooms_without_jax_import_none() -> None:
    wanted = [name for name in modules() if room(name) in WITHOUT_JAX]
    assert_imports_no_jax("\n".join(f"import_module({name!r})" for name in wanted))


def test_help_imports_no_jax() -> None:
    """What `--help` reads: the configuration, and every method's settings with the ranges of its search."""
    assert_imports_no_jax(
        """
from fas_jax.experiment.configuration import experiment_to_dict, load_experiment
from fas_jax.methods.registry import find_kind, kinds
for kind in kinds():
    find_kind(kind)().variants()
for name in ("quickstart", "paper", "finetune"):
    experiment_to_dict(load_experiment(f"configs/{name}.toml"))
"""
    )


def assert_imports_no_jax(source: str) -> None:
    """Runs the lines in a process of its own; the message of a failure is the import that brought JAX in."""
    program = """
import sys
from importlib import import_module

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("jax", "jaxlib", "flax", "optax", "orbax"):
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Refuse())
"""
    done = subprocess.run(
        [sys.executable, "-c", program + source], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_files_are_short() -> None:
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("fas_jax", "scripts")
        for path in (ROOT / folder).rglob("*.py")
    }
    long = {name: count for name, count in lines.items() if count > MOST_LINES and name not in LONG}
    assert not long, f"more than {MOST_LINES} lines: {long}"


def test_the_readme_lists_the_rooms_in_this_order() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^```\nfas_jax/\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert tuple(re.findall(r"^  (\w+)/ ", listed, re.MULTILINE)) == ROOMS
