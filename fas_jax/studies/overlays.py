"""Overlays of what decides in a clip, and the files that `fas-jax predict --explain` writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.files import plain_name
from fas_jax.deployment.attribution import Maps
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.chain import chain_of
from fas_jax.deployment.given_frames import Frames
from fas_jax.deployment.verdict import NO_DECISION, Verdict
from fas_jax.pixels.selection import middles
from fas_jax.reporting.figures import write_figure
from fas_jax.reporting.overlays import Overlay, overlay_figure


@dataclass(frozen=True, eq=False)
class Explainer:
    """Writes an overlay for each file that a bundle judges; what `Bundle.judge` takes as `seen`."""

    maps: Maps
    folder: Path
    written: dict[str, str] = field(default_factory=dict)
    """By source, the name of its file."""

    @classmethod
    def of(cls, bundle: Bundle, name: str, way: str, folder: Path) -> "Explainer":
        """For a bundle's detector.

        Raises:
            UserError: As `chain_of` and `Maps.of`.
        """
        return cls(Maps.of(chain_of(bundle, name), way), folder)

    def __call__(self, verdict: Verdict, frames: Mapping[str, Frames]) -> None:
        """Writes NAME.png, or NAME-2.png where an earlier file has that name; nothing where nothing was decided."""
        own = np.asarray(frames.get(self.maps.chain.rendition, ()))
        if verdict.decision == NO_DECISION or not len(own):
            return
        stem, taken = plain_name(Path(verdict.source).stem), set(self.written.values())
        numbers = (f"{stem}-{number}.png" for number in range(2, len(taken) + 3))
        name = next(each for each in (f"{stem}.png", *numbers) if each not in taken)
        title = (
            f"{Path(verdict.source).name}: {verdict.decision}, score {verdict.score:.4g}, threshold "
            f"{verdict.threshold:.4g} ({self.maps.chain.name}, {self.maps.way})"
        )
        overlay = overlay_of(self.maps, own, title, verdict.decision == "bona fide")
        write_figure(overlay_figure([overlay]), self.folder / name)
        self.written[verdict.source] = name


def overlay_of(maps: Maps, frames: UInt8[np.ndarray, "t h w 3"], title: str, accepted: bool, most: int = 0) -> Overlay:
    """The overlay of a clip's frames, or of `most` of them that are spread evenly."""
    shown = middles(len(frames), most or len(frames))
    return Overlay(title, frames[shown], maps(frames, accepted)[shown])
