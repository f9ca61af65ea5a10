"""Notebooks under docs/: executes them, and renders them as pages. A notebook is kept without its outputs.

python -m scripts.site.notebooks    # executes all, in empty folders, into build/notebooks
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXECUTED = ROOT / "build" / "notebooks"
_SECONDS = 1200
"""For a cell; a busy machine takes long."""


def execute(source: Path, target: Path) -> None:
    """Runs a notebook from beginning to end in an empty folder, and writes it with what its cells gave.

    Args:
        source: The notebook.
        target: The executed copy.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed; the message has its traceback.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        client = nbclient.NotebookClient(notebook, timeout=_SECONDS, resources={"metadata": {"path": place}})
        client.execute()
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def sources() -> list[Path]:
    """The notebooks of the documentation."""
    return sorted((ROOT / "docs").glob("*.ipynb"))


def page(source: Path) -> str:
    """A notebook in Markdown: the executed copy if that has the same cells, else without outputs."""
    cells = _read(source)
    executed = EXECUTED / source.name
    if executed.is_file() and [_text(cell) for cell in _read(executed)] == [_text(cell) for cell in cells]:
        cells = _read(executed)
    return "\n\n".join(part for cell in cells for part in _cell(cell)) + "\n"


def _read(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def _text(part: dict[str, Any], name: str = "source") -> str:
    """nbformat keeps text as a string or as lines."""
    value = part[name]
    return value if isinstance(value, str) else "".join(value)


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    if cell["cell_type"] == "markdown":
        yield _text(cell)
        return
    yield f"```python\n{_text(cell)}\n```"
    # What a cell prints comes in pieces; progress bars, on stderr, are left out.
    printed = "".join(_text(output, "text") for output in cell["outputs"] if output.get("name") == "stdout")
    if printed:
        yield f"```text\n{printed.rstrip()}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            yield f'<img alt="Output of the cell above" src="data:image/png;base64,{_text(data, "image/png").strip()}">'
        elif "text/markdown" in data:
            # Below the notebook's own headings.
            yield re.sub(r"^#", "###", _text(data, "text/markdown"), flags=re.MULTILINE)
        elif "text/html" in data:
            yield _text(data, "text/html")
        elif "text/plain" in data:
            yield f"```text\n{_text(data, 'text/plain')}\n```"


def main() -> None:
    """Executes every notebook."""
    shutil.rmtree(EXECUTED, ignore_errors=True)
    for source in sources():
        execute(source, EXECUTED / source.name)
        print(f"{source.name} runs from beginning to end", file=sys.stderr)


if __name__ == "__main__":
    main()
