"""Eyes and mouth, which move, drawn over a head."""

from dataclasses import dataclass

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
    Head,
    soft,
)
from fas_jax.synthetic.pixels import each

Plane = Float32[np.ndarray, "h w"]
Planes = Float32[np.ndarray, "3 h w"]
_SHARP_EYE, _SHARP_MOUTH = np.float32(60), np.float32(40)


class Expression:
    """Draws a head's eyes and mouth; what stays the same from frame to frame is computed once."""

    def __init__(self, head: Head, photo: bool = False) -> None:
        """A photograph brings its own open eyes and closed mouth: only lids and the opening are drawn over it."""
        self._head, self._photo = head, photo
        self._eyes = [_Eye(head, side, lid_only=photo) for side in (-1, 1)]
        self._mouth = _Mouth(head, opening_only=photo)

    def draw(self, gaze: tuple[float, float], closure: float, mouth: float) -> Float32[np.ndarray, "h w 4"]:
        """The head's albedo with eyes and mouth; the fourth channel is its coverage.

        `gaze` is -1 to 1 in x and y, `closure` 0 (open) to 1 (shut), `mouth` 0 (closed) to 1.
        """
        albedo = self._head.albedo.copy()
        for eye in self._eyes:
            if not self._photo or closure >= 0.02:
                albedo[eye.area][..., :3] = eye.draw(gaze, closure).transpose(1, 2, 0)
        if not self._photo or mouth > 0.02:
            albedo[self._mouth.area][..., :3] = self._mouth.draw(mouth).transpose(1, 2, 0)
        return albedo


def eye_area(head: Head, side: int, shift: float) -> tuple[slice, slice]:
    """Rows and columns around one eye (-1 left in the image, 1 right), shifted sideways in canonical units."""
    return _patch(head, side * EYE_X + shift, EYE_Y, 0.21, 0.14)


def _patch(head: Head, x: float, y: float, half_width: float, half_height: float) -> tuple[slice, slice]:
    height, width = head.depth.shape
    x = x * head.appearance.width
    columns = [(x + sign * half_width - LEFT) / (RIGHT - LEFT) * width for sign in (-1, 1)]
    rows = [(y + sign * half_height - TOP) / (BOTTOM - TOP) * height for sign in (-1, 1)]
    return slice(max(0, int(rows[0])), int(rows[1]) + 1), slice(max(0, int(columns[0])), int(columns[1]) + 1)


def _planes(head: Head, area: tuple[slice, slice]) -> Planes:
    """The albedo of an area, channels first: NumPy broadcasts over three channels many times faster that way."""
    return np.ascontiguousarray(head.albedo[area][..., :3].transpose(2, 0, 1))


@dataclass
class _Lid:
    """What depends on how far the eye is closed."""

    closure: float
    inside: Plane
    skin: Planes
    shade: Plane
    lashes: Plane


