"""Preparing whatever holds videos: a folder in an official layout, or a manifest of one dataset or several."""

from collections.abc import Mapping
from pathlib import Path

from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_dataset, prepare_listing
from fas_jax.datasets.prepared import Prepared


def prepare_source(
    source: Path, out: Path, settings: Preparation, renditions: Mapping[str, Rendition], layout: str = ""
) -> list[Prepared]:
    """As `prepare_dataset` for a folder, and `prepare_listing` for each dataset of a manifest.

    Args:
        source: The folder or the manifest.
        out: Folder of the prepared dataset. Of a manifest with several, each goes into a folder of its own there.
        settings: How clips are made.
        renditions: By name.
        layout: Of a folder; found out if empty.

    Raises:
        UserError: As these functions, or the manifest cannot be read.
    """
    if not source.is_file():
        return [prepare_dataset(source, out, settings, renditions, layout or None)]
    listings = read_manifest(source)
    places = [out / each.dataset if len(listings) > 1 else out for each in listings]
    return [
        prepare_listing(listing, place, settings, renditions) for listing, place in zip(listings, places, strict=True)
    ]
