"""The reference of the library: public names with their signatures and docstrings, read from the source."""

import ast
import importlib
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import fas_jax

_METHODS = ("fas_jax.methods.base", "fas_jax.methods.inputs", "fas_jax.methods.data")
"""What a new method implements and is given."""
_WIDTH = 88


def page() -> str:
    """The names that `fas_jax` exports, and the interface of methods, in Markdown."""
    parts = ["# Python interface"]
    exported = [name for name in getattr(fas_jax, "__all__", ()) if not name.startswith("__")]
    if exported:
        parts += ["## The library", "`import fas_jax` gives these names; each is imported when it is first used."]
        for name in exported:
            parts += _entry(f"fas_jax.{name}", getattr(fas_jax, name))
    parts += [
        "## The interface of methods",
        "A new kind of method implements this interface; see [Add a method](add-a-method.md).",
    ]
    for where in _METHODS:
        module = importlib.import_module(where)
        for name in _defined(module):
            parts += _entry(f"{where}.{name}", getattr(module, name))
    return "\n\n".join(parts) + "\n"


def _defined(module: types.ModuleType) -> Iterator[str]:
    """Public classes and functions that a module itself defines, in order."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name


def _entry(path: str, value: Any) -> Iterator[str]:
    yield f"### {path.rpartition('.')[2]}"
    if isinstance(value, types.ModuleType) or not callable(value) or not hasattr(value, "__qualname__"):
        about = inspect.getdoc(value) if isinstance(value, types.ModuleType) else ""
        yield f"`{path}`" + (f": {_prose(about)}" if about else "")
        return
    yield f"`{path}`"
    node = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(value)))).body[0]
    if isinstance(node, ast.ClassDef):
        yield from _class(node)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield _code(_signature(node))
        yield from _docstring(ast.get_docstring(node))


def _class(node: ast.ClassDef) -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield _code(f"class {node.name}({bases})" if bases else f"class {node.name}")
    yield from _docstring(ast.get_docstring(node))
    rows = []
    for field, text in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id[0] != "_":
            documented = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            about = str(text.value.value) if documented else ""  # type: ignore[union-attr]
            kind = ast.unparse(field.annotation)
            rows.append(f"| `{field.target.id}`<br>`{kind}` | {_prose(about)} |")
    if rows:
        yield "\n".join(["| attribute | meaning |", "|---|---|", *rows])
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            made = {ast.unparse(one) for one in each.decorator_list}
            yield f"#### {node.name}.{each.name}"
            if "property" in made:
                yield _code(f"{each.name}: {ast.unparse(each.returns)}" if each.returns else each.name)
            else:
                yield _code(_signature(each))
            yield from _docstring(ast.get_docstring(each))


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """On one line if it fits, else with a parameter on each."""
    arguments = [one for one in ast.unparse(node.args).split(", ") if one]
    back = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({', '.join(arguments)}){back}"
    if len(line) <= _WIDTH:
        return line
    joined: list[str] = []
    for one in arguments:  # a comma within brackets or quotes separates nothing
        if joined and (joined[-1].count("[") != joined[-1].count("]") or joined[-1].count("'") % 2):
            joined[-1] += f", {one}"
        else:
            joined.append(one)
    return "\n".join([f"{node.name}(", *(f"    {one}," for one in joined), f"){back}"])


def _docstring(text: str | None) -> Iterator[str]:
    """Google's sections as lists."""
    before, *sections = re.split(
        r"^(Args|Returns|Yields|Raises|Attributes|Example|Examples):\n", text or "", flags=re.M
    )
    if before.strip():
        yield before.strip()
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        yield f"**{'Parameters' if title == 'Args' else title}**"
        body = textwrap.dedent(body).strip()
        if title.startswith("Example"):
            yield _code(body)
            continue
        items = [_prose(one) for one in re.split(r"\n(?=\S)", body)]
        if title in ("Returns", "Yields"):
            yield _prose(body)
        else:
            yield "\n".join("- " + re.sub(r"^([\w*. ]+):", r"`\1`:", one) for one in items)


def _prose(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
