"""The one exception that means: the user can mend this, and the message says how."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in the user's files or options is wrong.

    The message names the file or option and what to do. Scripts print it without a traceback and exit with 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """An error for a mistyped name that offers the nearest right one."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {kind} {name!r}{hint} Known: {', '.join(map(repr, sorted(known)))}.")
