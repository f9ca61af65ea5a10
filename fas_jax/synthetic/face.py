"""A subject's head: albedo, depth and normals, drawn from a handful of numbers; see `expression` for eyes and mouth.

Canonical coordinates: x to the image's right, y down, the face's centre at 0, half its width about 0.78 and half
its height about 1.05. Albedo is linear reflectance, 0 to 1.
"""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from fas_jax.synthetic.pixels import each
from fas_jax.synthetic.seeds import fractal_noise, generator, smooth_noise

# The canvas in canonical coordinates: left, right, top, bottom.
LEFT, RIGHT, TOP, BOTTOM = -1.3, 1.3, -1.6, 1.5
HALF_WIDTH, HALF_HEIGHT = 0.78, 1.05
EYE_X, EYE_Y = 0.33, -0.1
EYE_HALF_WIDTH, EYE_HALF_HEIGHT = 0.16, 0.072
MOUTH_Y = 0.58

# Linear skin reflectance from dark to light; between them a subject's tone is interpolated.
_SKIN = np.array(
    [[0.075, 0.036, 0.022], [0.17, 0.082, 0.048], [0.34, 0.18, 0.11], [0.5, 0.3, 0.21], [0.64, 0.42, 0.32]],
    np.float32,
)
_HAIR = np.array(
    [[0.012, 0.01, 0.01], [0.04, 0.022, 0.014], [0.11, 0.06, 0.03], [0.34, 0.22, 0.1], [0.3, 0.29, 0.28]], np.float32
)
_IRIS = np.array([[0.06, 0.03, 0.015], [0.12, 0.07, 0.03], [0.1, 0.13, 0.06], [0.1, 0.18, 0.28]], np.float32)

Vector = Float32[np.ndarray, "3"]
Plane = Float32[np.ndarray, "h w"]
Row = Float32[np.ndarray, "1 w"]
Column = Float32[np.ndarray, "h 1"]


@dataclass(frozen=True)
class Appearance:
    """What makes a subject look the same in all videos."""

    key: str
    skin: Vector
    hair: Vector
    iris: Vector
    lips: Vector
    hair_length: float
    """Below 0 short, above 0 down to the jaw."""
    hairline: float
    beard: float
    glasses: bool
    jaw: float
    eye_scale: float
    nose_width: float
    brow: float
    width: float
    """Width of the face against its height."""
    age: float
    shirt: int


@dataclass(frozen=True)
class Head:
    """A drawn head at one resolution."""

    appearance: Appearance
    albedo: Float32[np.ndarray, "h w 4"]
    """Premultiplied by the coverage, which is the fourth channel; without eyes and mouth, which
    `expression.Expression` adds."""
    normals: Float32[np.ndarray, "3 h w"]
    depth: Float32[np.ndarray, "h w"]
    gloss: Float32[np.ndarray, "h w"]
    """Strength of the specular reflection, premultiplied."""
    x: Float32[np.ndarray, "h w"]
    y: Float32[np.ndarray, "h w"]


def draw_appearance(seed: int, dataset: str, subject: str) -> Appearance:
    """The appearance of a subject, from its name alone."""
    rng = generator("appearance", seed, dataset, subject)
    tone = rng.uniform(0.15, 0.98) * (len(_SKIN) - 1)
    low = min(int(tone), len(_SKIN) - 2)
    skin = _SKIN[low] + (_SKIN[low + 1] - _SKIN[low]) * np.float32(tone - low)
    skin = skin * rng.uniform(0.93, 1.07, 3).astype(np.float32)
    # Dark skin and blond hair seldom go together.
    hair = _HAIR[rng.integers(0, 5 if tone > 2 else 2)] * np.float32(rng.uniform(0.7, 1.3))
    iris = _IRIS[rng.integers(0, 4 if tone > 2 else 2)] * np.float32(rng.uniform(0.7, 1.4))
    lips = skin * np.array([0.95, 0.62, 0.66], np.float32) * np.float32(rng.uniform(0.75, 1.0))
    man = rng.random() < 0.55
    return Appearance(
        key=f"{seed}/{dataset}/{subject}",
        skin=skin,
        hair=hair.astype(np.float32),
        iris=iris.astype(np.float32),
        lips=lips.astype(np.float32),
        hair_length=float(rng.uniform(-0.5, -0.15) if man else rng.uniform(-0.1, 0.9)),
        hairline=float(rng.uniform(-0.74, -0.56)),
        beard=float(rng.choice([0, 0, 0.25, 0.6]) * rng.uniform(0.6, 1.2)) if man else 0.0,
        glasses=bool(rng.random() < 0.25),
        jaw=float(rng.uniform(0.12, 0.3)),
        eye_scale=float(rng.uniform(0.88, 1.12)),
        nose_width=float(rng.uniform(0.85, 1.25)),
        brow=float(rng.uniform(0.5, 1.0)),
        width=float(rng.uniform(0.92, 1.06)),
        age=float(rng.uniform(0, 1)),
        shirt=int(rng.integers(0, 1 << 30)),
    )


