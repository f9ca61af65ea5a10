"""What every script's command line shares: typed options, complete help, errors in one line."""

import argparse
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
from fas_jax.base.settings import Experiment, load_experiment
from fas_jax.runtime import launching

# Faults of the machine rather than of this program: a full or read-only disk, missing rights.
_USERS_TO_MEND = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT)


def main(function: Callable[..., int | None], several: bool = False) -> None:
    """Runs `function` with its parameters as options and exits with its result.

    Exit codes: 0 done, 1 done but not all is well (the function says so), 2 the user has to mend something,
    130 interrupted.

    Args:
        function: The script's own part.
        several: Whether it may run as several processes of one job.
    """
    own = _joined(function) if several else _alone(function)
    _exit_with(lambda: tyro.cli(own, config=(tyro.conf.OmitArgPrefixes,)))


def experiment_main(function: Callable[[Experiment], int | None], default: str) -> None:
    """Runs `function` on an `Experiment`: the file that `--config` names, changed by the other options.

    It may run as several processes of one job.
    """

    def run() -> int | None:
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--config", type=Path, default=Path(default))
        known, rest = first.parse_known_args()
        experiment = tyro.cli(
            Experiment,
            default=load_experiment(known.config),
            args=rest,
            description=f"{function.__doc__}\n\n--config FILE reads the settings from a TOML file "
            f"(now {known.config}; default {default}). The defaults below are that file's; any option changes "
            "its setting for this run.",
        )
        return _joined(function)(experiment)

    _exit_with(run)


def _joined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on all cores, or as one of the job's processes, which begin together and end together."""

    @functools.wraps(function)
    def joined(*args: Any, **options: Any) -> Any:
        # JAX takes a while to import; --help need not.
        from fas_jax.runtime import devices

        devices.join()
        code = function(*args, **options)
        devices.wait_for_all("the end")
        return code

    return joined


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


def _exit_with(run: Callable[[], Any]) -> None:
    try:
        code = _code(run)
    except Exception:
        if not launching.is_launched():
            raise
        traceback.print_exc()
        code = 1
    if code and launching.is_launched():
        # In order, a process waits for the others when it ends; but they may be waiting for this one.
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
