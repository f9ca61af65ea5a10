"""Computes the features of prepared datasets: python -m scripts.extract PREPARED... --out DIR --weights FILE."""

from pathlib import Path

from fas_jax import cli
from fas_jax.config import Features
from fas_jax.datasets.prepared import Prepared
from fas_jax.errors import UserError


def main(prepared: tuple[Path, ...], /, out: Path, features: Features) -> int | None:
    """Computes the features of prepared datasets into a store on disk.

    What is there already is kept after a check of its hash, so the command can be interrupted and repeated.

    Args:
        prepared: Folders that scripts/prepare.py wrote.
        out: Folder in which each dataset gets its own feature store.
        features: The feature stage.
    """
    if not prepared:
        raise UserError("name at least one prepared dataset")
    from fas_jax.features import extract  # JAX takes a while to import; --help need not

    for folder in prepared:
        store = extract(Prepared.open(folder), out, features, progress=True)
        frames = sum(unit.frames for unit in store.units)
        print(f"{store.path}: {frames} frames, weights {store.provenance['weights']}")
    return None


if __name__ == "__main__":
    cli.main(main)
