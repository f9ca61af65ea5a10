"""Rooms: what is seen behind a face or an instrument, and how it is lit."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from fas_jax.synthetic.pixels import each, open_grid, spread
from fas_jax.synthetic.seeds import fractal_noise, generator, smooth_noise

# Logarithms of R, G and B for each unit of warmth.
_KEY_TINT = np.array([0.22, 0.0, -0.3])
_AMBIENT_TINT = np.array([0.1, 0.0, -0.14])


@dataclass(frozen=True)
class Light:
    """Light at the face: ambient and one key light."""

    ambient: Float32[np.ndarray, "3"]
    key: Float32[np.ndarray, "3"]
    direction: Float32[np.ndarray, "3"]
    """Unit vector towards the light; x right, y down, z to the camera."""
    flicker: float
    """Relative depth of the mains' ripple as the camera sees it."""


@dataclass(frozen=True)
class Relighting:
    """How the lamps of a domain differ from those of `draw_light`; the defaults change nothing."""

    level: float = 1.0
    """Factor on all light."""
    hardness: float = 1.0
    """Factor on the key light, and divisor of the ambient light."""
    warmth: float = 0.0
    """Added to the warmth of the lamps, which lies between -1 (cool) and 1 (warm)."""
    sideways: float = 0.0
    """Added to the direction of the key light, before it becomes a unit vector; to the right."""

    def __call__(self, light: Light) -> Light:
        """The light that the domain has in place of this one."""
        direction = light.direction + np.array([self.sideways, 0, 0], np.float32)
        return Light(
            ambient=(light.ambient * np.exp(_AMBIENT_TINT * self.warmth) * self.level / self.hardness).astype(
                np.float32
            ),
            key=(light.key * np.exp(_KEY_TINT * self.warmth) * self.level * self.hardness).astype(np.float32),
            direction=(direction / np.linalg.norm(direction)).astype(np.float32),
            flicker=light.flicker,
        )


def draw_light(rng: np.random.Generator, adverse: bool) -> Light:
    """Lamps from warm to cool; `adverse` light comes from the side and leaves shadows."""
    warmth = rng.uniform(-1, 1)
    tint = np.exp(_KEY_TINT * warmth + rng.normal(0, 0.04, 3))
    sideways = rng.uniform(0.5, 1.1) * rng.choice([-1, 1]) if adverse else rng.uniform(-0.5, 0.5)
    direction = np.array([sideways, rng.uniform(-0.7, -0.15), rng.uniform(0.6, 1.0)])
    key = rng.uniform(0.8, 1.2) if adverse else rng.uniform(0.45, 0.8)
    ambient = rng.uniform(0.15, 0.4) if adverse else rng.uniform(0.4, 0.65)
    ambient_tint = np.exp(_AMBIENT_TINT * rng.uniform(-1, 1))
    return Light(
        ambient=(ambient * ambient_tint).astype(np.float32),
        key=(key * tint).astype(np.float32),
        direction=(direction / np.linalg.norm(direction)).astype(np.float32),
        flicker=float(rng.uniform(0, 0.012)),
    )


def draw_room(
    key: tuple[object, ...], width: int, height: int, light: Light, blur: float
) -> Float32[np.ndarray, "h w 3"]:
    """Linear radiance of a room, named by `key`, as seen in a frame of the given size.

    `blur` is the radius of defocus as a share of the frame's short side.
    """
    rng = generator("room", *key)
    y, x = open_grid(height, width)
    x, y = x / np.float32(width), y / np.float32(height)
    wall = _colour(rng, 0.12, 0.75)
    image = np.empty((height, width, 3), np.float32)
    image[:] = wall
    if rng.random() < 0.35:
        image[y[:, 0] > rng.uniform(0.5, 0.85)] = _colour(rng, 0.05, 0.5)
    for _ in range(int(rng.integers(1, 8))):
        _furniture(rng, image, x)
    image *= spread(np.clip(1 + 0.06 * fractal_noise(rng, (height, width), 6, 4), 0.5, 1.5))
    angle = rng.uniform(0, 2 * np.pi)
    ramp = 1 + rng.uniform(0.1, 0.5) * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5))
    strength = np.float32(rng.uniform(0.35, 1.3))
    planes = cv2.split(image)
    for plane, colour in zip(planes, light.ambient + np.float32(0.55) * light.key, strict=True):
        plane *= ramp * colour * strength
    image = cv2.merge(planes)
    if rng.random() < 0.2:
        _window(rng, image, x, y)
    sigma = max(0.4, blur * min(width, height))
    return cv2.GaussianBlur(image, (0, 0), sigma)


