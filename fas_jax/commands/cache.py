"""Lists the entries of a cache, and removes those that no run needs."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.errors import UserError
from fas_jax.experiment.cache_entries import Entry, list_entries, prune
from fas_jax.reporting.grid import Grid, markdown
from fas_jax.runtime import cli


def main(
    keys: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    cache: Path = Path("cache"),
    runs: tuple[Path, ...] = (Path("runs"),),
    prune_unused: Annotated[bool, tyro.conf.arg(name="prune")] = False,
    yes: bool = False,
    in_use: bool = False,
    older_than: float = 0.0,
) -> int:
    """Lists the entries of a cache by kind and key, with age, size, and the runs that need them.

    --prune chooses the entries that no run under --runs needs; it lists them, and removes them with --yes. A run that
    is not finished, or in use, may need any entry, so it keeps all. Name every folder of runs that shares the cache,
    because the command knows no other runs. Entries that a process is using, the ledger of targets and all other files
    stay.

    The exit code is 1 if an entry could not be removed.

    Args:
        keys: Keys of entries; all entries if none are given.
        cache: The cache's folder.
        runs: Folders that hold runs.
        prune_unused: Lists the entries to remove, and removes them with --yes.
        yes: Removes the entries that --prune lists.
        in_use: Also chooses entries that runs need; before such a run can be evaluated or take more methods, its
            entries have to be made again.
        older_than: Age in days; younger entries stay.
    """
    if not older_than >= 0:
        raise UserError(f"--older-than is a number of days, at least 0, not {older_than}")
    if not prune_unused and (yes or in_use or older_than):
        raise UserError("--yes, --in-use and --older-than say what --prune removes; add --prune")
    entries = list_entries(cache, runs)
    if not prune_unused:
        shown = [each for each in entries if not keys or each.key in keys]
        print(markdown(table(shown)) if shown else f"{cache} holds no entries")
        print(f"\n{len(shown)} entries, {megabytes(sum(each.bytes for each in shown))}")
        return 0
    if lost := [str(each) for each in runs if not each.is_dir()]:
        raise UserError(
            f"there is no folder {', '.join(lost)}, so it is not known which runs need entries; name the folders of "
            "runs that share the cache with --runs"
        )
    removals = prune(entries, older_than, in_use, keys, dry=not yes)
    for each in removals:
        done = f"kept: {each.kept}" if each.kept else "removed" if yes else "would be removed"
        print(f"{each.entry.kind}/{each.entry.key} ({megabytes(each.entry.bytes)}): {done}")
    gone = [each.entry for each in removals if not each.kept]
    total = megabytes(sum(each.bytes for each in gone))
    print(f"{len(gone)} of {len(entries)} entries, {total}" + ("" if yes else "; add --yes to remove them"))
    return int(any("cannot be removed" in each.kept for each in removals))


def table(entries: list[Entry]) -> Grid:
    """Entries by kind and key."""
    rows = [
        [
            each.kind,
            each.key,
            f"{each.days:.1f}",
            megabytes(each.bytes),
            ("in use; " if each.busy else "") + (", ".join(each.users) or "no run"),
        ]
        for each in entries
    ]
    return Grid(["kind", "key", "days", "size", "needed by"], rows)


def megabytes(count: int) -> str:
    """A number of bytes in megabytes, as text."""
    return f"{count / 1e6:.1f} MB"


command = partial(cli.main, main)
