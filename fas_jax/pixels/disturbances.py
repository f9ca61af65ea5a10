"""What disturbs a detector in use, as axes of growing strength: the crop, light, blur, noise, resolution, compression.

Strength 0 changes no bit. The crop is moved in the video's own frames, before anything is cut out of them; all else
happens to the frames of a rendition, as they are stored.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.rendition import Rendition
from fas_jax.pixels.detection import Face
from fas_jax.pixels.shifts import blurred, compressed, exposed, noisy, reduced

Frame = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class MovedRendition(Rendition):
    """A rendition whose faces are taken to be larger or elsewhere than they are; without a crop, the whole frame is."""

    scale: float = 1.0
    """The box's width and height are multiplied by it; its centre stays."""
    shift: tuple[float, float] = (0.0, 0.0)
    """To the right and down, as shares of the box's longer side."""
    pixels: tuple[float, float] = (0.0, 0.0)
    """To the right and down, in pixels of the frame."""

    def moved(self, face: Face) -> Face:
        """The face where this rendition takes it to be, its points with it."""
        x, y, width, height = face.box
        centre = np.array([x + width / 2, y + height / 2])
        move = np.array(self.shift) * max(width, height) + self.pixels
        start = centre + move - self.scale * np.array([width, height]) / 2
        points = centre + move + self.scale * (np.reshape(face.points, (-1, 2)) - centre)
        box = (float(start[0]), float(start[1]), self.scale * width, self.scale * height)
        return dataclasses.replace(face, box=box, points=tuple(points.ravel().tolist()))


@dataclass(frozen=True)
class Axis:
    """One way of disturbing; either `frame` or `moves` is given."""

    title: str
    strengths: tuple[float, ...]
    """Those that are measured unless others are asked for; 0 is among them."""
    frame: Callable[[Frame, float, np.random.Generator], Frame] | None = None
    """An RGB frame at a strength that is not 0; the generator is the frame's own."""
    moves: Callable[[float], dict[str, object]] | None = None
    """Settings of a `MovedRendition` at a strength."""

    def moved(self, rendition: Rendition, strength: float) -> MovedRendition:
        """A rendition at a strength of an axis that moves the crop."""
        if self.moves is None:
            raise ValueError(f"{self.title} does not move the crop")
        own = {field.name: getattr(rendition, field.name) for field in dataclasses.fields(Rendition)}
        return MovedRendition(**own, **self.moves(strength))  # type: ignore[arg-type]

    def disturb(self, frames: UInt8[np.ndarray, "t h w 3"], strength: float, seed: int) -> UInt8[np.ndarray, "t h w 3"]:
        """A clip's frames at a strength; where the axis moves the crop, as they are."""
        if self.frame is None or not strength:
            return frames
        found = [self.frame(each, strength, np.random.default_rng([seed, at])) for at, each in enumerate(frames)]
        return np.stack(found) if found else frames


_SCALES, _QUALITIES = (-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0), (0.0, 5.0, 10.0, 30.0, 50.0, 70.0, 90.0)
_MOVES, _PIXELS = (-20.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0), (-24.0, -12.0, 0.0, 12.0, 24.0)
_BLURS, _STOPS = (0.0, 0.25, 0.5, 1.0, 2.0), (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
_NOISES, _LOST = (0.0, 2.0, 5.0, 10.0, 20.0), (0.0, 25.0, 50.0, 75.0)
AXES: dict[str, Axis] = {
    "crop-scale": Axis("size of the box, change in %", _SCALES, moves=lambda s: {"scale": 1 + s / 100}),
    "shift-x": Axis("box to the right, % of its longer side", _MOVES, moves=lambda s: {"shift": (s / 100, 0.0)}),
    "shift-y": Axis("box down, % of its longer side", _MOVES, moves=lambda s: {"shift": (0.0, s / 100)}),
    "pixels-x": Axis("box to the right, pixels of the frame", _PIXELS, moves=lambda s: {"pixels": (s, 0.0)}),
    "pixels-y": Axis("box down, pixels of the frame", _PIXELS, moves=lambda s: {"pixels": (0.0, s)}),
    "jpeg": Axis("JPEG, 100 minus quality", _QUALITIES, lambda f, s, _: compressed(f, round(100 - s))),
    "blur": Axis("blur, sigma in % of the width", _BLURS, lambda f, s, _: blurred(f, s / 100)),
    "noise": Axis("noise, levels of 255 at white", _NOISES, noisy),
    "light": Axis("light, f-stops", _STOPS, lambda f, s, _: exposed(f, 2**s)),
    "resolution": Axis("resolution, % of the side lost", _LOST, lambda f, s, _: reduced(f, 1 - s / 100)),
}
"""By name."""
