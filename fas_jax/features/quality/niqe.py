"""Measure 25 of Galbally et al.: naturalness (NIQE) of Mittal, Soundararajan and Bovik (2013).

Features of a patch say how its contrast-normalised pixels, and products of neighbours among them, are distributed, on
two scales. The measure is the distance of their mean and covariance over the frame's patches from those of 125 pristine
photographs: the authors' model, which `niqe_model.npz` holds (see `niqe_model.txt`). As in the publication, all patches
of a frame count; only the model is made of the sharpest ones.
"""

import functools
import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Float32, Float64, Int
from scipy.special import gammaln as log_gamma

from fas_jax.base.errors import UserError
from fas_jax.features.quality.grey import Map, gaussian, ratio

PATCH = 96
"""Side of a patch, in pixels; a frame needs two patches, as one has no covariance."""
_MODEL = "niqe_model.npz"
_MODEL_SHA256 = "e4490af668656d2e256b02bb704859f991204535c127a545e777f344b0570502"
_WINDOW = gaussian(7, 7 / 6)
# Keys' cubic kernel over eight pixels, which halves a frame, in 256ths: whole numbers keep flat areas flat.
_HALVE = (-3, -9, 29, 111, 111, 29, -9, -3)
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_SHAPES = np.linspace(0.2, 10, 9801)


