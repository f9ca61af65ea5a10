"""Measures the peak memory of preparation; see --help."""

import os
import resource
import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.oulu_npu import LAYOUT
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.runtime import cli


def main(video: Annotated[Path, tyro.conf.Positional], count: int = 500, workers: int = 2) -> None:
    """Prepares a tree in OULU-NPU's layout whose videos are all the same file, and prints the peak memory of the
    process that leads, and of the largest worker.

    Args:
        video: Any video file.
        count: Videos, at most 4950.
        workers: Decoding processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        # Every species of a user, phone and session stays together, so that no class lacks.
        for name in sorted(LAYOUT.names(), key=lambda name: (name.rsplit("_", 1)[0][::-1], name))[:count]:
            path = root / f"{name}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            _link(video, path)
        settings = Preparation(workers=workers, allow_partial=True)
        prepared = prepare_dataset(root, Path(folder) / "out", settings, {"whole": Rendition(size=64)})
        for who, kind in (("leading process", resource.RUSAGE_SELF), ("largest worker", resource.RUSAGE_CHILDREN)):
            print(f"{count} videos, {who}: {resource.getrusage(kind).ru_maxrss / 1024:.0f} MiB")
        print(f"{sum(prepared.splits.values())} clips")


def _link(video: Path, path: Path) -> None:
    """One file under many names costs no disk."""
    try:
        os.link(video, path)
    except OSError:
        path.write_bytes(video.read_bytes())


if __name__ == "__main__":
    cli.main(main)
