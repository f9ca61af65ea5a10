"""Eyes and mouth, which move, drawn over a head."""

import numpy as np
from jaxtyping import Float32

from fas_jax.synthetic.face import (
    BOTTOM,
    EYE_HALF_HEIGHT,
    EYE_HALF_WIDTH,
    EYE_X,
    EYE_Y,
    LEFT,
    MOUTH_Y,
    RIGHT,
    TOP,
    Appearance,
    Head,
    soft,
)


def draw_expression(
    head: Head, gaze: tuple[float, float], closure: float, mouth: float, photo: bool = False
) -> Float32[np.ndarray, "h w 3"]:
    """The head's albedo with eyes and mouth.

    `gaze` is -1 to 1 in x and y, `closure` 0 (open) to 1 (shut), `mouth` 0 (closed) to 1. A photograph brings
    its own open eyes and closed mouth, so that only lids and the opening are drawn over it.
    """
    albedo = head.albedo.copy()
    for side in (-1, 1):
        if photo and closure < 0.02:
            continue
        rows, columns = _patch(head, side * EYE_X, EYE_Y, 0.24, 0.17)
        x, y = head.x[rows, columns] - np.float32(side * EYE_X), head.y[rows, columns] - np.float32(EYE_Y)
        albedo[rows, columns] = _eye(head.appearance, albedo[rows, columns], x, y, gaze, closure, lid_only=photo)
    if not photo or mouth > 0.02:
        rows, columns = _patch(head, 0, MOUTH_Y, 0.4, 0.26)
        x, y = head.x[rows, columns], head.y[rows, columns] - np.float32(MOUTH_Y)
        albedo[rows, columns] = _mouth(head.appearance, albedo[rows, columns], x, y, mouth, opening_only=photo)
    return albedo


def eye_area(head: Head, side: int, shift: float) -> tuple[slice, slice]:
    """Rows and columns around one eye (-1 left in the image, 1 right), shifted sideways in canonical units."""
    return _patch(head, side * EYE_X + shift, EYE_Y, 0.21, 0.14)


def _patch(head: Head, x: float, y: float, half_width: float, half_height: float) -> tuple[slice, slice]:
    height, width = head.alpha.shape
    x = x * head.appearance.width
    columns = [(x + sign * half_width - LEFT) / (RIGHT - LEFT) * width for sign in (-1, 1)]
    rows = [(y + sign * half_height - TOP) / (BOTTOM - TOP) * height for sign in (-1, 1)]
    return slice(max(0, int(rows[0])), int(rows[1]) + 1), slice(max(0, int(columns[0])), int(columns[1]) + 1)


def _eye(
    appearance: Appearance,
    skin: Float32[np.ndarray, "h w 3"],
    x: Float32[np.ndarray, "h w"],
    y: Float32[np.ndarray, "h w"],
    gaze: tuple[float, float],
    closure: float,
    lid_only: bool,
) -> Float32[np.ndarray, "h w 3"]:
    half_width, half_height = EYE_HALF_WIDTH * appearance.eye_scale, EYE_HALF_HEIGHT * appearance.eye_scale
    arc = 1 - (x / np.float32(half_width)) ** 2
    top, bottom = -half_height * arc, 0.7 * half_height * arc
    lid = top + np.float32(min(1.0, closure)) * (bottom - top)
    sharp = np.float32(60)
    inside = soft((y - lid) * sharp) * soft((bottom - y) * sharp) * (arc > 0)
    socket = soft((y - top) * sharp) * soft((bottom - y) * sharp) * (arc > 0)
    covered = np.clip(socket - inside, 0, 1)
    result = skin + (appearance.skin * np.float32(0.85) - skin) * covered[..., None]
    if not lid_only:
        distance = np.sqrt((x - np.float32(0.05 * gaze[0])) ** 2 + (y - np.float32(0.02 * gaze[1]) + 0.005) ** 2)
        white = np.array([0.62, 0.58, 0.55], np.float32) * (1 - 0.35 * np.abs(x / half_width)[..., None] ** 2)
        iris = soft((0.078 - distance) * sharp)
        pupil = soft((0.032 - distance) * sharp)
        ball = white + (appearance.iris * (0.6 + distance[..., None] * 8) - white) * iris[..., None]
        ball = ball * (1 - 0.95 * pupil[..., None])
        glint = np.exp(-(((x - 0.02) / 0.014) ** 2) - ((y + 0.025) / 0.014) ** 2)
        ball = ball * (1 - 0.4 * np.exp(-((y - lid) / 0.03)))[..., None].clip(0.5, 1) + 0.7 * glint[..., None]
        result += (ball - result) * inside[..., None]
        crease = np.exp(-(((y - top + 0.035) / 0.014) ** 2)) * np.clip(arc * 1.5, 0, 1)
        result *= 1 - 0.3 * crease[..., None]
    lash = np.exp(-(((y - lid) / 0.014) ** 2)) * np.clip(arc * 3, 0, 1)
    return (result * (1 - 0.85 * lash[..., None])).astype(np.float32)


def _mouth(
    appearance: Appearance,
    skin: Float32[np.ndarray, "h w 3"],
    x: Float32[np.ndarray, "h w"],
    y: Float32[np.ndarray, "h w"],
    opening: float,
    opening_only: bool,
) -> Float32[np.ndarray, "h w 3"]:
    half_width = 0.27
    arc = np.clip(1 - (x / np.float32(half_width)) ** 2, 0, None)
    bow = 0.06 * arc**0.7 * (1 - 0.25 * np.exp(-((x / 0.05) ** 2)))
    gap = np.float32(0.09 * opening) * arc
    sharp = np.float32(40)
    result = skin.copy()
    if not opening_only:
        lips = soft((y + bow + gap * 0.3) * sharp) * soft((0.085 * arc**0.6 + gap - y) * sharp) * (arc > 0)
        shade = 1 - 0.25 * np.clip(-y / 0.06, 0, 1)
        result += (appearance.lips * shade[..., None] - result) * (0.85 * lips)[..., None]
    line = np.exp(-((y / 0.014) ** 2)) * np.clip(arc * 4, 0, 1) * (1 - min(1.0, opening * 3))
    result *= 1 - 0.7 * line[..., None]
    hole = soft((y + gap * 0.2) * sharp) * soft((gap - y) * sharp) * (arc > 0) * min(1.0, opening * 5)
    teeth = soft((gap * 0.35 - y) * sharp) * (np.abs(x) < 0.17)
    inner = np.array([0.05, 0.012, 0.012], np.float32) + 0.4 * teeth[..., None]
    return (result + (inner - result) * hole[..., None]).astype(np.float32)
