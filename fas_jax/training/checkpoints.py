"""Checkpoints of a training in progress; the only module that knows Orbax.

Orbax makes a step appear whole or not at all, but loads a step with a flipped bit without a word; so each step
gets a list of its files' hashes, and a step that does not match is passed over for the one before.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json, sha256_file, write_json
from fas_jax.runtime import devices

_HASHES = "sha256.json"
_SETTINGS = "settings.json"


class Checkpoints:
    """The last two steps of one training, in a folder of their own.

    Args:
        directory: Made if need be.
        settings: What the training depends on, JSON-able. A folder that holds another training's checkpoints is
            refused with a `UserError` that lists the differences.
    """

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.directory = Path(directory).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        known = self.directory / _SETTINGS
        if known.exists():
            differences = describe_differences(read_json(known), settings)
            if differences:
                raise UserError(
                    f"{self.directory} holds checkpoints of a training with other settings "
                    f"({'; '.join(differences)}); remove the folder or choose another run name"
                )
        elif devices.is_first():
            write_json(known, settings)
        self._damaged: set[str] = set()
        if devices.is_first():
            self._clear_unfinished()
        # Before that the others might find no folder; after it they find the same steps.
        devices.wait_for_all(f"checkpoints {self.directory}")

    def save(self, step: int, tree: Any) -> None:
        """Writes `tree` (arrays only) as `step` and removes all but the two newest steps.

        Returns when all is on disk. Of several processes, which all have to hold the whole tree, the first writes.
        """
        from orbax.checkpoint import v1 as orbax  # only here: it takes a second to import, and scoring does without

        path = self.directory / f"{step:08d}"
        if devices.is_first():
            shutil.rmtree(path, ignore_errors=True)
        # Orbax, too, wants all processes to come to a save; what it then writes, the first process finishes.
        devices.wait_for_all(f"before {path}")
        try:
            orbax.save(path, tree)
        except (OSError, ValueError) as error:
            # TensorStore reports a full or read-only disk as a ValueError.
            raise UserError(f"cannot write checkpoint {path}: {error}") from error
        devices.wait_for_all(f"written {path}")
        if devices.is_first():
            if not _hashes(path):
                raise UserError(f"checkpoint {path} was not written")
            # Written last: a step without its hashes was not finished.
            write_json(path / _HASHES, _hashes(path))
            for damaged in self._damaged - {path.name}:
                shutil.rmtree(self.directory / damaged, ignore_errors=True)
            self._clear_unfinished()
            for old in self._steps()[:-2]:
                shutil.rmtree(old)
        self._damaged.clear()
        devices.wait_for_all(f"finished {path}")

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The newest whole step and its tree, shaped as `like`; None where there is none.

        A damaged step is passed over with a warning.

        Raises:
            UserError: A whole step holds arrays of other names or shapes.
        """
        from orbax.checkpoint import v1 as orbax

        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=device), like)
        for path in reversed(self._steps()):
            if not _is_whole(path):
                self._damaged.add(path.name)
                warnings.warn(f"checkpoint {path} is damaged or unfinished; using the one before", stacklevel=2)
                continue
            try:
                return int(path.name), orbax.load(path, abstract)
            except ValueError as error:
                raise UserError(
                    f"checkpoint {path} holds other arrays than this training has, as if another version of fas_jax "
                    f"had written it; remove {self.directory} to train anew"
                ) from error
        return None

    def _clear_unfinished(self) -> None:
        """Removes what a kill left of a save: a folder that Orbax has not renamed yet, a step without hashes."""
        for path in self.directory.iterdir():
            if path.is_dir() and not (path.name.isdigit() and _is_finished(path)):
                shutil.rmtree(path)

    def _steps(self) -> list[Path]:
        return sorted(path for path in self.directory.iterdir() if path.is_dir() and path.name.isdigit())


def known_settings(directory: Path) -> dict[str, Any] | None:
    """Settings of the training whose checkpoints a folder holds; None where there is none."""
    path = directory / _SETTINGS
    return read_json(path) if path.exists() else None


def describe_differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Where two JSON-able values differ, one line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            lines += describe_differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        return lines
    return [] if old == new else [f"{name}: {old!r} there, {new!r} now"]


def _is_finished(path: Path) -> bool:
    return (path / _HASHES).exists()


def _is_whole(path: Path) -> bool:
    try:
        return bool(read_json(path / _HASHES) == _hashes(path))
    except UserError:
        return False


def _hashes(path: Path) -> dict[str, str]:
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and file.name != _HASHES)
    return {file.relative_to(path).as_posix(): sha256_file(file) for file in files}
