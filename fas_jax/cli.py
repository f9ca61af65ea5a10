"""What every script's command line shares: typed options, complete help, errors in one line."""

import argparse
import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from fas_jax.config import Experiment, load_experiment
from fas_jax.errors import UserError

# Faults of the machine rather than of this program: a full or read-only disk, missing rights.
_USERS_TO_MEND = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT)


def main(function: Callable[..., int | None]) -> None:
    """Runs `function` with its parameters as options and exits with its result.

    Exit codes: 0 done, 1 done but not all is well (the function says so), 2 the user has to mend something,
    130 interrupted.
    """
    _exit_with(lambda: tyro.cli(function, config=(tyro.conf.OmitArgPrefixes,)))


def experiment_main(function: Callable[[Experiment], int | None], default: str) -> None:
    """Runs `function` on an `Experiment`: the file that `--config` names, changed by the other options."""

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
        return function(experiment)

    _exit_with(run)


def _exit_with(run: Callable[[], Any]) -> None:
    try:
        code = run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _USERS_TO_MEND:
            raise
        print(f"error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or 0)
