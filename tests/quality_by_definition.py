"""The measures of image quality once more, in float64, straight from their definitions and one frame at a time.

Nothing is shared with `fas_jax.features.quality`: Î is computed and compared, filters are whole two-dimensional
kernels, spectra are whole, and pixels are visited one after the other where that says best what is meant.
"""

import colorsys
import itertools
from collections import Counter

import numpy as np
from scipy import ndimage
from scipy.signal import convolve2d

from tests import quality_statistics_by_definition as statistics


def kernel(size: int, sigma: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    found = np.exp(-(x * x + y * y) / (2 * sigma**2))
    return found / found.sum()


def smooth(image: np.ndarray) -> np.ndarray:
    return convolve2d(image, kernel(3, 0.5), mode="same", boundary="symm")


def luma(frame: np.ndarray, flavour: str) -> np.ndarray:
    values = frame.astype(np.float64)
    if flavour == "bob":
        return 16 / 255 + values / 255 @ np.array([65.481, 128.553, 24.966]) / 255
    return np.floor((values.astype(int) @ np.array([299, 587, 114])) / 1000 + 0.5)


def galbally(frame: np.ndarray, flavour: str) -> dict[str, float]:
    bob = flavour == "bob"
    image = luma(frame, flavour)
    other = smooth(image)
    lost, count = image - other, image.size
    error = (lost**2).sum()
    peak = 255.0 if bob else image.max()
    largest = np.sort((lost if bob else abs(lost)).ravel())[::-1][:10].mean()
    found = {
        "mse": error / count,
        "psnr": 10 * np.log10(peak**2 / (error / count)),
        "snr": 10 * np.log10((image**2).sum() / error),
        "sc": (image**2).sum() / (other**2).sum(),
        "md": abs(lost).max(),
        "ad": lost.sum() / count,
        "nae": abs(lost).sum() / abs(image).sum(),
        "ramd": np.sqrt(largest) if bob else largest,
        "nxc": (image * other).sum() / (image**2).sum(),
    }
    inner = np.s_[:, :] if bob else np.s_[1:-1, 1:-1]
    first, second = (ndimage.laplace(each, mode="reflect")[inner] for each in (image, other))
    found["lmse"] = ((first - second) ** 2).sum() / (first**2).sum()

    if bob:
        angle = np.array([_angle(*pair) for pair in zip(image, other, strict=True)])
        size = np.linalg.norm(lost, axis=1) / 255
    else:
        colours = frame.astype(np.float64)
        smoothed = np.stack([smooth(colours[..., i]) for i in range(3)], -1)
        pairs = zip(colours.reshape(-1, 3), smoothed.reshape(-1, 3), strict=True)
        angle = np.array([_angle(*pair) for pair in pairs])
        size = np.linalg.norm((colours - smoothed).reshape(-1, 3), axis=1) / np.sqrt(3 * 255**2)
    found["mas"] = 1 - angle.sum() / count
    found["mams"] = (1 - (1 - angle) * (1 - size)).sum() / count

    transform, smoothed_transform = np.fft.fft2(image), np.fft.fft2(other)
    if bob:
        transform, smoothed_transform = np.fft.rfft2(image), np.fft.rfft2(other)
    found["sme"] = ((abs(transform) - abs(smoothed_transform)) ** 2).sum() / count
    spectrum = abs(np.fft.fft2(image))
    height, width = image.shape
    if bob:
        middle, reach = round(width / 2), round(round(0.15 * width) / 2)
        low = spectrum[:, middle - reach : middle + reach].sum()
        found["hlfi"] = abs(low - (spectrum.sum() - low)) / spectrum.sum()
    else:
        turn = np.angle(transform) - np.angle(smoothed_transform)
        turn = (turn + np.pi) % (2 * np.pi) - np.pi
        found["spe"] = (turn**2).sum() / count
        rows, columns = abs(np.fft.fftfreq(height)), abs(np.fft.fftfreq(width))
        low = spectrum[np.ix_(rows <= 0.15, columns <= 0.15)].sum()
        high = spectrum[np.ix_(rows > 0.15, columns > 0.15)].sum()
        found["hlfi"] = (low - high) / spectrum.sum()

    spacing = 5 if bob else 1
    (down, across), (other_down, other_across) = np.gradient(image, spacing), np.gradient(other, spacing)
    change = abs(np.hypot(down, across) - np.hypot(other_down, other_across))
    turn = np.arctan2(across, down) - np.arctan2(other_across, other_down)
    if bob:
        found |= {"gme": change.mean(), "gpe": abs(turn).mean()}
    else:
        turn = np.where((down == 0) & (across == 0), 0, (turn + np.pi) % (2 * np.pi) - np.pi)
        found |= {"gme": (change**2).mean(), "gpe": (turn**2).mean()}
        edges, other_edges = _edges(image), _edges(other)
        found["ted"] = (edges != other_edges).sum() / count
        corners, other_corners = _corners(image), _corners(other)
        found["tcd"] = abs(corners - other_corners) / max(corners, other_corners)
        found["jqi"] = _jpeg(image)
        found |= {"rred": statistics.rred(image, other), "niqe": statistics.niqe(image)}
    found |= {"ssim": _ssim(image, other, bob), "vif": _vif(image, other)}
    return found


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    """As a share of the right angle; arc cosines lose the digits of small ones even in float64."""
    norms = np.linalg.norm(first), np.linalg.norm(second)
    if not all(norms):
        return 0.0
    first, second = first / norms[0], second / norms[1]
    return 2 / np.pi * 2 * np.arctan2(np.linalg.norm(first - second), np.linalg.norm(first + second))


def _edges(image: np.ndarray) -> np.ndarray:
    strength = (ndimage.sobel(image, 0) ** 2 + ndimage.sobel(image, 1) ** 2)[1:-1, 1:-1]
    return strength > 4 * strength.mean()


def _corners(image: np.ndarray) -> int:
    down, across = (np.gradient(image, 0.5, axis=axis)[1:-1, 1:-1] for axis in (0, 1))
    a, b, c = (convolve2d(each, kernel(5, 1.5), mode="valid") for each in (down**2, across**2, down * across))
    response = a * b - c**2 - 0.04 * (a + b) ** 2
    found = 0
    for y, x in itertools.product(*map(range, response.shape)):
        around = response[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        best = response[y, x] == around.max() and (around == around.max()).sum() == 1
        found += best and response[y, x] > 0.01 * response.max()
    return found


def _ssim(image: np.ndarray, other: np.ndarray, bob: bool) -> float:
    def window(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, kernel(11, 1.5), mode="valid")

    mean1, mean2 = window(image), window(other)
    variance1, variance2 = window(image**2) - mean1**2, window(other**2) - (mean1 if bob else mean2) ** 2
    covariance = window(image * other) - mean1 * mean2
    c1, c2 = 2.55**2, 7.65**2
    above = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return (above / ((mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2))).mean()


def _vif(image: np.ndarray, other: np.ndarray) -> float:
    above = below = 0.0
    for scale in range(1, 5):
        size = 2 ** (5 - scale) + 1
        window = kernel(size, size / 5)
        if scale > 1:
            image, other = (convolve2d(each, window, mode="valid")[::2, ::2] for each in (image, other))
        mean1, mean2 = (convolve2d(each, window, mode="valid") for each in (image, other))
        variance1 = np.maximum(convolve2d(image**2, window, mode="valid") - mean1**2, 0)
        variance2 = np.maximum(convolve2d(other**2, window, mode="valid") - mean2**2, 0)
        covariance = convolve2d(image * other, window, mode="valid") - mean1 * mean2
        gain = covariance / (variance1 + 1e-10)
        noise = variance2 - gain * covariance
        gain[variance1 < 1e-10] = 0
        noise[variance1 < 1e-10] = variance2[variance1 < 1e-10]
        variance1[variance1 < 1e-10] = 0
        gain[variance2 < 1e-10] = 0
        noise[variance2 < 1e-10] = 0
        noise[gain < 0] = variance2[gain < 0]
        gain[gain < 0] = 0
        noise[noise <= 1e-10] = 1e-10
        above += np.log10(1 + gain**2 * variance1 / (noise + 2)).sum()
        below += np.log10(1 + variance1 / 2).sum()
    return above / below


def _jpeg(image: np.ndarray) -> float:
    features = []
    for values in (image, image.T):
        steps = values[:, 1:] - values[:, :-1]
        border = [8 * i - 1 for i in range(1, values.shape[1] // 8)]
        blocks = abs(steps[:, border]).mean()
        activity = (8 * abs(steps).mean() - blocks) / 7
        crossings = (np.sign(steps[:, :-1]) * np.sign(steps[:, 1:]) < 0).mean()
        features.append((blocks, activity, crossings))
    b, a, z = np.mean(features, 0)
    return -245.8909 + 261.9373 * b**-0.02398886 * a**0.01601664 * z**0.00642859


def wen(frame: np.ndarray, flavour: str) -> dict[str, float]:
    bob = flavour == "bob"
    found: dict[str, float] = {} if bob else _specularity(frame.astype(np.float64))
    pixels = frame.reshape(-1, 3)
    hsv = np.array([colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in pixels])
    hsv[:, 0] += 0.5
    hsv[:, 0] -= hsv[:, 0] > 1 + 1e-12
    for name, values in zip("hsv", hsv.T, strict=True):
        centred = values - values.mean()
        # Edges of bins are fortieths, of which quotients of rounded numbers may fall short.
        steps = np.round(values * 40, 9)
        low = (steps > 3) & (steps <= 7) if bob else steps < 5
        high = steps > 37 if bob else steps >= 37
        found |= {
            f"{name}-mean": values.mean(),
            f"{name}-std": values.std(),
            f"{name}-skewness": (centred**3).mean() / values.std() ** 3 if np.ptp(values) else np.nan,
            f"{name}-low": low.mean(),
            f"{name}-high": high.mean(),
        }
    shares = [count / len(pixels) for _, count in Counter(map(tuple, (pixels // 8).tolist())).most_common()]
    found |= {f"colour-{i}": share for i, share in enumerate([*shares[:100], *[0.0] * (100 - len(shares))])}
    found["colours"] = int(np.argmax(np.cumsum(shares) > 0.99)) / 2000
    grey = luma(frame, "formula")
    found["blur"] = np.nanmax([_blur(grey, bob), _blur(grey.T, bob, turned=True)])
    found["edge-width"] = _edge_width(grey, bob) / 30
    return found


def _blur(grey: np.ndarray, bob: bool, turned: bool = False) -> float:
    """Down the columns of `grey`."""
    steps = np.diff(grey, axis=0)
    if bob:
        steps = np.maximum(steps, 0)
        blurred = convolve2d(grey, np.ones((1, 9)) / 9, mode="same")
    else:
        steps = abs(steps)
        blurred = ndimage.uniform_filter1d(grey, 9, axis=0, mode="nearest")
    lost = np.maximum(steps - abs(np.diff(blurred, axis=0)), 0)
    return (steps.sum() - lost.sum()) / steps.sum() if steps.sum() else np.nan


def _edge_width(grey: np.ndarray, bob: bool) -> float:
    if bob:
        strength = abs(ndimage.sobel(grey, 1, mode="reflect"))
        strong = strength > 4 * strength.mean()
    else:
        strength = np.zeros_like(grey)
        strength[1:-1, 1:-1] = (ndimage.sobel(grey, 1) ** 2)[1:-1, 1:-1]
        strong = strength > 4 * strength[1:-1, 1:-1].mean()
    height, width = grey.shape

    def above(y: int, x: int, other_y: int, other_x: int) -> bool:
        inside = 0 <= other_y < height and 0 <= other_x < width
        return not inside or strength[y, x] > strength[other_y, other_x]

    widths = []
    for y, x in np.argwhere(strong).tolist():
        edge = above(y, x, y, x - 1) and above(y, x, y, x + 1)
        if bob:
            edge |= above(y, x, y - 1, x) and (x == 0 or above(y, x, y + 1, x))
        if edge:
            widths.append(_walk(grey[y], x, 1) - _walk(grey[y], x, -1))
    return float(np.mean(widths)) if widths else (0.0 if bob else np.nan)


def _walk(row: np.ndarray, x: int, step: int) -> int:
    """Where the row's values stop going the way they go from x in a direction."""
    last = len(row) - 1 if step > 0 else 0
    if x == last:
        return last
    falls = row[x] > row[x + step]
    x += step
    while x != last and (row[x] >= row[x + step] if falls else row[x] <= row[x + step]):
        x += step
    return x


def _specularity(colours: np.ndarray) -> dict[str, float]:
    high, whole = colours.max(-1), colours.sum(-1)
    chroma = np.where(high < 10, 0, high / np.maximum(whole, 1))
    surface = ndimage.maximum_filter(chroma, 15, mode="constant")
    highlight = np.zeros_like(high)
    for place in np.ndindex(*high.shape):
        if high[place] < 10 or 3 * high[place] == whole[place]:
            continue
        diffuse = high[place] * (3 * chroma[place] - 1) / (chroma[place] * (3 * surface[place] - 1))
        own = (whole[place] - diffuse) / 3
        if own < colours[place].min():
            highlight[place] = np.clip(own, 0, 255)
    middle = highlight.mean()
    chosen = highlight[(highlight >= 1.5 * middle) & (highlight < 4 * middle)]
    if not middle:
        return dict.fromkeys(("specular-share", "specular-mean", "specular-std"), np.nan)
    return {
        "specular-share": len(chosen) / high.size,
        "specular-mean": chosen.mean() / 150,
        "specular-std": chosen.std() / 150,
    }
