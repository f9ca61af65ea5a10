"""Renders stand-ins for the four datasets."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fas_jax.base.settings import Synthesis
from fas_jax.runtime import cli
from fas_jax.synthetic import Workers, render_dataset
from fas_jax.synthetic.plan import LETTERS


def main(
    out: Annotated[Path, tyro.conf.Positional],
    settings: Synthesis = Synthesis(),  # noqa: B008 - frozen
    layouts: tuple[Literal["oulu_npu", "casia_fasd", "replay_attack", "msu_mfsd"], ...] = (
        "oulu_npu",
        "casia_fasd",
        "replay_attack",
        "msu_mfsd",
    ),
) -> None:
    """Renders small face presentation-attack datasets as video files in the official layouts.

    They exercise the pipeline and say nothing about real attacks. Without options it renders the full official lists in
    full size, which takes days; for a first try: --subjects 12 --videos-per-subject 5 --frames 64 --scale 0.25. Started
    again after an interruption, it continues where it stopped.

    Args:
        out: Folder in which each layout gets a folder.
        settings: What is rendered.
        layouts: Layouts to render.
    """
    with Workers(settings.workers) as workers:
        for layout in layouts:
            root = render_dataset(layout, out / layout, settings, workers)
            print(f"synth-{LETTERS[layout]}: {root}")


command = partial(cli.main, main)
