"""Lists the entries of a cache and the runs that need them, and removes entries. Imports no JAX.

An entry is a folder that a key names: rendered videos, a prepared dataset, a feature store. The ledger of targets is
not an entry and always stays, and so does everything that this module does not know, such as folders whose names do not
end in a key.
"""

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.files import TEMPORARY, read_json, remove_leftovers
from fas_jax.base.locks import is_lock, locked
from fas_jax.base.owners import is_alive, my_tag
from fas_jax.experiment.configuration import Experiment, experiment_from_dict
from fas_jax.experiment.run_list import CONFIG, INPUTS, is_busy, run_folders

KINDS = {
    "synthetic": "rendered videos in the official layouts",
    "rendered": "rendered domains to train on",
    "prepared": "kept frames of a dataset",
    "features": "features of a dataset and a rendition",
}
"""The kinds of entries, by folder of the cache."""
IN_USE = "leave it until that has ended"
_RENDERED = ("synthetic", "rendered")
_SHIFTED = "shifted_stores"
_NAME = re.compile(r"(.+-)?[0-9a-f]{16}")
"""Of an entry; a folder that is no cache, and is taken for one by mistake, has others."""


@dataclass(frozen=True)
class Entry:
    """One folder of a cache."""

    kind: str
    """A key of `KINDS`."""
    path: Path
    bytes: int
    changed: float
    """Time at which one of its files was last written, in seconds since the epoch."""
    users: tuple[str, ...]
    """Folders of the runs that need it, or may need it because they are not finished or at work."""
    busy: bool
    """Whether a process is using it."""

    @property
    def key(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def days(self) -> float:
        """Its age."""
        return max(0.0, time.time() - self.changed) / 86400


@dataclass(frozen=True)
class Removal:
    """The result for an entry that was chosen for removal."""

    entry: Entry
    kept: str = ""
    """Why it stays; empty if it was removed."""


def list_entries(cache: Path, runs: Sequence[Path]) -> list[Entry]:
    """The entries of a cache, by kind and name.

    Args:
        cache: Its folder.
        runs: Folders that hold runs' folders.

    Raises:
        UserError: The cache's folder does not exist.
    """
    cache = Path(cache)
    if not cache.is_dir():
        raise UserError(f"there is no folder {cache}; name the cache with --cache")
    places = [(kind, path) for kind in KINDS for path in _folders(cache / kind) if _NAME.fullmatch(path.name)]
    users = _users(places, [folder for each in runs for folder in run_folders(each)])
    return [_entry(kind, path, users.get(path, ())) for kind, path in places]


def prune(
    entries: Iterable[Entry], older_than: float = 0.0, in_use: bool = False, keys: Sequence[str] = (), dry: bool = True
) -> list[Removal]:
    """Removes entries that no run needs.

    The function first takes an entry's lock; an entry that a process is using stays. It renames the folder before it
    deletes the files, so that no reader finds half of an entry. The next call deletes what a killed one left behind.

    Args:
        entries: Entries that `list_entries` has just returned.
        older_than: Age in days; younger entries stay.
        in_use: Also removes entries that runs need.
        keys: Keys of the entries to remove; all if empty.
        dry: Removes nothing, and returns what would be removed.

    Raises:
        UserError: An unknown key.
    """
    entries = list(entries)
    if unknown := set(keys) - {each.key for each in entries}:
        raise UserError(f"the cache has no entry {', '.join(sorted(unknown))}; fas-jax cache lists its entries")
    found = []
    for each in entries:
        if keys and each.key not in keys:
            continue
        kept = ""
        if each.users and not in_use:
            kept = f"needed by {', '.join(each.users)}"
        elif each.days < older_than:
            kept = f"{each.days:.1f} days old"
        elif each.busy:
            kept = "a process is using it"
        elif not dry:
            kept = _remove(each.path)
        found.append(Removal(each, kept))
    return found


def _remove(path: Path) -> str:
    """Removes a folder; returns why it stays, if it does."""
    remove_leftovers([path.parent])
    with contextlib.ExitStack() as stack:
        try:
            for place in _locked_places(path):
                stack.enter_context(locked(place, IN_USE))
        except UserError as error:
            return str(error)
        try:
            grave = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{my_tag()}-", dir=path.parent))
            path.rename(grave / path.name)
        except OSError as error:
            return f"cannot be removed: {error.strerror or error}"
    shutil.rmtree(grave, ignore_errors=True)
    return ""


def _locked_places(path: Path) -> list[Path]:
    """The folders whose locks guard an entry: its own, and those of the datasets that are rendered into it."""
    inner = _folders(path) if path.parent.name == "synthetic" else []
    return [path, *inner]


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _entry(kind: str, path: Path, users: Sequence[str]) -> Entry:
    size, changed = 0, path.stat().st_mtime
    busy = False
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process may be at work there
            state = file.lstat()
            if is_lock(file):
                busy = busy or is_alive(file.name, time.time() - state.st_mtime)
            elif file.is_file():
                size, changed = size + state.st_size, max(changed, state.st_mtime)
    return Entry(kind, path, size, changed, tuple(users), busy)


def _users(places: Sequence[tuple[str, Path]], runs: Sequence[Path]) -> dict[Path, list[str]]:
    """The runs that need each entry, by its path."""
    found: dict[Path, list[str]] = {}
    for run in runs:
        # What it has noted is not all that it needs: of a run without notes, and of one that takes further methods.
        unsettled = not (run / INPUTS).exists() or is_busy(run)
        for kind, path in places:
            if unsettled or _needs(run, kind, path):
                found.setdefault(path, []).append(str(run))
    return found


def _needs(run: Path, kind: str, path: Path) -> bool:
    """Whether a run needs an entry, by its settings and the notes of its inputs."""
    if kind in _RENDERED:
        return _renders(run, kind, path)
    inputs = read_json(run / INPUTS)
    named = [*inputs.get("prepared", ())]
    named += [row["path"] for which in ("stores", _SHIFTED) for rows in inputs.get(which, {}).values() for row in rows]
    # A moved cache keeps its folders' names, which are keys of their contents.
    return path.name in {Path(each).name for each in named}


def _renders(run: Path, kind: str, path: Path) -> bool:
    """Whether a run's configuration asks for these rendered videos, made by any version of the renderer."""
    try:
        experiment = experiment_from_dict(_without_format(read_json(run / CONFIG)), str(run / CONFIG))
    except UserError:
        return True  # of another version: who knows
    if kind == "rendered":
        return path.name.rpartition("-")[0] in experiment.rendered
    return experiment.data.synthesize and _same_settings(path, experiment)


def _same_settings(path: Path, experiment: Experiment) -> bool:
    markers = sorted(path.glob("*/SYNTHETIC.json"))
    wanted = {name: value for name, value in key(experiment.synthesis).items() if name != "faces"}
    known = [read_json(marker).get("settings") for marker in markers]
    # Not begun, or of an unknown kind: it may be the one.
    return not known or any(
        not isinstance(each, Mapping) or all(each.get(name) == value for name, value in wanted.items())
        for each in known
    )


def _without_format(table: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in table.items() if name != "format"}
