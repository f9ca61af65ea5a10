"""Random generators that depend on names alone, so that neither order nor workers change a frame."""

import hashlib

import cv2
import numpy as np
from jaxtyping import Float32


def generator(*key: object) -> np.random.Generator:
    """A generator for one thing, named by `key`; the same key gives the same draws on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(digest[:16], "big"))))


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]
) -> Float32[np.ndarray, "h w"]:
    """Standard normal values on a coarse grid of `cells` (rows, columns), interpolated to `shape`.

    The number of draws depends on `cells` only: another frame size shows the same pattern.
    """
    grid = rng.standard_normal(cells, dtype=np.float32)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: int, octaves: int
) -> Float32[np.ndarray, "h w"]:
    """Octaves of smooth noise, each of double frequency and half strength."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size = cells * 2**octave
        total += smooth_noise(rng, shape, (size, size)) * np.float32(0.5**octave)
    return total
