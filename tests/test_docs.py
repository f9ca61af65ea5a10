"""README and docs: links, commands, options and configurations are those of this version."""

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fas_jax.experiment.configuration import Experiment, default_methods, experiment_from_dict
from fas_jax.pixels.gate.settings import Gate

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BOOTSTRAP = """\
python3 scripts/bootstrap.py quickstart    # videos to cross-dataset table, on rendered videos; minutes on two cores
python3 scripts/bootstrap.py test          # the tests
"""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert BOOTSTRAP in text


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, _, anchor in re.findall(r"\]\(([^)#:]+)(#([^)]*))?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (page.parent / target).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}


@every_page
def test_named_files_and_scripts_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"(?:fas_jax|scripts|tests|configs|docs)/[\w/.-]+\.(?:py|md|toml)", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"scripts\.benchmarks\.([a-z_]+)", text):
        assert (ROOT / "scripts" / "benchmarks" / f"{name}.py").exists(), name


@every_page
def test_options_are_settings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"--([a-z]+(?:\.[a-z][a-z0-9_-]*)+)", text)
    unknown = [name for name in found if name.replace("-", "_") not in {each.replace("-", "_") for each in options()}]
    assert not unknown


def options() -> Iterator[str]:
    """Of the default configuration; for any name of a method or rendition, the settings of all; limits of the gate."""
    experiment = Experiment()
    for field in dataclasses.fields(experiment):
        value = getattr(experiment, field.name)
        if dataclasses.is_dataclass(value):
            for each in dataclasses.fields(value):
                yield f"{field.name}.{each.name}"
                yield f"{field.name}.no-{each.name}"
    settings = {each.name for method in default_methods().values() for each in dataclasses.fields(method)}
    for name in (*default_methods(), "NAME"):
        yield from (f"methods.{name}.{each}" for each in settings)
    for name, rendition in experiment.renditions.items():
        yield from (f"renditions.{name}.{each.name}" for each in dataclasses.fields(rendition))
    yield from (f"limits.{each.name}" for each in dataclasses.fields(Gate))


@every_page
def test_configurations_can_be_read(page: Path) -> None:
    for block in re.findall(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if "project" not in tomllib.loads(block):  # of another package, in its pyproject.toml
            experiment_from_dict(tomllib.loads(block), page.name).check()
