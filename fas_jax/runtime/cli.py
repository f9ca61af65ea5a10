"""What every script's command line shares: typed options, complete help, errors in one line."""

import contextlib
import errno
import functools
import io
import json
import os
import select
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from fas_jax.base.errors import UserError
from fas_jax.runtime import launching

# Faults of the machine and of paths, and not of this program: a full or read-only disk, missing permissions, a file
# where a folder is needed, and the other way round.
_USERS_TO_MEND = (
    *(errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
# What shells give for a program that nobody listens to any more.
_UNHEARD = 128 + 13


def main(function: Callable[..., int | None], several: bool = False) -> None:
    """Runs `function` with its parameters as options and exits with its result.

    Exit codes: 0 done; 1 done, but the function reports a partial failure; 2 an error that the user can mend;
    130 interrupted; 141 the output's reader has gone, as in `| head`.

    Args:
        function: The script's work.
        several: Whether it may run as one of several processes of a job.
    """
    own = joined(function) if several else _alone(function)
    exit_with(lambda: tyro.cli(own, config=(tyro.conf.OmitArgPrefixes,)))


def joined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps `function` so that it uses all cores, or joins the job's other processes and waits for them at its end."""

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        # JAX takes a while to import, and --help does without it.
        from fas_jax.runtime.workers import JAX_ADDRESSES, check_addresses

        check_addresses(JAX_ADDRESSES, "JAX")
        from fas_jax.runtime import devices

        devices.join()
        devices.check()
        code = function(*args, **options)
        devices.wait_for_all("the end")
        return code

    return run


def _alone(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def alone(*args: Any, **options: Any) -> Any:
        if launching.is_launched():
            raise UserError(
                f"{Path(sys.argv[0]).name} runs in one process: start it once, without fas-jax launch; or, in a job of "
                f"several processes, unset {launching.COORDINATOR} and set {launching.PROCESSES}=1"
            )
        return function(*args, **options)

    return alone


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON, with escapes for what the output's encoding lacks."""
    print(json.dumps(value, ensure_ascii=(sys.stdout.encoding or "ascii").lower() != "utf-8"), flush=True)


def exit_with(run: Callable[[], Any]) -> None:
    """Runs a script's work and exits with its result; prints an error that the user can mend on one line."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files and signs such as ± need not exist in the terminal's encoding.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _code(run)
    except Exception:
        if not launching.is_launched():
            raise
        traceback.print_exc()
        code = 1
    if code and launching.is_launched():
        # An orderly exit would wait for the other processes, which may be waiting for this one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _code(run: Callable[[], Any]) -> int:
    try:
        try:
            return run() or 0
        finally:
            # Here and not at the end of Python, where a reader that has gone is a traceback.
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_unheard():
            raise
        return _UNHEARD
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _USERS_TO_MEND:
            raise
        print(f"error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _is_unheard() -> bool:
    """Whether nobody reads the output any more; it then goes nowhere, so that what is left of it is no error."""
    unheard = False
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a stream without a file
            ends = select.poll()
            ends.register(stream.fileno(), 0)
            if any(event & select.POLLERR for _, event in ends.poll(0)):
                unheard = True
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return unheard
