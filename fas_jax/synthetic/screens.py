"""A recording of a bona fide scene on a screen; see `instruments` for where it is held."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from fas_jax.synthetic.instruments import LINEAR, View
from fas_jax.synthetic.pixels import spread, strips

Image = Float32[np.ndarray, "h w 3"]
Plane = Float32[np.ndarray, "h w"]
Picture = UInt8[np.ndarray, "h w 3"]
_ORDERS = (1, 2, 3)


@dataclass(frozen=True)
class Screen:
    """A display that shows a photograph or a video."""

    content: Callable[[int], UInt8[np.ndarray, "h w 3"]]
    """The picture shown at a frame of the second camera."""
    pixels: tuple[float, float]
    """Screen pixels across u and v."""
    bezel: tuple[float, float]
    bezel_colour: Float32[np.ndarray, "3"]
    white: Float32[np.ndarray, "3"]
    """Linear colour of the backlight."""
    black: float
    gamma: float
    grid: float
    """Depth of the grid between pixels, 0 to 1."""
    band: tuple[float, float, float]
    """The refresh band as the camera sees it: depth, bands a frame height, frame heights a second."""
    reflection: Image
    """What the glass reflects, in camera pixels."""


@dataclass(frozen=True)
class _Bars:
    """The lit bars of the pixel grid, in 256 steps of a screen pixel."""

    columns: list[Float32[np.ndarray, "256"]]
    """Of red, green and blue."""
    rows: Float32[np.ndarray, "256"]


class Display:
    """A screen in front of a background, frame by frame."""

    def __init__(self, screen: Screen, background: Image, still: bool) -> None:
        """A screen that is `still` is always seen alike: what depends on that only is computed once."""
        self._screen, self._background, self._still = screen, background, still
        self._table = screen.black + (1 - screen.black) * LINEAR ** np.float32(screen.gamma / 2.2)
        self._picture: Picture | None = None
        self._padded: UInt8[np.ndarray, "h w 4"] | None = None
        self._grids: dict[int, Image] = {}
        """Of strips, by their first rows; so are the next."""
        self._lit: dict[int, Image] = {}

    def show(self, seen: View, index: int, time: float) -> Image:
        """Radiance of frame `index`."""
        screen = self._screen
        self._change(screen.content(index))
        width, height = seen.size
        depth, bands, speed = screen.band
        phase = np.linspace(0, bands, height, dtype=np.float32) + np.float32(speed * time)
        pulse = 1 + np.float32(depth) * np.clip(2 * np.sin(2 * np.pi * phase), -1, 1)
        first, last = seen.at(slice(0, 1)), seen.at(slice(height - 1, height))
        bars = None if self._grids else _bars(screen, first, last, height)
        step = np.float32(1 / max(4, abs(float(first[0][0, -1] - first[0][0, 0])) ** -1 * width))
        whole = all(float(np.abs(each - np.float32(0.5)).max()) <= 0.5 for each in (*first, *last))
        shown = np.empty((height, width, 3), np.float32)
        for rows in strips(height, width):
            u, v = seen.at(rows)
            part = shown[rows]
            np.multiply(self._light(rows, u, v, bars), pulse[rows, None, None], out=part)
            part += screen.reflection[rows]
            if not whole:
                self._surround(part, self._background[rows], u, v, step)
        return shown

    def _change(self, picture: Picture) -> None:
        if picture is not self._picture:
            self._picture = picture
            # OpenCV turns and moves four channels faster than three.
            self._padded = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
            self._lit = {}

    def _light(self, rows: slice, u: Plane, v: Plane, bars: _Bars | None) -> Image:
        """What some rows of the camera see of the lit pixels."""
        if rows.start in self._lit:
            return self._lit[rows.start]
        grid = self._grids.get(rows.start)
        if grid is None:
            assert bars is not None
            grid = _grid(self._screen, u, v, bars)
        assert self._padded is not None
        height, width = self._padded.shape[:2]
        lit = cv2.remap(
            self._padded,
            u * np.float32(width) - np.float32(0.5),
            v * np.float32(height) - np.float32(0.5),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        light = cv2.LUT(cv2.cvtColor(lit, cv2.COLOR_RGBA2RGB), self._table)
        light *= grid
        if self._still:
            self._grids[rows.start], self._lit[rows.start] = grid, light
        return light

    def _surround(self, part: Image, background: Image, u: Plane, v: Plane, step: np.float32) -> None:
        """Lays the bezel around the picture, and around that the room; both edges are soft by a pixel."""
        screen = self._screen
        from_u, from_v = np.abs(u - np.float32(0.5)), np.abs(v - np.float32(0.5))
        outside = (np.maximum(from_u, from_v) - np.float32(0.5)) / step + np.float32(0.5)
        touched = outside.max(axis=0) > 0
        if not touched.any():
            return
        from_u -= np.float32(0.5 + screen.bezel[0])
        from_v -= np.float32(0.5 + screen.bezel[1])
        beyond = np.maximum(from_u, from_v) / step + np.float32(0.5)
        inner = np.flatnonzero(~touched)
        areas = [slice(0, inner[0]), slice(inner[-1] + 1, None)] if len(inner) else [slice(None)]
        for columns in areas:
            area = part[:, columns]
            if not area.size:
                continue
            bezel = np.tile(screen.bezel_colour, (area.shape[1], 1))
            area += (bezel - area) * spread(np.clip(outside[:, columns], 0, 1))
            if float(beyond[:, columns].max()) > 0:
                area += (background[:, columns] - area) * spread(np.clip(beyond[:, columns], 0, 1))


def screen_cover(
    screen: Screen, u: Float32[np.ndarray, "h w"], v: Float32[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Where the screen is, with its bezel."""
    beside = (np.abs(each - np.float32(0.5)) - np.float32(0.5) for each in (u, v))
    inside_u, inside_v = (each <= edge for each, edge in zip(beside, screen.bezel, strict=True))
    return inside_u & inside_v


