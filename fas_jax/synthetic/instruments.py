"""Presentation attack instruments in front of a camera, and a recording of a bona fide scene on paper.

Screens are in `screens`.
An instrument is shown to the second camera as linear radiance, like any other scene. Coordinates on it: u to the
right and v down, 0 to 1 over the picture that it shows.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from fas_jax.synthetic.expression import Expression, eye_area
from fas_jax.synthetic.face import Head
from fas_jax.synthetic.motion import Events, Wander
from fas_jax.synthetic.pixels import each, lay_over, open_grid, spread, strips, without_cover
from fas_jax.synthetic.seeds import fractal_noise, smooth_noise

Image = Float32[np.ndarray, "h w 3"]
# Texture pixels of a print for one pixel of the camera: dots have to be finer than what samples them.
PRINT_DETAIL = 2.0
# Linear transmittance of cyan, magenta, yellow and black ink. Real inks absorb outside of their band as well,
# which is what shrinks the gamut.
_INKS = np.array([[0.08, 0.5, 0.72], [0.68, 0.08, 0.3], [0.9, 0.8, 0.1], [0.05, 0.05, 0.05]], np.float32)
_ANGLES = np.radians([15.0, 75.0, 0.0, 45.0])
LINEAR = ((np.arange(256) / 255) ** 2.2).astype(np.float32)
"""Linear radiance of an 8-bit picture's values."""


@dataclass(frozen=True)
class Holding:
    """Where the instrument is in the camera's frame, over time; lengths in pixels, angles in radians."""

    size: tuple[float, float]
    centre: tuple[float, float]
    x: Wander
    y: Wander
    zoom: Wander
    roll: Wander
    tilt_x: Wander
    tilt_y: Wander
    still: bool
    """Whether it rests on a support: nothing of the above changes."""


@dataclass(frozen=True)
class Print:
    """A photograph on paper."""

    texture: Float32[np.ndarray, "n m 4"]
    """Reflectance of the paper with its margin, and 1 for its coverage; eyes in holes are drawn in for each frame."""
    margin: tuple[float, float]
    """Width of the paper's margin in units of u and v."""
    background: Image
    """The background, divided by `lighting`."""
    lighting: Image
    sheen: Float32[np.ndarray, "h w"] | None
    """None where the paper is matt."""
    bend_u: Wander
    bend_v: Wander
    holes: "EyeHoles | None"


@dataclass(frozen=True)
class EyeHole:
    """A hole in a photograph."""

    area: tuple[slice, slice]
    """Its surroundings, in texture pixels."""
    paper: Image
    """What the photograph has there."""
    cover: Image
    """1 in the hole, 0 around it."""
    shadow: Image


@dataclass(frozen=True)
class EyeHoles:
    """Holes in a photograph through which the attacker's own eyes show."""

    attacker: Head
    expression: Expression
    holes: tuple[EyeHole, ...]
    """On the left, and on the right."""
    gaze_x: Wander
    gaze_y: Wander
    slip: Wander
    blinks: Events


def corners(holding: Holding, time: float) -> Float32[np.ndarray, "4 2"]:
    """Pixels of the picture's corners, clockwise from the upper left."""
    zoom = 1 + holding.zoom.at(time)
    half = np.array(holding.size) * zoom / 2
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    points = signs * half
    # Tilting brings one side nearer, which enlarges it.
    near = 1 + 0.5 * (holding.tilt_x.at(time) * signs[:, 0] + holding.tilt_y.at(time) * signs[:, 1])
    points *= near[:, None]
    angle = holding.roll.at(time)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (points @ turn + holding.centre + (holding.x.at(time), holding.y.at(time))).astype(np.float32)


def to_frame(holding: Holding, time: float, points: Float32[np.ndarray, "k 2"]) -> Float32[np.ndarray, "k 2"]:
    """Camera pixels of points given in u, v."""
    unit = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    matrix = cv2.getPerspectiveTransform(unit, corners(holding, time))
    return cv2.perspectiveTransform(points[None].astype(np.float32), matrix)[0]


