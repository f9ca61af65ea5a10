"""Progress bars for terminals and log files."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(**options: Any) -> Any:
    """A tqdm bar; without a terminal, it prints a line every ten seconds instead of redrawing one."""
    watched = sys.stderr.isatty()
    own = {"dynamic_ncols": True} if watched else {"file": _Lines(), "mininterval": 10, "maxinterval": 10, "ncols": 0}
    return tqdm(**{"mininterval": 0.2, "leave": not watched} | own | options)


class _Lines:
    """Standard error, with a line for each state of the bar instead of carriage returns."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(text.strip() + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
