"""Published weights from their publishers: resumable, checked against the published hash, and kept.

The hash is what torchvision's file names carry: the first eight hexadecimal digits of the SHA-256. That tells a damaged
file or another one, and is no proof against somebody who makes a file to fit; the address is HTTPS for that.
"""

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.locks import locked
from fas_jax.models.backbones.weights import PUBLISHED
from fas_jax.runtime.progress import progress_bar

_TORCHVISION = "https://download.pytorch.org/models/"
SOURCES = {
    "densenet121": f"{_TORCHVISION}densenet121-a639ec97.pth",
    "densenet169": f"{_TORCHVISION}densenet169-b2777c0a.pth",
    "densenet201": f"{_TORCHVISION}densenet201-c1103571.pth",
}
_CHUNK = 2**20
# What a server sends beyond this is not one of these files.
_LARGEST = 2**30


@dataclass(frozen=True)
class Fetched:
    """A weights file that is there."""

    path: Path
    sha256: str
    was_there: bool


def default_cache() -> Path:
    """`fas-jax` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fas-jax"


def fetch(name: str, folder: Path, source: str = "", timeout: float = 30) -> Fetched:
    """Gets the published weights of a backbone, unless they are there already.

    An interrupted download goes on where it stopped, and where another process fetches the same file, this one waits.
    A file takes its name only when its hash begins with the digits
    that were published.

    Args:
        name: Of the backbone.
        folder: Where the file goes.
        source: Another address of the same file, such as a mirror.
        timeout: Seconds to wait for an answer.

    Raises:
        UserError: Unknown backbone, no network, a broken connection, a full disk, or a file that is not what was
            published.
    """
    if name not in SOURCES:
        raise unknown_name("backbone with weights to fetch", name, SOURCES)
    address = source or SOURCES[name]
    if not address.startswith(("https://", "http://")):
        raise UserError(f"--source {address!r} must begin with https:// or http://")
    target = folder / SOURCES[name].rsplit("/", 1)[1]
    if target.exists():
        return Fetched(target, _checked(target, target.name), was_there=True)
    part = target.with_name(f"{target.name}.part")
    try:
        with locked(folder, name=f"{target.name}.lock"):
            if target.exists():  # another process has fetched it meanwhile
                return Fetched(target, _checked(target, target.name), was_there=True)
            with part.open("ab") as file:
                _download(address, file, name, timeout)
            sha256 = _checked(part, target.name)
            part.replace(target)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"cannot get {address} ({reason}). What has arrived is kept: run this again to go on. Where there is no "
            f"network, copy the file from a machine that has one to {target}; --backbone efficientnet_lite0 --weights "
            "package needs no download"
        ) from error
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    return Fetched(target, sha256, was_there=False)


def _download(address: str, file: BinaryIO, name: str, timeout: float) -> None:
    """Appends what is missing to a file that is open for it."""
    have = file.tell()
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            return  # nothing is missing; the hash decides
        raise
    with answer:
        if have and answer.status != 206:
            have = 0  # a server that cannot go on begins again
            file.truncate(0)
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        options = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        with progress_bar(total=total, initial=have, desc=f"fetching {name}", **options) as bar:
            while chunk := answer.read(_CHUNK):
                have += len(chunk)
                if have > _LARGEST:
                    raise UserError(
                        f"{address} sends more than the file can have; check --source, and delete {file.name}"
                    )
                file.write(chunk)
                bar.update(len(chunk))
        file.flush()
    if total is not None and have < total:
        raise ConnectionError(f"the connection broke after {have} of {total} bytes")


def _checked(path: Path, published_as: str) -> str:
    """Hex SHA-256 of a file that is what was published; one that is not is removed if it is our own download."""
    algorithm, expected = PUBLISHED[published_as]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        if path.name != published_as:
            path.unlink()
            raise UserError(f"what arrived is not {published_as} as published ({algorithm} {found}); run this again")
        raise UserError(f"{path} is not what was published ({algorithm} {found}, not {expected}); delete it")
    return sha256
