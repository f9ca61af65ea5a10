"""The reference of commands, from each command's own --help."""

import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from unittest import mock

from fas_jax import commands
from fas_jax.experiment.configuration import experiment_main

_WIDTH = 100
_EXPERIMENT = (
    "`--config` names a configuration of the package or a TOML file, and `--methods SET` adds a set of methods. All "
    "other options are the [settings of an experiment](settings.md) and those [of its methods](method-settings.md), "
    "such as `--features.batch-size 64`."
)


def page() -> str:
    """Every command with its usage and options, in Markdown."""
    parts = [
        "# Commands and options",
        "This page has the text that `fas-jax COMMAND --help` prints. [Commands](commands.md) says what the commands "
        "are for and how they work together.",
    ]
    for group, names in commands.GROUPS.items():
        parts.append(f"## {group}")
        for name in names:
            word = name.replace("_", "-")
            module = import_module(f"{commands.__name__}.{name}")
            parts += [f"### fas-jax {word}", *_about(module.main)]
            if getattr(module.command, "func", None) is experiment_main:
                parts.append(_EXPERIMENT)
            else:
                parts += options(help_of(name))
    return "\n\n".join(parts) + "\n"


def help_of(name: str) -> str:
    """What a command prints for --help, 100 columns wide.

    Args:
        name: The command's module, such as `fetch_weights`.
    """
    word = name.replace("_", "-")
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # the encoding decides what boxes are drawn with
    with (
        mock.patch.object(sys, "argv", [f"fas-jax {word}", "--help"]),
        mock.patch.dict(os.environ, {"COLUMNS": str(_WIDTH)}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        import_module(f"{commands.__name__}.{name}").command()
    printed.seek(0)
    return printed.read()


def _about(main: Callable[..., Any]) -> Iterator[str]:
    """What help says before the options, which tyro takes from the docstring; what is indented there is code."""
    text = inspect.getdoc(main) or ""
    for paragraph in re.split(r"\n{2,}", text.partition("\nArgs:")[0].strip()):
        yield paragraph if paragraph.startswith(" ") else _plain(" ".join(paragraph.split()))


def options(text: str) -> Iterator[str]:
    """Usage, and the boxes of options as tables."""
    before, *boxes = re.split(r"^╭─ (.*?) ─*╮$", text, flags=re.MULTILINE)
    usage = " ".join(before.partition("\n\n")[0].removeprefix("usage: ").split())
    yield f"```text\n{usage}\n```"
    for title, box in zip(boxes[::2], boxes[1::2], strict=True):
        lines = [line.removeprefix("│ ").removesuffix("│").rstrip() for line in box.split("╰")[0].strip().splitlines()]
        ruler = next((i for i, line in enumerate(lines) if line.startswith("──")), -1)
        lines = lines[ruler + 1 :]  # above it stands what the group is for
        rows = [f"| `{name}` | {_plain(_cell(said))} |" for name, said in _entries(lines) if "--help" not in name]
        if rows:
            yield "\n".join([f"| {title} | meaning |", "|---|---|", *rows])


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Options with what is said of them: they begin at the margin, and the text stands behind or below them."""
    name, said = "", [""]
    for line in [*lines, "end"]:
        if line.startswith(" "):
            said.append(line.strip())
            continue
        if name:
            yield name, " ".join(said).strip()
        name, _, text = line.partition("  ")
        said = [text.strip()]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    """Help is no Markdown: its signs stand for themselves, and options are code."""
    parts = re.split(r"(--[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*)", text)
    return "".join(f"`{part}`" if i % 2 else re.sub(r"([*_<\[\]])", r"\\\1", part) for i, part in enumerate(parts))
