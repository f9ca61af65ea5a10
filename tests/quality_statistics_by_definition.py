"""RRED and NIQE, the measures of image quality by models of natural scenes, once more in float64; see
`quality_by_definition`.

Filters are whole here, blocks and patches are visited one after the other, shapes of distributions are found by
bracketing, and covariances are inverted as they are.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.optimize import brentq
from scipy.special import gamma

import fas_jax.features.quality

# Simoncelli's sp5Filters, as MATLAB lists them: the fourth orientation column by column.
FIRST_LOW = """
.00341614 -.01551246 -.03848215 -.01551246 .00341614
-.01551246 .05586982 .15925570 .05586982 -.01551246
-.03848215 .15925570 .40304148 .15925570 -.03848215
-.01551246 .05586982 .15925570 .05586982 -.01551246
.00341614 -.01551246 -.03848215 -.01551246 .00341614"""
LOW = """
.00085404 -.00244917 -.00387812 -.00944432 -.00962054 -.00944432 -.00387812 -.00244917 .00085404
-.00244917 -.00523281 -.00661117 .00410600 .01002988 .00410600 -.00661117 -.00523281 -.00244917
-.00387812 -.00661117 .01396746 .03277038 .03981393 .03277038 .01396746 -.00661117 -.00387812
-.00944432 .00410600 .03277038 .06426333 .08169618 .06426333 .03277038 .00410600 -.00944432
-.00962054 .01002988 .03981393 .08169618 .10096540 .08169618 .03981393 .01002988 -.00962054
-.00944432 .00410600 .03277038 .06426333 .08169618 .06426333 .03277038 .00410600 -.00944432
-.00387812 -.00661117 .01396746 .03277038 .03981393 .03277038 .01396746 -.00661117 -.00387812
-.00244917 -.00523281 -.00661117 .00410600 .01002988 .00410600 -.00661117 -.00523281 -.00244917
.00085404 -.00244917 -.00387812 -.00944432 -.00962054 -.00944432 -.00387812 -.00244917 .00085404"""
FOURTH = """
-.00277643 .00986904 .01021852 0 -.01021852 -.00986904 .00277643
-.00496194 .00893064 .03075356 0 -.03075356 -.00893064 .00496194
-.01026699 -.01189859 .08226445 0 -.08226445 .01189859 .01026699
-.01455399 -.02755155 .11732297 0 -.11732297 .02755155 .01455399
-.01026699 -.01189859 .08226445 0 -.08226445 .01189859 .01026699
-.00496194 .00893064 .03075356 0 -.03075356 -.00893064 .00496194
-.00277643 .00986904 .01021852 0 -.01021852 -.00986904 .00277643"""


def _filter(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.split("\n")[1:]], np.float64)


def rred(image: np.ndarray, other: np.ndarray) -> float:
    if min(image.shape) < 16:
        return np.nan
    first, second = _information(_subband(image)), _information(_subband(other))
    return float(np.mean([abs(a - b) for a, b in zip(first, second, strict=True)]))


def _subband(image: np.ndarray) -> np.ndarray:
    image = ndimage.correlate(image, _filter(FIRST_LOW), mode="mirror")
    image = ndimage.correlate(image, 2 * _filter(LOW), mode="mirror")[::2, ::2]
    return ndimage.correlate(image, _filter(FOURTH).T, mode="mirror")


def _information(band: np.ndarray) -> list[float]:
    band = band[: len(band) // 3 * 3, : band.shape[1] // 3 * 3]
    covariance = np.cov(np.lib.stride_tricks.sliding_window_view(band, (3, 3)).reshape(-1, 9), rowvar=False, bias=True)
    if np.linalg.norm(covariance, 2) <= 1e-6:
        return [np.nan] * (band.size // 9)
    inverse = np.linalg.pinv(covariance, rcond=1e-6, hermitian=True)
    found = []
    for y in range(0, len(band), 3):
        for x in range(0, band.shape[1], 3):
            block = band[y : y + 3, x : x + 3].ravel()
            factor = block @ inverse @ block / 9
            noisy = 2 * np.pi * np.e * (factor * covariance + 0.1 * np.eye(9))
            found.append(np.log2(1 + factor) * np.linalg.slogdet(noisy)[1] / np.log(2) / 2)
    return found


def niqe(image: np.ndarray) -> float:
    height, width = (size // 96 * 96 for size in image.shape)
    if height * width < 2 * 96**2 or not np.ptp(image):
        return np.nan
    image = image[:height, :width]
    half = _halving(height) @ np.pad(image, 4, mode="symmetric") @ _halving(width).T
    whole, halved = _normalised(image), _normalised(half)
    features = np.array(
        [
            np.concatenate([_features(whole[y : y + 96, x : x + 96]), _features(halved[b : b + 48, a : a + 48])])
            for y, b in zip(range(0, height, 96), range(0, height, 48), strict=False)
            for x, a in zip(range(0, width, 96), range(0, width, 48), strict=False)
        ]
    )
    features = features[~np.isnan(features).any(1)]
    if len(features) < 2:
        return np.nan
    model = np.load(Path(fas_jax.features.quality.__file__).with_name("niqe_model.npz"))
    apart = features.mean(0) - model["mean"]
    inverse = np.linalg.inv((np.cov(features.T) + model["covariance"]) / 2)
    return float(np.sqrt(apart @ inverse @ apart))


def _halving(size: int) -> np.ndarray:
    """The matrix that halves a column of pixels with four more on both ends."""
    away = abs(np.arange(-4, size + 4)[None] - (2 * np.arange(size // 2)[:, None] + 0.5)) / 2
    near, far = 1.5 * away**3 - 2.5 * away**2 + 1, -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    weights = np.where(away < 1, near, np.where(away < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


def _normalised(image: np.ndarray) -> np.ndarray:
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    mean = ndimage.correlate(image, window, mode="nearest")
    variance = ndimage.correlate(image**2, window, mode="nearest") - mean**2
    centred = image - mean
    # Rounding has no sign.
    centred[abs(centred) < 1e-9] = 0
    return centred / (np.sqrt(np.maximum(variance, 0)) + 1)


def _features(patch: np.ndarray) -> list[float]:
    shape, _, left, right = _distribution(patch)
    found = [shape, (left + right) / 2]
    across, down = np.roll(patch, 1, 1), np.roll(patch, 1, 0)
    for other in (across, down, np.roll(down, 1, 1), np.roll(down, -1, 1)):
        found += _distribution(patch * other)
    return found


def _distribution(values: np.ndarray) -> list[float]:
    if not values.any():
        return [np.nan] * 4
    lower, upper = values[values < 0], values[values > 0]
    left, right = (np.sqrt(np.mean(each**2)) if len(each) else 0.0 for each in (lower, upper))
    moments = np.mean(abs(values)) ** 2 / np.mean(values**2)
    moments *= (left**3 + right**3) * (left + right) / (left**2 + right**2) ** 2

    def excess(shape: float) -> float:
        return gamma(2 / shape) ** 2 / (gamma(1 / shape) * gamma(3 / shape)) - moments

    shape = 0.2 if excess(0.2) > 0 else 10.0 if excess(10) < 0 else brentq(excess, 0.2, 10)
    left, right = (each * np.sqrt(gamma(1 / shape) / gamma(3 / shape)) for each in (left, right))
    return [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
