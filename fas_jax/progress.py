"""Progress bars that suit both a terminal and a log file."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(**options: Any) -> Any:
    """A tqdm bar; where nobody watches, a line every ten seconds instead of a moving one."""
    watched = sys.stderr.isatty()
    return tqdm(**{"mininterval": 0.2 if watched else 10, "leave": not watched, "dynamic_ncols": watched} | options)
