"""Measures how verdicts change with the crop, the light, and the picture's quality."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.errors import UserError
from fas_jax.runtime import cli


def main(
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional],
    videos: Path | None = None,
    axes: tuple[str, ...] = (),
    out: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Scores videos again with their crops moved and their frames disturbed; prints verdict flips and HTER.

    The axes are crop-scale, shift-x, shift-y (in % of the box), pixels-x, pixels-y, jpeg, blur, noise, light and
    resolution. Those of the crop decode the videos again, once for every strength.

    Args:
        paths: Folders of trained runs, whose targets' test videos are scored, or of bundles.
        videos: For bundles: a manifest, or a dataset's folder in its official layout.
        axes: Those to measure; all without it.
        out: Folder for table and figures, with a folder for each path in it; without it, robustness in the run's
            folder. Bundles need it.
        cache: Where the cache with the runs' inputs is now, if it was moved.
    """
    from fas_jax.deployment.bundle_folder import ABOUT
    from fas_jax.protocols.presets import is_synthetic
    from fas_jax.runtime import devices
    from fas_jax.studies.robustness.cases import case_of_bundle, case_of_run
    from fas_jax.studies.robustness.measure import chosen_axes, measure
    from fas_jax.studies.robustness.page import write_page

    if not paths:
        raise UserError("name at least one run or bundle")
    chosen = chosen_axes(axes)
    devices.use_cores()
    devices.check()
    for path in paths:
        bundle = (path / ABOUT).exists()
        if bundle and (videos is None or out is None):
            raise UserError(f"{path} is a bundle, which has no videos of its own; name some by --videos, and --out")
        if not bundle and videos is not None:
            raise UserError(f"{path} is a run, whose own test videos are scored; --videos is for bundles")
        case = case_of_bundle(path, videos) if bundle and videos else case_of_run(path, cache)
        rendered = any(map(is_synthetic, case.videos.dataset.present()))
        caveats = ["Rendered videos: the figures say nothing about real attacks."] if rendered else []
        measured = measure(case, chosen, lambda text: print(text, file=sys.stderr, flush=True))
        place = out / case.name if out else path / "robustness"
        print(write_page(place, case.name, measured, caveats))


command = partial(cli.main, main)