def draw_cloth(key: int, height: int, width: int, unit: int) -> Float32[np.ndarray, "3 h w"]:
    """Albedo of a shirt: plain, striped or checked, by `unit` pixels."""
    rng = generator("cloth", key)
    base, second = _colour(rng, 0.02, 0.7), _colour(rng, 0.02, 0.7)
    y, x = (axis / np.float32(unit) for axis in open_grid(height, width))
    kind, pitch = rng.integers(0, 4), rng.uniform(6, 16)
    pattern = np.zeros((height, width), np.float32)
    if kind in (1, 3):
        pattern += np.clip(np.sin(2 * np.pi * pitch * x) * 3, -1, 1)
    if kind in (2, 3):
        pattern += np.clip(np.sin(2 * np.pi * pitch * y) * 3, -1, 1)
    weight = 0.5 + 0.25 * pattern if kind else pattern
    cloth = each(base) + each(second - base) * np.clip(weight, 0, 1)
    folds = 1 + 0.15 * smooth_noise(rng, (height, width), (4, 7)) + 0.04 * smooth_noise(rng, (height, width), (90, 90))
    return np.clip(cloth * folds, 0.01, 0.9).astype(np.float32)


def _colour(rng: np.random.Generator, low: float, high: float) -> Float32[np.ndarray, "3"]:
    value = np.exp(rng.uniform(np.log(low), np.log(high)))
    return np.clip(value * np.exp(rng.normal(0, 0.2, 3)), 0.01, 0.9).astype(np.float32)


def _furniture(
    rng: np.random.Generator,
    image: Float32[np.ndarray, "h w 3"],
    x: Float32[np.ndarray, "1 w"],
) -> None:
    """A picture, shelf, cupboard or door: a framed rectangle with something on it."""
    left, top = rng.uniform(-0.2, 0.9), rng.uniform(-0.2, 0.9)
    right, bottom = left + rng.uniform(0.08, 0.5), top + rng.uniform(0.08, 0.6)
    height, width = image.shape[:2]
    rows = slice(max(0, int(top * height)), max(0, int(bottom * height)))
    columns = slice(max(0, int(left * width)), max(0, int(right * width)))
    area = image[rows, columns]
    frame, inner = _colour(rng, 0.03, 0.6), _colour(rng, 0.03, 0.7)
    kind, pitch = rng.integers(0, 3), rng.uniform(8, 30)
    pattern = rng.standard_normal((6, 5, 3)).astype(np.float32)
    if area.size == 0:
        return
    margin = max(1, min(height, width) // 90)
    area[:] = frame
    core = area[margin:-margin, margin:-margin]
    if core.size == 0:
        return
    if kind == 0:
        picture = cv2.resize(pattern, core.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        core[:] = inner * np.clip(1 + 0.3 * picture, 0.2, 1.8)
    elif kind == 1:
        stripes = 0.5 + 0.5 * np.clip(np.sin(2 * np.pi * pitch * x[:, columns]) * 4, -1, 1)
        core[:] = inner * (0.4 + 0.6 * stripes[:, margin:-margin, None])
    else:
        core[:] = inner


def _window(
    rng: np.random.Generator,
    image: Float32[np.ndarray, "h w 3"],
    x: Float32[np.ndarray, "1 w"],
    y: Float32[np.ndarray, "h 1"],
) -> None:
    centre_x, centre_y = rng.uniform(0, 1), rng.uniform(0, 0.5)
    half_x, half_y = rng.uniform(0.08, 0.25), rng.uniform(0.1, 0.3)
    light = np.array([0.9, 1.0, 1.15], np.float32) * np.float32(rng.uniform(1.0, 2.2))
    inside = np.clip(30 * (half_x - np.abs(x - centre_x)), 0, 1) * np.clip(30 * (half_y - np.abs(y - centre_y)), 0, 1)
    bars = np.clip(60 * (np.abs(x - centre_x) - 0.008), 0, 1)
    image += (light - image) * spread((inside * bars).astype(np.float32))
