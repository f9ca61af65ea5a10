"""Reads a dataset in an official layout into a prepared dataset; see --help."""

from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.settings import Preparation
from fas_jax.datasets.layouts import LAYOUTS
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import counts_table, prepare_dataset, prepare_listing
from fas_jax.datasets.prepared import Prepared
from fas_jax.runtime import cli


def main(
    root: Annotated[Path, tyro.conf.Positional],
    out: Path,
    settings: Preparation = Preparation(),  # noqa: B008 - frozen
    layout: str = "",
) -> None:
    """Decodes every video of a dataset once and stores its kept frames without loss.

    The result is a TensorFlow Datasets dataset (read it by as_data_source). Started again after an interruption,
    it goes on where it stopped. Videos that do not decode are listed in failures.json and make the command fail,
    unless --allow-failures allows as many. A copy that lacks videos of the official set is an error that lists them,
    unless --allow-partial accepts it.

    Args:
        root: Folder of the dataset, in its official layout; or a manifest (CSV or Parquet) of videos of your own, of
            which every dataset goes into a folder of its own where there are several.
        out: Folder of the prepared dataset.
        settings: How clips are made.
        layout: oulu_npu, casia_fasd, replay_attack or msu_mfsd; found out when it is not given.
    """
    if root.is_file():
        listings = read_manifest(root)
        for listing in listings:
            tell(prepare_listing(listing, out / listing.dataset if len(listings) > 1 else out, settings))
    else:
        tell(prepare_dataset(root, out, settings, layout or None))


def tell(prepared: Prepared) -> None:
    """Prints what a prepared dataset holds."""
    clips = ", ".join(f"{count} {split}" for split, count in prepared.splits.items())
    whole = "the complete official set" if prepared.complete else "not the complete official set"
    whole = whole if prepared.layout in LAYOUTS else "videos of your own"
    for line in counts_table(prepared):
        print(line)
    print(
        f"{prepared.dataset}: {clips} clips ({whole}), {len(prepared.failures)} videos failed; in {prepared.directory}"
    )


if __name__ == "__main__":
    cli.main(main)