def _moment_ratio(shape: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Of generalised Gaussians, (mean of |x|)² / (mean of x²)."""
    return np.exp(2 * log_gamma(2 / shape) - log_gamma(1 / shape) - log_gamma(3 / shape))


_RATIOS = _moment_ratio(_SHAPES)


class Model(NamedTuple):
    """Pristine features as a mean, and what turns features less it into independent ones of variance 1."""

    mean: Float32[np.ndarray, " d"]
    whitening: Float32[np.ndarray, "d d"]


@functools.cache
def pristine() -> Model:
    """The model.

    Raises:
        UserError: Its file is missing or damaged.
    """
    path = Path(__file__).with_name(_MODEL)
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != _MODEL_SHA256:
        raise UserError(f"{path} is missing or damaged; install the package again")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        average, covariance = file["mean"], file["covariance"]
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    return Model(average.astype(np.float32), whitening.astype(np.float32))


def naturalness(levels: Int[Array, "h w"]) -> Float[Array, ""]:
    """The distance of a frame of grey values from 0 to 255; 0 is as natural as the pristine photographs.

    Pixels beyond whole patches do not count, and neither do flat patches. NaN where fewer than two are left.
    """
    rows, columns = (size // PATCH for size in levels.shape)
    if rows * columns < 2:
        return jnp.full((), jnp.nan)
    model, highest = pristine(), jax.lax.Precision.HIGHEST
    image = levels[: rows * PATCH, : columns * PATCH].astype(jnp.float32)
    scales = [_features(_normalised(each), (rows, columns)) for each in (image, _halved(_halved(image, 0), 1))]
    features = jnp.concatenate(scales, -1)
    valid = jnp.isfinite(features).all(-1, keepdims=True)
    count = valid.sum().astype(jnp.float32)
    apart = jnp.matmul(jnp.where(valid, features - model.mean[None], 0), model.whitening.T, precision=highest)
    middle = ratio(apart.sum(0), count)
    spread = jnp.where(valid, apart - middle[None], 0) / jnp.sqrt(jnp.maximum(count - 1, 1))
    # sqrt(m' ((C + P) / 2)^-1 m), where the pristine covariance P is 1: by a triangular root of C + P.
    root = jnp.linalg.qr(jnp.concatenate([jnp.eye(len(model.mean)), spread]), mode="r")
    distance = jnp.linalg.norm(solve_triangular(root, middle, trans=1)) * np.sqrt(2)
    return jnp.where(count < 2, jnp.nan, distance)


def _halved(image: Float[Array, "h w"], axis: int) -> Float[Array, "y x"]:
    """Half as long; borders are mirrored with the edge pixel."""
    size, reach = image.shape[axis] // 2, len(_HALVE) // 2 - 1
    padded = jnp.pad(image, [(reach, reach) if each == axis else (0, 0) for each in (0, 1)], mode="symmetric")
    parts = [jax.lax.slice_in_dim(padded, i, i + 2 * size - 1, 2, axis) for i in range(len(_HALVE))]
    return sum((tap * part for tap, part in zip(_HALVE, parts, strict=True)), jnp.zeros(())) / 256


def _normalised(image: Map) -> Map:
    """Pixels less their neighbourhood's mean, over 1 and its standard deviation; exactly 0 where that is flat."""
    padded = jnp.pad(image, len(_WINDOW) // 2, mode="edge")
    change, within = _moments(padded, 1)
    means = _inside(padded, 1) + change
    changes, between = _moments(means, 0)
    # The variance of the rows' means and the mean of the rows' variances: float32 would lose the difference of squares.
    variance = between + sum((tap * within[i : i + len(image)] for i, tap in enumerate(_WINDOW)), jnp.zeros(()))
    return -(changes + _inside(change, 0)) / (jnp.sqrt(jnp.maximum(variance, 0)) + 1)


def _inside(values: Float[Array, "h w"], axis: int) -> Float[Array, "y x"]:
    reach = len(_WINDOW) // 2
    return jax.lax.slice_in_dim(values, reach, values.shape[axis] - reach, axis=axis)


def _moments(values: Float[Array, "h w"], axis: int) -> tuple[Float[Array, "y x"], Float[Array, "y x"]]:
    """Along an axis, in windows: their mean less the middle pixel, and their variance."""
    middle = _inside(values, axis)
    size = middle.shape[axis]
    apart = [jax.lax.slice_in_dim(values, i, i + size, axis=axis) - middle for i in range(len(_WINDOW))]
    change = sum((tap * each for tap, each in zip(_WINDOW, apart, strict=True)), jnp.zeros(()))
    squares = sum((tap * each * each for tap, each in zip(_WINDOW, apart, strict=True)), jnp.zeros(()))
    # Or XLA would compute the first pass anew for each tap of the second.
    change, squares = jax.lax.optimization_barrier((change, squares))
    return change, squares - change * change


def _features(values: Map, grid: tuple[int, int]) -> Float[Array, "patches 18"]:
    """Of patches, row by row: those of their pixels, then of the products with neighbours in four directions."""
    rows, columns = grid
    patches = values.reshape(rows, values.shape[0] // rows, columns, values.shape[1] // columns)
    shape, _, left, right = _distribution(patches)
    found = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, middle, left, right = _distribution(patches * jnp.roll(patches, shift, (1, 3)))
        found += [shape, middle, left, right]
    return jnp.stack(found, -1).reshape(rows * columns, -1)


def _distribution(patches: Float[Array, "rows y columns x"]) -> tuple[Float[Array, "rows columns"], ...]:
    """Shape, mean, left and right scale of the asymmetric generalised Gaussian with a patch's moments."""
    size, squares = patches.shape[1] * patches.shape[3], patches * patches

    def summed(values: Array) -> Array:
        # Rows first, as in `total`.
        return jax.lax.optimization_barrier(values.sum(3)).sum(1)

    def deviation(side: Array) -> Array:
        return jnp.sqrt(summed(jnp.where(side, squares, 0)) / jnp.maximum(summed(side.astype(jnp.float32)), 1))

    left, right = deviation(patches < 0), deviation(patches > 0)
    moments = ratio(summed(jnp.abs(patches)) ** 2, summed(squares) * size)
    larger = jnp.maximum(left, right)
    a, b = ratio(left, larger), ratio(right, larger)
    moments = moments * (a**3 + b**3) * (a + b) / (a**2 + b**2) ** 2
    shape = jnp.interp(moments, _RATIOS.astype(np.float32), _SHAPES.astype(np.float32))
    one, two, three = (gammaln(i / shape) for i in (1, 2, 3))
    scale = jnp.exp((one - three) / 2)
    return shape, (right - left) * scale * jnp.exp(two - one), left * scale, right * scale