def match_skin(appearance: Appearance, texture: Float32[np.ndarray, "n m 3"]) -> Appearance:
    """The appearance with the skin of a photograph's cheeks, for the neck, the ears and the eyelids."""
    rows, columns = texture.shape[:2]
    row = int((0.25 - TOP) / (BOTTOM - TOP) * rows)
    sides = [int((x - LEFT) / (RIGHT - LEFT) * columns) for x in (-0.38, 0.38)]
    patches = [texture[row - rows // 40 : row + rows // 40, at - columns // 40 : at + columns // 40] for at in sides]
    skin = np.median(np.concatenate([patch.reshape(-1, 3) for patch in patches]), axis=0).astype(np.float32)
    return dataclasses.replace(appearance, skin=skin)


def draw_head(appearance: Appearance, width: int, texture: Float32[np.ndarray, "n n 3"] | None = None) -> Head:
    """Draws the head on a canvas of `width` pixels; `texture` is a face photograph in canonical coordinates."""
    height = round(width * (BOTTOM - TOP) / (RIGHT - LEFT))
    # One row and one column: most of what is drawn is a product of the two, and they broadcast where it is not.
    x = np.linspace(LEFT, RIGHT, width, dtype=np.float32)[None] / np.float32(appearance.width)
    y = np.linspace(TOP, BOTTOM, height, dtype=np.float32)[:, None]
    edge = np.float32(width / (RIGHT - LEFT) / 1.5)
    rng = generator("head", appearance.key)
    face_radius = _face_radius(appearance, x, y)
    depth = _depth(appearance, x, y, face_radius)
    albedo = _skin(appearance, rng, x, y, texture)
    if texture is None:
        _brows(appearance, rng, albedo, x, y)
    alpha = soft((1 - face_radius) * edge * 0.6)
    ears = _ears(x, y)
    ear_mask = soft((1 - ears) * edge * 0.2)
    alpha = np.maximum(alpha, ear_mask)
    strands = _strands(rng, (height, width))
    hair, hair_depth = _hair(appearance, rng, x, y, edge)
    hair_colour = each(appearance.hair) * np.clip(1 + 0.45 * strands, 0.25, 2.2)
    albedo += (hair_colour - albedo) * hair
    alpha = np.maximum(alpha, hair)
    depth = depth + (hair_depth - depth) * hair
    if appearance.glasses:
        _glasses(albedo, x, y, edge)
    gloss = (0.09 * _hill(x / 0.35, (y + 0.2) / 0.5) + 0.03) * (1 - hair) + 0.05 * hair
    gloss *= np.clip(1 + 0.4 * smooth_noise(rng, (height, width), (24, 24)), 0, 2)
    alpha = alpha.astype(np.float32)
    return Head(
        appearance=appearance,
        albedo=cv2.merge([*(np.clip(albedo, 0.003, 0.95) * alpha), alpha]),
        normals=_normals(depth, width),
        depth=depth.astype(np.float32),
        gloss=(gloss * alpha).astype(np.float32),
        x=np.broadcast_to(x, (height, width)),
        y=np.broadcast_to(y, (height, width)),
    )


def soft(value: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """0 to 1 in a linear ramp around 0: an anti-aliased edge instead of a hard threshold."""
    return np.clip(value + np.float32(0.5), 0, 1)


def _hill(x: Row, y: Column) -> Plane:
    """A Gaussian bump around the origin."""
    return np.exp(-(x**2)) * np.exp(-(y**2))


def _shape(x: Row, y: Column) -> tuple[int, int]:
    return len(y), x.shape[1]


def _face_radius(appearance: Appearance, x: Row, y: Column) -> Float32[np.ndarray, "h w"]:
    narrowing = 1 - appearance.jaw * np.clip(y, 0, None) ** 2 / HALF_HEIGHT**2
    # A superellipse: rounder at the jaw than an ellipse.
    return (np.abs(x / (HALF_WIDTH * narrowing)) ** 2.35 + np.abs(y / HALF_HEIGHT) ** 2.35) ** np.float32(1 / 2.35)


def _depth(
    appearance: Appearance,
    x: Row,
    y: Column,
    radius: Float32[np.ndarray, "h w"],
) -> Float32[np.ndarray, "h w"]:
    depth = 0.72 * np.sqrt(np.clip(1.05 - radius**2, 0.002, None))
    ridge = np.clip((y + 0.3) / 0.62, 0, 1) * soft((0.33 - y) / 0.1)
    nose = 0.24 * ridge * np.exp(-((x / (0.1 * appearance.nose_width + 0.07 * np.clip(y + 0.1, 0, 1))) ** 2))
    nose += 0.05 * _hill((np.abs(x) - 0.13 * appearance.nose_width) / 0.06, (y - 0.27) / 0.07)
    sockets = -0.075 * _hill((np.abs(x) - EYE_X) / 0.17, (y - EYE_Y) / 0.1)
    brows = 0.04 * _hill((np.abs(x) - 0.32) / 0.2, (y + 0.3) / 0.07)
    lips = 0.06 * _hill(x / 0.24, (y - MOUTH_Y) / 0.09)
    chin = 0.05 * _hill(x / 0.2, (y - 0.86) / 0.12)
    cheeks = 0.045 * _hill((np.abs(x) - 0.42) / 0.2, (y - 0.2) / 0.2)
    folds = -0.016 * appearance.age * np.exp(-(((np.abs(x) - 0.2 - 0.35 * (y - 0.28)) / 0.035) ** 2))
    folds = folds * soft((y - 0.3) / 0.1) * soft((0.62 - y) / 0.1)
    return (depth + nose + sockets + brows + lips + chin + cheeks + folds).astype(np.float32)


def _skin(
    appearance: Appearance,
    rng: np.random.Generator,
    x: Row,
    y: Column,
    texture: Float32[np.ndarray, "n n 3"] | None,
) -> Float32[np.ndarray, "3 h w"]:
    blotches = 0.06 * fractal_noise(rng, _shape(x, y), 5, 3)
    pores = 0.05 * smooth_noise(rng, _shape(x, y), (150, 130)) + 0.04 * smooth_noise(rng, _shape(x, y), (70, 60))
    flush = _hill((np.abs(x) - 0.42) / 0.2, (y - 0.22) / 0.17)
    flush += 0.8 * _hill(x / 0.13, (y - 0.22) / 0.12)
    socket = _hill((np.abs(x) - EYE_X) / 0.2, (y - EYE_Y - 0.05) / 0.1)
    value = 1 + blotches + pores - 0.16 * socket
    colour = each(appearance.skin) * value
    colour[0] *= 1 + 0.08 * flush
    colour[1] *= 1 - 0.14 * flush
    colour[2] *= 1 - 0.1 * flush
    nostrils = _hill((np.abs(x) - 0.09 * appearance.nose_width) / 0.04, (y - 0.33) / 0.022)
    colour *= 1 - 0.75 * nostrils
    if appearance.age > 0.5:
        lines = np.sin(y * 55 + 2 * smooth_noise(rng, _shape(x, y), (4, 3))) ** 8 * soft((-0.42 - y) / 0.06)
        colour *= 1 - 0.16 * (appearance.age - 0.5) * (lines * np.exp(-((x / 0.4) ** 2)))
    if texture is not None:
        map_x = np.broadcast_to((x - LEFT) / (RIGHT - LEFT) * (texture.shape[1] - 1), _shape(x, y))
        map_y = np.broadcast_to((y - TOP) / (BOTTOM - TOP) * (texture.shape[0] - 1), _shape(x, y))
        photo = cv2.remap(texture, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
        weight = soft((0.8 - np.sqrt((x / 0.72) ** 2 + ((y - 0.08) / 0.98) ** 2)) * 4)
        colour += (photo.transpose(2, 0, 1) - colour) * weight
    if appearance.beard:
        area = soft((y - 0.42) / 0.25) * soft((np.abs(x) + y - 0.72) * 3)
        area = np.maximum(area, _hill(x / 0.24, (y - 0.46) / 0.05))
        area *= 1 - _hill(x / 0.26, (y - MOUTH_Y) / 0.085)
        stubble = np.clip(appearance.beard * area * (1 + 0.5 * smooth_noise(rng, _shape(x, y), (150, 150))), 0, 0.9)
        colour += (each(appearance.hair) - colour) * stubble
    return colour.astype(np.float32)


def _brows(
    appearance: Appearance,
    rng: np.random.Generator,
    albedo: Float32[np.ndarray, "3 h w"],
    x: Row,
    y: Column,
) -> None:
    away = np.abs(x) - 0.34
    arch = -0.3 + 0.5 * away**2 - 0.04 * (away > 0) * away
    thick = 0.062 * appearance.brow * np.clip(1.2 - np.abs(away) / 0.26, 0.1, 1)
    brow = np.exp(-(((y - arch) / thick) ** 2)) * soft((0.25 - np.abs(away)) / 0.06)
    brow *= np.clip(0.8 + 0.35 * smooth_noise(rng, _shape(x, y), (30, 110)), 0, 1)
    albedo += (each(appearance.hair * 1.2) - albedo) * (0.85 * brow)


def _ears(x: Row, y: Column) -> Float32[np.ndarray, "h w"]:
    return np.sqrt(((np.abs(x) - 0.79) / 0.1) ** 2 + ((y - 0.02) / 0.22) ** 2)


def _strands(rng: np.random.Generator, shape: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    coarse = smooth_noise(rng, shape, (5, 40))
    return 0.6 * coarse + 0.7 * smooth_noise(rng, shape, (10, 120))


def _hair(
    appearance: Appearance,
    rng: np.random.Generator,
    x: Row,
    y: Column,
    edge: np.float32,
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    wobble = 0.035 * smooth_noise(rng, _shape(x, y), (9, 22))
    volume = 0.1 + 0.08 * max(0.0, appearance.hair_length)
    cap = np.sqrt((x / (HALF_WIDTH + volume)) ** 2 + ((y + 0.12) / (HALF_HEIGHT + volume * 0.9)) ** 2)
    outer = soft((1 + wobble - cap) * edge * 0.5)
    # Hair lies where the face's opening, a curve below the hairline, does not show through.
    opening = appearance.hairline + 0.55 * x**2 + 1.4 * np.clip(np.abs(x) - 0.55, 0, None)
    above = soft((opening + wobble - y) * edge * 0.3)
    end = 0.1 + appearance.hair_length
    sides = soft((np.abs(x) - 0.66 + 0.12 * np.clip(y, 0, 1)) * edge * 0.3) * soft((end + wobble * 2 - y) * edge * 0.15)
    if appearance.hair_length > 0:
        curtain = np.abs(x) / (HALF_WIDTH + volume + 0.08 * np.clip(y, 0, None))
        outer = np.maximum(outer, soft((1 + wobble - curtain) * edge * 0.5) * (y > -0.12))
    hair = outer * np.maximum(above, sides)
    depth = 0.8 * np.sqrt(np.clip(1.02 - cap**2, 0.01, None)) + 0.02 * smooth_noise(rng, _shape(x, y), (6, 50))
    return hair.astype(np.float32), depth.astype(np.float32)


def _glasses(albedo: Float32[np.ndarray, "3 h w"], x: Row, y: Column, edge: np.float32) -> None:
    radius = (((np.abs(x) - EYE_X) / 0.25) ** 4 + ((y - EYE_Y - 0.02) / 0.18) ** 4) ** 0.25
    rim = soft((0.024 - np.abs(radius - 1) * 0.22) * edge)
    bridge = soft((0.02 - np.abs(y - EYE_Y + 0.04)) * edge) * (np.abs(x) < 0.1)
    arms = soft((0.02 - np.abs(y - EYE_Y + 0.04)) * edge) * (np.abs(x) > 0.57) * (np.abs(x) < 0.78)
    frame = np.maximum(np.maximum(rim, bridge), arms)
    albedo += (np.float32(0.03) - albedo) * (0.95 * frame)


def _normals(depth: Float32[np.ndarray, "h w"], width: int) -> Float32[np.ndarray, "3 h w"]:
    smooth = cv2.GaussianBlur(depth.astype(np.float32), (0, 0), max(0.6, width / 180))
    scale = np.float32(width / (RIGHT - LEFT))
    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3) * (scale / 8)
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3) * (scale / 8)
    normals = np.dstack([-slope_x, -slope_y, np.ones_like(slope_x)])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return np.ascontiguousarray(normals.transpose(2, 0, 1))
