"""Files that are written whole or not at all, and hashes of files and values."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fas_jax.base.errors import UserError
from fas_jax.base.owners import is_alive, my_tag

TEMPORARY = ".tmp-"
"""How names of temporary files and folders begin; the tag of their owner follows."""
# Those of another machine, whose clock may differ and which nobody renews, are left alone for so long.
_ABANDONED_SECONDS = 3600.0


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target` that replaces it when the block ends without an error.

    A killed process leaves at most a `.tmp-*` file, which no reader opens, and which `remove_leftovers` deletes. The
    data reach the disk before the rename does, so that a power failure cannot leave an empty file under the final name.

    Raises:
        UserError: The file cannot be written.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{TEMPORARY}{my_tag()}-", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes private files; a result should be as readable as any other file of the user's.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Deletes the temporary files and folders that dead processes left in these folders; those of living ones stay."""
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):
                if is_alive(path.name, time.time() - path.stat().st_mtime, _ABANDONED_SECONDS):
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def write_text(target: Path, text: str) -> None:
    """Writes UTF-8 text atomically; a byte of a file's name that is not UTF-8 is written as `\\udc80` to `\\udcff`.

    JSON reads that as the same name.
    """
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(target: Path, value: Any) -> None:
    """Writes indented JSON atomically; NaN is refused, because it is not JSON."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON; a missing or broken file is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON: {error}") from error


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value; equal values give equal fingerprints on every machine."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    # Names of files need not be UTF-8. JSON's own backslashes are doubled, so that no two values are encoded alike.
    return hashlib.sha256(canonical.encode(errors="backslashreplace")).hexdigest()


def plain_name(name: str) -> str:
    """A valid file name for any text; different texts give different names."""
    return quote(name, safe=" +,=()").replace(".", "%2E")


def inside(root: Path, relative: str) -> Path:
    """`root / relative`; a `UserError` if that path, or a link on it, leads out of `root`."""
    path = (root / relative).resolve()
    if not path.is_relative_to(Path(root).resolve()):
        raise UserError(f"{relative!r} leads out of {root}")
    return path
