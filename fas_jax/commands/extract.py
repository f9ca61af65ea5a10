"""Computes the features of prepared datasets."""

from functools import partial
from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Features
from fas_jax.datasets.prepared import Prepared
from fas_jax.runtime import cli


def main(
    prepared: tuple[Path, ...],
    /,
    out: Path,
    features: Features,
    rendition: tuple[str, ...] = (),
) -> None:
    """Computes the features of prepared datasets into a store on disk.

    What is there already is kept after a check of its hash, so the command can be interrupted and repeated, also
    with another number of processes. Several processes, each with its own devices, share the work under
    fas-jax launch.

    Args:
        prepared: Folders that fas-jax prepare wrote.
        out: Folder in which each rendition of each dataset gets its own feature store.
        features: The feature stage.
        rendition: Names of the renditions; all that each dataset was prepared in, if none is given.
    """
    if not prepared:
        raise UserError("name at least one prepared dataset")
    # JAX takes a while to import; --help need not.
    from fas_jax.features.extraction import extract

    for folder in prepared:
        dataset = Prepared.open(folder)
        for name in rendition or dataset.renditions:
            store = extract(dataset, name, out, features, progress=True)
            frames = sum(unit.frames for unit in store.units)
            print(f"{store.path}: {frames} frames ({name}), weights {store.provenance['weights']}")


command = partial(cli.main, main, several=True)
