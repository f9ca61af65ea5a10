"""Parameters at every validation of a training, for those who ask afterwards what another epoch would have given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from fas_jax.base.files import plain_name
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.models.architecture import Params
from fas_jax.runtime import devices
from fas_jax.training.fitting import Observer
from fas_jax.training.program import Run


@dataclass(frozen=True)
class Snapshot:
    """What some runs' parameters were after an epoch."""

    epoch: int
    runs: tuple[str, ...]
    """Names."""
    params: Params
    """Each leaf with a leading axis of these runs."""


def keeper(folder: Path, name: str, kept: Sequence[int], start: int, runs: Sequence[Run]) -> Observer:
    """Writes a snapshot at every validation, and announces their size at the first.

    Args:
        folder: Of the run.
        name: Of what is trained.
        kept: The runs whose parameters are kept.
        start: Number of the first run of this program.
        runs: All runs.
    """
    rows = np.array(kept) - start
    names = [runs[run].name for run in kept]
    announced = False

    def observe(epoch: int, params: Params) -> None:
        nonlocal announced
        if not devices.is_first():
            return
        own = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], params)
        if not announced:
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(own))
            print(f"{name}: snapshots take {size / 1e6:,.1f} MB at every validation", flush=True)
            announced = True
        save_tree(_folder(folder, name) / f"{start:04d}-{epoch:06d}.safetensors", own, {"epoch": epoch, "runs": names})

    return observe


def read_snapshots(folder: Path, name: str) -> Iterator[Snapshot]:
    """The snapshots of what was trained under this name, by epoch; nothing where none were kept."""
    paths = sorted(_folder(folder, name).glob("*.safetensors"), key=lambda path: path.stem.split("-")[::-1])
    for path in paths:
        params, about = load_tree(path)
        yield Snapshot(int(about["epoch"]), tuple(about["runs"]), params)


def _folder(folder: Path, name: str) -> Path:
    return folder / "snapshots" / plain_name(name)
