"""The site's generated pages hold what the code holds, its notebooks are clean, and its check finds broken links."""

import dataclasses
import importlib
import json
import re
import typing
from pathlib import Path

import pytest

from fas_jax import commands
from fas_jax.base.declarations import declared
from fas_jax.experiment.configuration import Experiment
from fas_jax.methods.registry import kinds
from scripts.site import api_page, commands_page, notebooks, settings_page
from scripts.site.check_links import faults

ROOT = Path(__file__).resolve().parents[1]


def rows(text: str) -> dict[str, str]:
    """By the name in a row's first cell, the row."""
    return {match[1]: match[0] for match in re.finditer(r"^\| `([^`]+)`.*$", text, re.MULTILINE)}


def sections(text: str) -> dict[str, str]:
    """By the headings of the second level, what stands below them."""
    return dict(re.findall(r"^## (.+?)\n\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def test_every_setting_of_an_experiment_has_a_row_with_its_class() -> None:
    page = sections(settings_page.experiment_page())
    for field in dataclasses.fields(Experiment):
        if field.name in ("renditions", "rendered"):
            assert f"[{field.name}.NAME]" in page
            continue
        kind = typing.get_type_hints(Experiment)[field.name]
        if not dataclasses.is_dataclass(kind):
            assert f"*{declared(field).value}*" in rows(page["Top level"])[field.name]
            continue
        for each in dataclasses.fields(kind):
            assert f"*{declared(each).value}*" in rows(page[f"[{field.name}]"])[each.name]


def test_rows_say_default_limits_choices_and_meaning() -> None:
    page = sections(settings_page.experiment_page())
    assert rows(page["[evaluation]"])["validation_fraction"] == (
        "| `validation_fraction`<br>`0.2`, > 0, < 1, *what* | Share of the sources' subjects that is cut "
        "out for early stopping and the threshold; above 0 and below 1. |"
    )
    assert 'one of `"png"`, `"raw"`' in rows(page["[preparation]"])["records"]
    assert "`false`, *failure policy*" in rows(page["[preparation]"])["allow_partial"]


def test_every_setting_of_every_method_is_in_its_section_or_in_one_that_it_names() -> None:
    page = sections(settings_page.methods_page())
    for name, where in kinds().items():
        module, _, kind = where.partition(":")
        method = getattr(importlib.import_module(module), kind)
        named = [name, *re.findall(r"\[(Shared: \w+)\]", page[name])]
        known = "".join(page[each] for each in named)
        for field in dataclasses.fields(method):
            assert f"| `{field.name}`" in known or f"| `{field.name}." in known, (name, field.name)


@pytest.mark.parametrize("name", ["predict", "fetch_weights", "prepare"])
def test_help_becomes_tables_with_every_option(name: str) -> None:
    text = commands_page.help_of(name)
    options = set(re.findall(r"^│ (--[\w-]+)", text, re.MULTILINE))
    assert options
    found = " ".join(rows("\n\n".join(commands_page.options(text))))
    assert all(option in found for option in options)


def test_every_command_has_a_group() -> None:
    modules = {path.stem for path in (ROOT / "fas_jax" / "commands").glob("*.py")} - {"__init__"}
    assert modules == {name for names in commands.GROUPS.values() for name in names}


def test_the_interface_shows_signatures_sections_and_attributes() -> None:
    text = api_page.page()
    assert "### Method\n" in text
    assert "#### Method.fit\n" in text
    assert "- `jobs`: At least one." in text
    assert "| `version`<br>`ClassVar[int]` |" in text


def test_notebooks_are_kept_without_outputs() -> None:
    assert notebooks.sources()
    for source in notebooks.sources():
        for cell in json.loads(source.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    kept = {path.name for path in (ROOT / "docs").glob("*.md")} | {
        path.with_suffix(".md").name for path in notebooks.sources()
    }
    assert kept <= named
    assert named - kept == {"index.md", "settings.md", "method-settings.md", "command-help.md", "api.md", "glossary.md"}


def test_the_check_of_links_finds_what_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p id="here"></p><a href="b.html#there">b</a><a href="#here">up</a>')
    (tmp_path / "b.html").write_text('<a href="a.html#here">a</a><a href="https://example.org/x">elsewhere</a>')
    assert faults(tmp_path) == ["a.html: b.html#there names no place of that page"]
    (tmp_path / "b.html").write_text(
        '<h1 id="there"></h1><a href="c.html">c</a><script src="https://x.org/a.js"></script>'
    )
    assert faults(tmp_path) == ["b.html loads https://x.org/a.js from elsewhere", "b.html: c.html leads nowhere"]
