"""The exception for faults that the user can mend; its message says how."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in the user's files or options is wrong.

    The message names the file or option and what to do. Scripts print it without a traceback and exit with 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a mistyped name; its message offers the nearest known name."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {kind} {name!r}{hint} Known: {', '.join(map(repr, sorted(known)))}.")
