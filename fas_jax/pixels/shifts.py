"""Frames as another camera, light or codec would have given them: pure functions of a frame, its video and a seed.

Each video draws its own shifts, the same for all of its frames, of which only the sensor's noise differs: every factor
is there with probability one half, and at least one is. The distributions are stated at each factor.
"""

import hashlib
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8

# Raised when the same video and seed give other pixels.
VERSION = 1

Frame = UInt8[np.ndarray, "h w 3"]


def shift_frames(frames: UInt8[np.ndarray, "t h w 3"], identity: str, seed: int) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of one video, shifted.

    Args:
        frames: RGB.
        identity: Of the video, such as its dataset and path.
        seed: Another one draws other shifts for every video.
    """
    drawn = _generator(identity, seed, -1)
    # All are drawn, whichever are used, so that a factor does not depend on the others.
    used = drawn.random(len(_FACTORS)) < 0.5
    used[drawn.integers(len(_FACTORS))] = True
    factors = [make(drawn) for make in _FACTORS.values()]
    found = np.empty_like(frames)
    for number, frame in enumerate(frames):
        for factor in (each for each, wanted in zip(factors, used, strict=True) if wanted):
            frame = factor(frame, _generator(identity, seed, number))
        found[number] = frame
    return found


def _generator(identity: str, seed: int, frame: int) -> np.random.Generator:
    text = f"{VERSION}\0{seed}\0{identity}\0{frame}".encode(errors="surrogatepass")
    return np.random.default_rng(list(hashlib.sha256(text).digest()))


_Factor = Callable[[Frame, np.random.Generator], Frame]


def _light(drawn: np.random.Generator) -> _Factor:
    """Exposure by 1/2 to 2, gamma from 0.7 to 1.4, evenly in logarithms."""
    exposure, gamma = np.exp(drawn.uniform(np.log([0.5, 0.7]), np.log([2.0, 1.4])))
    return lambda frame, _: exposed(frame, exposure, gamma)


def _colour(drawn: np.random.Generator) -> _Factor:
    """Each channel by 0.8 to 1.25, evenly in logarithms; saturation by 0.5 to 1.5."""
    gains, saturation = np.exp(drawn.uniform(np.log(0.8), np.log(1.25), 3)), drawn.uniform(0.5, 1.5)

    def apply(frame: Frame, _: np.random.Generator) -> Frame:
        values = frame.astype(np.float32)
        grey = values @ np.array([0.299, 0.587, 0.114], np.float32)
        return _rounded((grey[..., None] + saturation * (values - grey[..., None])) * gains)

    return apply


def _blur(drawn: np.random.Generator) -> _Factor:
    """A Gaussian of 0.2 to 1 % of the width."""
    sigma = drawn.uniform(0.002, 0.01)
    return lambda frame, _: blurred(frame, sigma)


def _resolution(drawn: np.random.Generator) -> _Factor:
    """Down to 30 to 80 % of the side, and up again."""
    share = drawn.uniform(0.3, 0.8)
    return lambda frame, _: reduced(frame, share)


def _noise(drawn: np.random.Generator) -> _Factor:
    """Shot noise and read noise: a deviation of 2 to 12 levels at white, a fifth of it at black."""
    level = drawn.uniform(2, 12)
    return lambda frame, of_frame: noisy(frame, level, of_frame)


def _compression(drawn: np.random.Generator) -> _Factor:
    """JPEG of quality 20 to 70."""
    quality = int(drawn.integers(20, 71))
    return lambda frame, _: compressed(frame, quality)


def exposed(frame: Frame, exposure: float, gamma: float = 1.0) -> Frame:
    """Values (0 to 1) to the power of gamma, times the exposure."""
    table = 255 * np.clip(exposure * (np.arange(256) / 255) ** gamma, 0, 1)
    return _rounded(table)[frame]


def blurred(frame: Frame, sigma: float) -> Frame:
    """Blurred by a Gaussian of this share of the width, of 0.3 pixels at least."""
    return cv2.GaussianBlur(frame, (0, 0), max(0.3, sigma * frame.shape[1]))


def reduced(frame: Frame, share: float) -> Frame:
    """Shrunk to a share of the side, and enlarged again."""
    height, width = frame.shape[:2]
    smaller = max(1, round(share * width)), max(1, round(share * height))
    small = cv2.resize(frame, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def noisy(frame: Frame, level: float, generator: np.random.Generator) -> Frame:
    """With noise whose deviation is `level` at white and a fifth of it at black."""
    values = frame.astype(np.float32)
    deviation = level * np.sqrt(0.04 + 0.96 * values / 255)
    return _rounded(values + deviation * generator.standard_normal(values.shape, np.float32))


def compressed(frame: Frame, quality: int) -> Frame:
    """As it comes back from JPEG."""
    made, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if made else None
    assert image is not None  # what has just been encoded
    return np.ascontiguousarray(image[..., ::-1])


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


# In the order in which light passes a camera.
_FACTORS: dict[str, Callable[[np.random.Generator], _Factor]] = {
    "light": _light,
    "colour": _colour,
    "blur": _blur,
    "resolution": _resolution,
    "noise": _noise,
    "compression": _compression,
}
FACTORS = tuple(_FACTORS)
