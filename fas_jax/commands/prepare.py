"""Decodes a dataset's videos and keeps the frames that detectors see."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.layouts import LAYOUTS
from fas_jax.datasets.preparation import counts_table
from fas_jax.datasets.prepared import Prepared
from fas_jax.datasets.sources import prepare_source
from fas_jax.experiment.configuration import load_experiment
from fas_jax.runtime import cli


def main(
    root: Annotated[Path, tyro.conf.Positional],
    out: Path,
    settings: Preparation = Preparation(),  # noqa: B008 - frozen
    rendition: Rendition = Rendition(),  # noqa: B008 - frozen
    config: Path | None = None,
    layout: str = "",
) -> None:
    """Decodes every video of a dataset once and stores its kept frames without loss.

    Without --config the frames have one rendition, named whole, which the options --segment to --no-face describe. A
    configuration file may have several as tables [renditions.NAME], such as

        [renditions.whole]
        segment = 30

        [renditions.face]
        crop = "detector"
        no_face = "skip"

    and all are made in one pass. Where a rendition of a video cannot be made, such as a face crop of a video without a
    face, the clip is kept without it, with the reason.

    The result is a TensorFlow Datasets dataset (read it by as_data_source). Started again after an interruption,
    it goes on where it stopped. Videos that do not decode are listed in failures.json and make the command fail,
    unless --allow-failures allows as many. A copy that lacks videos of the official set is an error that lists them,
    unless --allow-partial accepts it.

    Args:
        root: Folder of the dataset, in its official layout; or a manifest (CSV or Parquet) of videos of your own, of
            which every dataset goes into a folder of its own where there are several.
        out: Folder of the prepared dataset.
        settings: How clips are made.
        rendition: The one rendition.
        config: TOML file whose tables [preparation] and [renditions.NAME] are taken; then none of their options may be
            given beside it.
        layout: oulu_npu, casia_fasd, replay_attack or msu_mfsd; found out when it is not given.
    """
    renditions: Mapping[str, Rendition] = {"whole": rendition}
    if config is not None:
        if (settings, rendition) != (Preparation(), Rendition()):
            raise UserError(f"give settings either in {config} or as options, not both")
        experiment = load_experiment(config)
        settings, renditions = experiment.preparation, experiment.renditions
    for prepared in prepare_source(root, out, settings, renditions, layout):
        tell(prepared)


def tell(prepared: Prepared) -> None:
    """Prints what a prepared dataset holds."""
    clips = ", ".join(f"{count} {split}" for split, count in prepared.splits.items())
    whole = "the complete official set" if prepared.complete else "not the complete official set"
    whole = whole if prepared.layout in LAYOUTS else "videos of your own"
    for line in counts_table(prepared):
        print(line)
    lacking = Counter(name for name, _, _ in prepared.not_made())
    for name in prepared.renditions:
        print(f"rendition {name}: {sum(prepared.splits.values()) - lacking[name]} clips, {lacking[name]} without it")
    print(
        f"{prepared.dataset}: {clips} clips ({whole}), {len(prepared.failures)} videos failed; in {prepared.directory}"
    )


command = partial(cli.main, main)
