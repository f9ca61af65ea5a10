"""CSV files as people and spreadsheets write them: their encoding and what separates their cells are found out."""

import codecs
import csv
import io
from pathlib import Path
from typing import NamedTuple

from fas_jax.base.errors import UserError

_SEPARATORS = ",;\t"


class CsvFile(NamedTuple):
    """A file's header and rows; empty lines are left out."""

    header: list[str]
    rows: list[tuple[int, list[str]]]
    """The number of a row's last line in the file, and its cells."""
    separator: str
    """A comma, a semicolon or a tab."""

    def number(self, text: str) -> float:
        """A cell as a number; where commas do not separate cells, one may stand before the decimals.

        Raises:
            ValueError: It is none.
        """
        if self.separator != "," and text.count(",") == 1 and "." not in text:
            text = text.replace(",", ".")
        return float(text)


def read_csv_file(path: Path, kind: str = "CSV file", errors: str = "strict") -> CsvFile:
    """Reads a file in UTF-8, or UTF-16 with a byte order mark, with cells between commas, semicolons or tabs.

    The header tells which separates: a name of a column holds none of them.

    Args:
        path: The file.
        kind: What it should be, for messages.
        errors: What to do with bytes that are not UTF-8, as `bytes.decode` takes it.

    Raises:
        UserError: The file does not exist or is not readable as such.
    """
    try:
        raw = Path(path).read_bytes()
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = raw.decode("utf-16") if wide else raw.decode("utf-8-sig", errors)
        first = text.split("\n", 1)[0]
        if "\0" in first:
            raise ValueError("it holds NUL characters, as UTF-16 without a byte order mark does; save it as UTF-8")
        # The most frequent; of equals the first, so that a single column is one of commas.
        separator = max(_SEPARATORS, key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = next(reader, [])
        return CsvFile(header, [(reader.line_num, cells) for cells in reader if cells], separator)
    except FileNotFoundError:
        raise UserError(f"{path} is not a readable {kind}: it does not exist") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} is not a readable {kind}: {error}") from error
