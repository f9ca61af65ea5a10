"""Folders and files that a command writes where the user says: it replaces what it wrote itself, and nothing else."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.base.files import TEMPORARY, inside, read_json, remove_leftovers, sha256_file, write_json, write_text
from fas_jax.base.locks import LOCK, locked
from fas_jax.base.owners import my_tag

NOTE = "written.json"
"""Names the files that the last command wrote into its folder, with their SHA-256."""


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder, whose files go to `folder` when the block ends without an error.

    What an earlier block wrote there is replaced, or removed if it is not written again; all else stays.

    Raises:
        UserError: As `check_output`; or the block wrote a file whose place is taken.
    """
    folder = Path(folder)
    check_output(folder)
    there = folder.exists()
    try:
        with locked(folder, "wait until it has ended, or choose another folder"):
            known = check_output(folder)
            remove_leftovers([folder])
            place = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{my_tag()}-", dir=folder))
            try:
                yield place
                _move(place, folder, known)
            finally:
                shutil.rmtree(place, ignore_errors=True)
    finally:
        if not there:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


def check_output(folder: Path) -> Mapping[str, str]:
    """The files that an earlier `output_folder` wrote, with their SHA-256; nothing if the folder is new or empty.

    Raises:
        UserError: The folder holds something else, or one of these files was changed.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name one")
    if not (folder / NOTE).exists():
        if folder.exists() and any(not path.name.startswith((TEMPORARY, f"{LOCK}-")) for path in folder.iterdir()):
            raise UserError(f"{folder} is not empty and was not written by this command; choose another folder")
        return {}
    known = read_json(folder / NOTE)
    if not isinstance(known, dict):
        raise UserError(f"{folder / NOTE} does not name what was written; choose another folder")
    for name, sha256 in known.items():
        path = inside(folder, name)
        if path.exists() and (not path.is_file() or sha256_file(path) != sha256):
            raise UserError(f"{path} was changed after it was written; move it away, or choose another folder")
    return known


def write_new(path: Path, text: str) -> None:
    """Writes a text file of the user's choosing.

    Raises:
        UserError: There is a file with another content, or the file cannot be written.
    """
    if path.is_file() and path.read_bytes() == text.encode():
        return
    if path.exists():
        raise UserError(f"{path} is there already; remove it, or choose another folder")
    write_text(path, text)


def _move(place: Path, folder: Path, known: Mapping[str, str]) -> None:
    written = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
    if taken := [name for name in written if name not in known and (folder / name).exists()]:
        raise UserError(f"{folder / taken[0]} was not written by this command; move it away, or choose another folder")
    # Before anything is moved: if this process is killed, all that it may have moved counts as changed and is kept.
    write_json(folder / NOTE, {name: sha256_file(path) for name, path in written.items()})
    for name, path in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        path.replace(folder / name)
    for name in known.keys() - written.keys():
        (folder / name).unlink(missing_ok=True)