class _Eye:
    """One eye."""

    def __init__(self, head: Head, side: int, lid_only: bool) -> None:
        self.area = _patch(head, side * EYE_X, EYE_Y, 0.24, 0.17)
        self._appearance, self._lid_only = head.appearance, lid_only
        x = self._x = head.x[self.area] - np.float32(side * EYE_X)
        y = self._y = head.y[self.area] - np.float32(EYE_Y)
        scale = head.appearance.eye_scale
        half_width, half_height = EYE_HALF_WIDTH * scale, EYE_HALF_HEIGHT * scale
        self._skin = _planes(head, self.area)
        arc = self._arc = 1 - (x / np.float32(half_width)) ** 2
        self._top, self._bottom = -half_height * arc, 0.7 * half_height * arc
        self._white = each(np.array([0.62, 0.58, 0.55], np.float32)) * (1 - 0.35 * np.abs(x / half_width) ** 2)
        self._glint = 0.7 * np.exp(-(((x - 0.02) / 0.014) ** 2) - ((y + 0.025) / 0.014) ** 2)
        self._crease = 1 - 0.3 * (np.exp(-(((y - self._top + 0.035) / 0.014) ** 2)) * np.clip(arc * 1.5, 0, 1))
        self._lid = self._close(0.0)

    def draw(self, gaze: tuple[float, float], closure: float) -> Planes:
        if closure != self._lid.closure:
            self._lid = self._close(closure)
        lid = self._lid
        if self._lid_only:
            return lid.skin * lid.lashes
        x, y = self._x, self._y
        distance = np.sqrt((x - np.float32(0.05 * gaze[0])) ** 2 + (y - np.float32(0.02 * gaze[1]) + 0.005) ** 2)
        iris = soft((0.078 - distance) * _SHARP_EYE)
        pupil = soft((0.032 - distance) * _SHARP_EYE)
        ball = self._white + (each(self._appearance.iris) * (0.6 + distance * 8) - self._white) * iris
        ball *= 1 - 0.95 * pupil
        ball *= lid.shade
        ball += self._glint
        result = lid.skin + (ball - lid.skin) * lid.inside
        result *= self._crease
        result *= lid.lashes
        return result

    def _close(self, closure: float) -> _Lid:
        y, top, bottom = self._y, self._top, self._bottom
        lid = top + np.float32(min(1.0, closure)) * (bottom - top)
        within = soft((bottom - y) * _SHARP_EYE)
        inside = soft((y - lid) * _SHARP_EYE) * within * (self._arc > 0)
        socket = soft((y - top) * _SHARP_EYE) * within * (self._arc > 0)
        covered = np.clip(socket - inside, 0, 1)
        lash = np.exp(-(((y - lid) / 0.014) ** 2)) * np.clip(self._arc * 3, 0, 1)
        return _Lid(
            closure=closure,
            inside=inside,
            skin=self._skin + (each(self._appearance.skin * np.float32(0.85)) - self._skin) * covered,
            shade=(1 - 0.4 * np.exp(-((y - lid) / 0.03))).clip(0.5, 1),
            lashes=1 - 0.85 * lash,
        )


class _Mouth:
    """The mouth."""

    def __init__(self, head: Head, opening_only: bool) -> None:
        self.area = _patch(head, 0, MOUTH_Y, 0.4, 0.26)
        self._opening_only = opening_only
        x = self._x = head.x[self.area]
        self._y = head.y[self.area] - np.float32(MOUTH_Y)
        self._skin = _planes(head, self.area)
        self._arc = np.clip(1 - (x / np.float32(0.27)) ** 2, 0, None)
        self._upper = 0.06 * self._arc**0.7 * (1 - 0.25 * np.exp(-((x / 0.05) ** 2)))
        self._lower = 0.085 * self._arc**0.6
        shade = 1 - 0.25 * np.clip(-self._y / 0.06, 0, 1)
        self._lips = each(head.appearance.lips) * shade
        self._line = np.exp(-((self._y / 0.014) ** 2)) * np.clip(self._arc * 4, 0, 1)
        self._closed: Planes | None = None

    def draw(self, opening: float) -> Planes:
        if opening:
            return self._draw(opening)
        if self._closed is None:
            self._closed = self._draw(0.0)
        return self._closed

    def _draw(self, opening: float) -> Planes:
        x, y, arc, sharp = self._x, self._y, self._arc, _SHARP_MOUTH
        gap = np.float32(0.09 * opening) * arc
        result = self._skin.copy()
        if not self._opening_only:
            lips = soft((y + self._upper + gap * 0.3) * sharp) * soft((self._lower + gap - y) * sharp) * (arc > 0)
            result += (self._lips - result) * (0.85 * lips)
        result *= 1 - 0.7 * (self._line * (1 - min(1.0, opening * 3)))
        hole = soft((y + gap * 0.2) * sharp) * soft((gap - y) * sharp) * (arc > 0) * min(1.0, opening * 5)
        teeth = soft((gap * 0.35 - y) * sharp) * (np.abs(x) < 0.17)
        inner = each(np.array([0.05, 0.012, 0.012], np.float32)) + 0.4 * teeth
        return result + (inner - result) * hole
