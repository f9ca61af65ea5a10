"""Large pages of memory for this process, which has to ask for them before it starts. Imports nothing heavy."""

import contextlib
import os
import sys

_VARIABLE, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def ask() -> None:
    """Starts this program again with large pages, on Linux, unless it has been asked already; else does nothing.

    It does nothing either where `sys.argv` is not what the process was started with: another program has called the
    command, and would begin anew.

    XLA frees a step's memory on a CPU and asks for it anew in the next one. In pages of 4 KiB the kernel took two
    fifths of the time of a training step of EfficientNet-Lite0 (16 frames of 128x128 pixels). glibc from 2.35 on asks
    for large pages where this variable says so; other C libraries do not read it. Values do not change.
    """
    known = os.environ.get(_VARIABLE, "")
    if sys.platform != "linux" or _TUNABLE in known or not (sys.executable and sys.orig_argv):
        return
    given = sys.argv[1:]
    if sys.orig_argv[len(sys.orig_argv) - len(given) :] != given:
        return
    os.environ[_VARIABLE] = ":".join(filter(None, [known, f"{_TUNABLE}=1"]))
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # it is slower without
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
