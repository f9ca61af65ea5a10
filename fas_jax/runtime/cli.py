"""What every script's command line shares: typed options, complete help, errors in one line."""

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from fas_jax.base.errors import UserError
from fas_jax.runtime import launching

# Faults of the machine and not of this program: a full or read-only disk, missing permissions.
_USERS_TO_MEND = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT)


def main(function: Callable[..., int | None], several: bool = False) -> None:
    """Runs `function` with its parameters as options and exits with its result.

    Exit codes: 0 done; 1 done, but the function reports a partial failure; 2 an error that the user can mend;
    130 interrupted.

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
                f"{Path(sys.argv[0]).name} runs in one process: start it without scripts/launch.py, or unset "
                f"{launching.COORDINATOR}"
            )
        return function(*args, **options)

    return alone


def exit_with(run: Callable[[], Any]) -> None:
    """Runs a script's work and exits with its result; prints an error that the user can mend on one line."""
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
        return run() or 0
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