@dataclass(frozen=True)
class View:
    """Which places of the instrument the camera's pixels see."""

    matrix: Float32[np.ndarray, "3 3"]
    """Homogeneous coordinates in camera pixels to u and v."""
    size: tuple[int, int]
    """Width and height of the frame."""

    def at(self, rows: slice) -> tuple[Float32[np.ndarray, "k w"], Float32[np.ndarray, "k w"]]:
        """u and v at every camera pixel of some rows."""
        matrix = self.matrix
        x = np.arange(self.size[0], dtype=np.float32)
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        scale = (matrix[2, 1] * y + matrix[2, 2]) + matrix[2, 0] * x
        np.divide(1, scale, out=scale)
        u = (matrix[0, 1] * y + matrix[0, 2]) + matrix[0, 0] * x
        v = (matrix[1, 1] * y + matrix[1, 2]) + matrix[1, 0] * x
        u *= scale
        v *= scale
        return u, v


def view(holding: Holding, time: float, size: tuple[int, int]) -> View:
    """What a frame of `size` (width, height) sees of the instrument."""
    unit = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    return View(cv2.getPerspectiveTransform(corners(holding, time), unit).astype(np.float32), size)


def show_print(instrument: Print, seen: View, time: float) -> Image:
    """Radiance of a print in front of a background."""
    bend_u, bend_v = np.float32(instrument.bend_u.at(time)), np.float32(instrument.bend_v.at(time))
    if instrument.holes is not None:
        _look(instrument, instrument.holes, time)
    texture = instrument.texture
    rows, columns = texture.shape[:2]
    scale_x = np.float32(columns / (1 + 2 * instrument.margin[0]))
    scale_y = np.float32(rows / (1 + 2 * instrument.margin[1]))
    width, height = seen.size
    shown = instrument.background.copy()
    for strip in strips(height, width):
        u, v = seen.at(strip)
        across, down = u - np.float32(0.5), v - np.float32(0.5)
        bow = 1 - 4 * across * across
        map_y = np.float32(0.5) + down * (1 + bend_v * bow)
        map_x = u + bend_u * (1 - 4 * down * down)
        map_x += np.float32(instrument.margin[0])
        map_x *= scale_x
        map_y += np.float32(instrument.margin[1])
        map_y *= scale_y
        layer = cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR)
        part, covered = shown[strip], layer[..., 3]
        lay_over(part, layer)
        part *= instrument.lighting[strip]
        # Where the paper turns towards the light it is brighter.
        part *= spread(1 + covered * (np.float32(2.5) * bend_v * across + np.float32(1.5) * bend_u * down))
        if instrument.sheen is not None:
            part += spread(covered * instrument.sheen[strip] * (1 + 3 * bend_v))
    return shown


def print_cover(
    instrument: Print, u: Float32[np.ndarray, "h w"], v: Float32[np.ndarray, "h w"], time: float
) -> Bool[np.ndarray, "h w"]:
    """Where the paper is, with its margin and with holes in it."""
    bend_u, bend_v = np.float32(instrument.bend_u.at(time)), np.float32(instrument.bend_v.at(time))
    across, down = u - np.float32(0.5), v - np.float32(0.5)
    bent_u = u + bend_u * (1 - 4 * down * down) + np.float32(instrument.margin[0])
    bent_v = np.float32(0.5) + down * (1 + bend_v * (1 - 4 * across * across)) + np.float32(instrument.margin[1])
    inside_u, inside_v = (
        (bent >= 0) & (bent < 1 + 2 * margin) for bent, margin in zip((bent_u, bent_v), instrument.margin, strict=True)
    )
    return inside_u & inside_v