def pixel_grid(screen: Screen, u: Plane, v: Plane) -> Image:
    """The screen's pixel grid, times the backlight's colour, as the camera's pixels sample it.

    The grid is a Fourier series over screen pixels; a camera pixel integrates over its own area, which damps each
    harmonic by its transfer function, and samples the rest: frequencies above half a cycle a camera pixel
    come back as moiré, differently for the three colours, whose subpixels lie side by side.
    """
    return _grid(screen, u, v, _bars(screen, (u[:1], v[:1]), (u[-1:], v[-1:]), len(u)))


def _bars(screen: Screen, first: tuple[Plane, Plane], last: tuple[Plane, Plane], height: int) -> _Bars:
    """The grid's bars as a frame sees them whose `first` and `last` row see these u and v."""
    across, down = (
        first[0][0] * np.float32(screen.pixels[0]),
        [each[1][0, 0] * np.float32(screen.pixels[1]) for each in (first, last)],
    )
    columns = _apertures(abs(float(across[-1] - across[0])) / (len(across) - 1))
    rows = _apertures(abs(float(down[1] - down[0])) / (height - 1))
    return _Bars([_harmonics((channel - 1) / 3, 0.3, columns) for channel in range(3)], _harmonics(0.0, 0.85, rows))


def _grid(screen: Screen, u: Plane, v: Plane, bars: _Bars) -> Image:
    across, down = _phase(u * np.float32(screen.pixels[0])), _phase(v * np.float32(screen.pixels[1]))
    row = cv2.LUT(down, bars.rows)
    planes = []
    for column, white in zip(bars.columns, screen.white, strict=True):
        plane = cv2.LUT(across, column)
        plane *= row
        plane *= np.float32(screen.grid)
        plane += np.float32(1 - screen.grid)
        plane *= white
        planes.append(plane)
    return cv2.merge(planes)


def _phase(position: Plane) -> UInt8[np.ndarray, "h w"]:
    """Where in its screen pixel a position lies, in steps of 1/256."""
    position *= np.float32(256)
    return position.astype(np.int32).astype(np.uint8)


def _apertures(rate: float) -> list[float]:
    """What a camera pixel, which sees `rate` periods, leaves of each harmonic."""
    return [float(np.sinc(0.8 * order * rate) * np.exp(-2 * (np.pi * 0.22 * order * rate) ** 2)) for order in _ORDERS]


def _harmonics(offset: float, duty: float, apertures: list[float]) -> Float32[np.ndarray, "256"]:
    """One period of a row of lit bars, `duty` wide, mean 1, through the camera's `apertures`."""
    wave = np.ones(256)
    for (strength, cosine), aperture in zip(_bar_series(offset, duty), apertures, strict=True):
        wave += strength * aperture * cosine
    return wave.astype(np.float32)


@lru_cache
def _bar_series(offset: float, duty: float) -> list[tuple[float, Float64[np.ndarray, "256"]]]:
    phase = np.arange(256) / 256 - 0.5 - offset
    return [(float(2 * np.sinc(order * duty)), np.cos(2 * np.pi * order * phase)) for order in _ORDERS]
