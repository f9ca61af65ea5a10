"""Tables of text, and how they are written as Markdown, HTML, CSV and LaTeX."""

import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

UNDEFINED, NOT_SCORED = "undefined", "not scored"
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "—": "---"}
_LATEX |= {character: "\\" + character for character in "&%$#_{}"}


class Strong(str):
    """A cell in bold."""


@dataclass(frozen=True)
class Grid:
    """A header and rows of as many cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def figures(self) -> list[bool]:
        """Which columns hold figures; they are flushed right."""
        words = [{row[column] for row in self.rows} - {UNDEFINED, NOT_SCORED} for column in range(len(self.header))]
        return [not any(word[:1].isalpha() for word in column) for column in words]


def plain(text: str) -> str:
    """Text as one line of Markdown that holds no HTML and no links; code spans stay."""
    # What looks like a reference to a character, such as `&lt;`, was meant as it stands.
    text = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.split("\n")).replace("\r", " "))
    return text.replace("<", "&lt;").replace("](", "]\\(")


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {plain(line)}" for line in lines)


def quoted(lines: Iterable[str]) -> str:
    """Caveats as Markdown, for the top of a page or of a printed table."""
    return "\n\n".join(f"> **{plain(line)}**" for line in lines)


def markdown(grid: Grid) -> str:
    """A Markdown table; what would end a cell or become HTML is escaped."""

    def cell(text: str) -> str:
        escaped = plain(text.replace("\\", "\\\\")).replace("|", "\\|")
        return f"**{escaped}**" if isinstance(text, Strong) else escaped

    cells = [list(grid.header), ["---:" if right else "---" for right in grid.figures()], *grid.rows]
    return "\n".join("| " + " | ".join(cell(text) for text in row) + " |" for row in cells)


def to_html(grid: Grid, classes: Sequence[str] = ()) -> str:
    """An HTML table that scrolls sideways within its own box; `classes` are of the rows, if given."""
    right = ['class="n"' if figures else "" for figures in grid.figures()]

    def cell(tag: str, text: str, column: int) -> str:
        escaped = html.escape(text)
        if right[column]:
            # The interval goes below its figure, which makes wide tables fit.
            escaped = re.sub(r" (\[[^\]]*\])$", r"<br><small>\1</small>", escaped)
        inner = f"<b>{escaped}</b>" if isinstance(text, Strong) else escaped
        return f"<{tag} {right[column]}>{inner}</{tag}>"

    def row(tag: str, cells: Sequence[str], name: str = "") -> str:
        return f'<tr class="{name}">' + "".join(cell(tag, text, i) for i, text in enumerate(cells)) + "</tr>"

    names = classes or [""] * len(grid.rows)
    body = "\n".join(row("td", cells, name) for cells, name in zip(grid.rows, names, strict=True))
    return f'<div class="scroll"><table><thead>{row("th", grid.header)}</thead><tbody>\n{body}\n</tbody></table></div>'


def to_csv(grid: Grid, exact: bool = False) -> str:
    """A table as RFC 4180 has it, for spreadsheets.

    A cell that a spreadsheet would take for a formula, because it begins with =, +, -, @, a tab or a carriage return
    and is no number, gets an apostrophe before it.

    Args:
        grid: The table.
        exact: Writes all cells as they are, for programs that read them back.
    """
    out = io.StringIO()
    rows = [grid.header, *grid.rows]
    csv.writer(out, lineterminator="\r\n").writerows(rows if exact else [map(_no_formula, row) for row in rows])
    return out.getvalue()


def _no_formula(text: str) -> str:
    if not text.startswith(_FORMULAS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def latex(grid: Grid, caption: str, caveats: Iterable[str] = ()) -> str:
    """A table that needs the package booktabs; the caveats are comments above it."""

    def cell(text: str) -> str:
        escaped = "".join(_LATEX.get(character, character) for character in text)
        # A bracket behind a line break would be read as its length.
        escaped = "{" + escaped + "}" if escaped.startswith("[") else escaped
        return rf"\textbf{{{escaped}}}" if isinstance(text, Strong) else escaped

    def row(cells: Sequence[str]) -> str:
        return " & ".join(cell(text) for text in cells) + r" \\"

    columns = "".join("r" if right else "l" for right in grid.figures())
    return "\n".join(
        [
            *(f"% {' '.join(text.split())}" for text in caveats),
            r"\begin{table}",
            rf"\caption{{{cell(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            row(grid.header),
            r"\midrule",
            *(row(cells) for cells in grid.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