def draw_print(
    rng: np.random.Generator,
    photo: UInt8[np.ndarray, "h w 3"],
    size: tuple[float, float],
    margin: tuple[float, float],
    period: float,
    amplitude: bool,
    dots: float,
) -> Image:
    """Reflectance of a print of `photo`, `size` camera pixels wide and high, on paper with a white margin.

    `period` is the screen's period in camera pixels; `amplitude` prints dots that grow (a rotated screen for each
    ink), else dots of one size at random positions. `dots` is how far the dots stand out, from 0 (dye that has run into
    a continuous tone) to 1.
    """
    coarse = (max(8, round(size[0])), max(8, round(size[1])))
    width, height = (round(side * PRINT_DETAIL) for side in coarse)
    picture = cv2.resize(photo, coarse, interpolation=cv2.INTER_LINEAR)
    amounts = cv2.split(cv2.resize(_ink_amounts(LINEAR[picture]), (width, height), interpolation=cv2.INTER_LINEAR))
    paper = np.array([0.86, 0.86, 0.84], np.float32) * np.float32(rng.uniform(0.92, 1.05))
    planes = np.ones((3, height, width), np.float32)
    pitch = period * PRINT_DETAIL
    y, x = open_grid(height, width)
    for number, amount in enumerate(amounts):
        if amplitude:
            cos, sin = np.float32(np.cos(_ANGLES[number])), np.float32(np.sin(_ANGLES[number]))
            wave = np.float32(2 * np.pi / pitch)
            threshold = 0.5 + 0.25 * (np.cos((x * cos + y * sin) * wave) + np.cos((y * cos - x * sin) * wave))
        else:
            # Dots at random positions, but evenly spread: noise without its low frequencies.
            cells = (round(height / pitch * 2.5), round(width / pitch * 2.5))
            noise = smooth_noise(rng, (height, width), cells)
            threshold = 0.5 + 0.3 * (noise - cv2.GaussianBlur(noise, (0, 0), 0.8 * pitch))
        dot = np.clip((amount - threshold) * np.float32(1.6) + np.float32(0.5), 0, 1)
        cover = amount + np.float32(dots) * (dot - amount)
        for plane, inked in zip(planes, _INKS[number], strict=True):
            plane *= 1 - cover * np.float32(1 - inked)
    reflectance = cv2.merge([plane * colour for plane, colour in zip(planes, paper, strict=True)])
    border = (round(height * margin[1]), round(width * margin[0]))
    whole = cv2.copyMakeBorder(
        reflectance, border[0], border[0], border[1], border[1], cv2.BORDER_CONSTANT, value=paper.tolist()
    )
    fibres = 0.02 * smooth_noise(rng, whole.shape[:2], (180, 180)) + 0.015 * fractal_noise(rng, whole.shape[:2], 6, 3)
    whole *= spread(1 + fibres)
    # The camera's pixels integrate over their area, which is two texture pixels wide.
    return cv2.GaussianBlur(whole, (0, 0), 0.4 * PRINT_DETAIL)


def _ink_amounts(linear: Image) -> Float32[np.ndarray, "h w 4"]:
    """Area covered by each ink so that the four together come out as the picture, as far as the gamut goes.

    Impure inks would tint the greys; a printer's profile corrects that, and so do a few steps of correction here.
    """
    wanted = np.clip(np.stack(cv2.split(linear)) * np.float32(1.1), 0.02, 1)
    ink = 1 - wanted
    black = np.float32(0.85) * ink.min(axis=0) ** 2
    left = 1 - black * np.float32(1 - _INKS[3, 0])
    for _ in range(4):
        printed = np.stack([left] * 3)
        for amount, inked in zip(ink, _INKS[:3], strict=True):
            printed *= 1 - amount * each(1 - inked)
        ink = np.clip(ink + np.float32(0.7) * (printed - wanted) / left, 0, 1)
    return cv2.merge([*ink, black])


def cut_eye(texture: Image, left: int, top: int, right: int, bottom: int) -> EyeHole:
    """A hole in the middle of these surroundings, given in texture pixels."""
    height, width = bottom - top, right - left
    y, x = open_grid(height, width)
    radius = ((x - width / 2) / (0.44 * width)) ** 2 + ((y - height / 2) / (0.4 * height)) ** 2
    area = np.s_[top:bottom, left:right]
    return EyeHole(
        area=area,
        paper=texture[area].copy(),
        cover=spread(np.clip((1 - radius) * np.float32(0.12 * width) + np.float32(0.5), 0, 1)),
        # The paper's edge throws a shadow on what lies behind it.
        shadow=spread(np.clip(1.25 - 0.6 * radius, 0.35, 1)),
    )


def _look(instrument: Print, holes: EyeHoles, time: float) -> None:
    """Draws the attacker's eyes into the holes of the texture."""
    gaze = (holes.gaze_x.at(time), holes.gaze_y.at(time))
    albedo = holes.expression.draw(gaze, holes.blinks.at(time), 0.0)
    slip = holes.slip.at(time)
    for side, hole in zip((-1, 1), holes.holes, strict=True):
        eye = without_cover(albedo[eye_area(holes.attacker, side, slip)]) * np.float32(0.75)
        eye = cv2.resize(eye, hole.paper.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        instrument.texture[hole.area][..., :3] = hole.paper + (eye * hole.shadow - hole.paper) * hole.cover
