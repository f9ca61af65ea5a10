"""Residual motion: the motion between frames without the motion of a plane.

When a print is moved, or a head only sways, an affine map of the image explains nearly all of the motion. The rest is
motion within the face (eyelids, lips, gaze) and the parallax of a head that turns.

- The affine motion of two frames is found by Gauss-Newton steps from coarse to fine (Lucas and Kanade, 1981; Baker and
  Matthews, *Lucas-Kanade 20 Years On*, 2004), together with a gain and an offset of brightness, which a camera's
  exposure changes (Negahdaripour, *Revised definition of optical flow*, 1998).
- The residual flow is Lucas and Kanade's, of each cell of pixels, between the frames after that alignment.
- The coherence of a cell says how well its motion persists: it is the product of the cell's displacements before and
  after a frame, divided by their energy.

Coherence does not depend on the strength of a motion, nor on that of a texture or of a camera's noise. It does depend
on the order of frames. Noise moves the cells of a still picture back and forth, which gives displacements before and
after a frame a correlation of -1/2. A burst with shuffled frames has the same correlation, whatever moves in it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fas_jax.models.backbones.base import EXACT

SCALES = (1, 2, 3)
"""Frames over which displacements are compared."""
_STEPS = (4, 4, 1)
"""Gauss-Newton steps, each by pixels of the frame, in both directions, for one of the images that it aligns."""
_TEXTURE = np.float32(4)
"""Mean squared gradient, in grey levels of 255 per pixel, below which the flow of a cell is underestimated."""
_FLOOR = np.float32(0.05)
"""Displacements below this, in pixels in each direction, count as noise. Interpolation of a moved still picture leaves
persistent displacements of up to a quarter of it."""


def residual_flow(
    earlier: Num[Array, "b h w 3"], later: Num[Array, "b h w 3"], cell: int
) -> Float[Array, "b rows columns 2"]:
    """The residual motion of pairs of frames, x and y, in pixels, of every cell of `cell` by `cell` pixels.

    Frames are 0 to 255. Pixels at the right and lower edge that fill no cell count for the alignment alone.
    """
    return jax.vmap(lambda first, second: _flow(_grey(first), _grey(second), cell))(earlier, later)


def coherence(flows: Float[Array, "b t rows columns 2"]) -> Float[Array, "b t rows columns 3"]:
    """The coherence of cells over all frames so far, for displacements of one, two and three frames.

    Args:
        flows: The residual motion of every frame since the one before it; of the first, zero.

    Returns:
        A correlation plus 1/2, from -1/2 to 3/2: 0 for noise, and where nothing moves or too little was seen.
    """
    positions = jnp.cumsum(flows, 1)
    found = []
    for scale in SCALES:
        now = positions - _delayed(positions, scale)
        # Before the first frame nothing is known to have moved.
        known = (np.arange(flows.shape[1]) >= 2 * scale)[None, :, None, None, None]
        now, before = jnp.where(known, now, 0), jnp.where(known, _delayed(now, scale), 0)
        energy, least = jnp.sum(jnp.square(now) + jnp.square(before), -1), 4 * _FLOOR**2
        # The floor counts as noise does: its correlation is -1/2.
        going = _summed(2 * jnp.sum(now * before, -1) + energy / 2)
        found.append(going / jnp.maximum(_summed(energy + jnp.where(known[..., 0], least, 0)), least))
    return jnp.stack(found, -1)


def _delayed(values: Float[Array, "b t *n"], count: int) -> Float[Array, "b t *n"]:
    """Those of so many frames earlier; zero where there are none."""
    return jnp.pad(values, ((0, 0), (count, 0), *((0, 0),) * (values.ndim - 2)))[:, : values.shape[1]]


def _summed(values: Float[Array, "b t rows columns"]) -> Float[Array, "b t rows columns"]:
    """Over 3x3 cells and all frames so far."""
    window = jax.lax.reduce_window(values, np.float32(0), jax.lax.add, (1, 1, 3, 3), (1, 1, 1, 1), "SAME")
    return jnp.cumsum(window, 1)


def _grey(frame: Num[Array, "h w 3"]) -> Float[Array, "h w"]:
    """Grey levels around 0, smoothed with binomial weights over 5x5 pixels: noise is no texture."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    image = jnp.sum(frame.astype(jnp.float32) * weights[None, None], -1) - 128
    for axis in (0, 1):
        wide = jnp.pad(image, [(2, 2) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
        parts = [jax.lax.slice_in_dim(wide, i, i + image.shape[axis], axis=axis) for i in range(5)]
        image = (parts[0] + 4 * parts[1] + 6 * parts[2] + 4 * parts[3] + parts[4]) / 16
    return image


def _flow(earlier: Float[Array, "h w"], later: Float[Array, "h w"], cell: int) -> Float[Array, "rows columns 2"]:
    motion = jnp.zeros(6)
    for side in _STEPS:
        if min(earlier.shape) >= 8 * side:
            change, _, _ = _step(_means(earlier, side), _means(later, side), motion / side)
            motion = motion + change * side
    _, gradient, error = _step(earlier, later, motion)
    across, down = gradient[..., 0], gradient[..., 1]
    xx, yy = (_means(each * each, cell) + _TEXTURE for each in (across, down))
    xy, x, y = (_means(each, cell) for each in (across * down, across * error, down * error))
    return jnp.stack([yy * x - xy * y, xx * y - xy * x], -1) / (xx * yy - xy * xy)[..., None]


def _means(image: Float[Array, "h w"], side: int) -> Float[Array, "h2 w2"]:
    """Of squares of so many pixels."""
    rows, columns = (length // side for length in image.shape)
    return image[: rows * side, : columns * side].reshape(rows, side, columns, side).mean((1, 3))


def _step(
    earlier: Float[Array, "h w"], later: Float[Array, "h w"], motion: Float[Array, " 6"]
) -> tuple[Float[Array, " 6"], Float[Array, "h w 2"], Float[Array, "h w"]]:
    """What an affine motion lacks; the gradient; and the error that motion and brightness leave after that.

    The motion is in pixels: x of the middle, how it grows to the right and downwards by half the image, and the same of
    y. Gradient and error are zero where one of the frames ends.
    """
    height, width = earlier.shape
    rows, columns = jnp.meshgrid(
        jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32), indexing="ij"
    )
    x, y = (columns - (width - 1) / 2) / (width / 2), (rows - (height - 1) / 2) / (height / 2)
    across, down = (each[0] + each[1] * x + each[2] * y for each in (motion[:3] / 2, motion[3:] / 2))
    # Each frame is moved half the way, so that interpolation blurs both alike. What it took from one alone would be
    # seen as motion, and as the same in every pair.
    places = [(rows + sign * down, columns + sign * across) for sign in (-1, 1)]
    inside = jnp.ones((height, width), bool)
    for at_y, at_x in places:
        inside = inside & (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
    first, second = (
        jax.scipy.ndimage.map_coordinates(image, list(place), order=1, mode="nearest")
        for image, place in zip((earlier, later), places, strict=True)
    )
    middle = (first + second) / 2
    gradient = jnp.where(inside[..., None], jnp.stack(jnp.gradient(middle)[::-1], -1), 0)
    error = jnp.where(inside, first - second, 0)
    moving = [gradient[..., i] * each for i in (0, 1) for each in (jnp.ones_like(x), x, y)]
    bright = [jnp.where(inside, each, 0) for each in (middle / 64, jnp.ones_like(x))]
    design = jnp.stack([*moving, *bright], -1).reshape(-1, 8)
    normal = jnp.dot(design.T, design, precision=EXACT)
    found = _solved(normal, jnp.dot(design.T, error.reshape(-1), precision=EXACT))
    return found[:6], gradient, error - jnp.dot(design, found, precision=EXACT).reshape(height, width)


def _solved(matrix: Float[Array, "n n"], right: Float[Array, " n"]) -> Float[Array, " n"]:
    """The solution of equations whose matrix is positive semidefinite; zero for what does not matter.

    By elimination, written out: exported programs run on any platform, and hold no call of a library.
    """
    size = len(right)
    diagonal = jnp.diag(matrix) * np.float32(1e-5) + np.float32(1e-3)
    both = jnp.concatenate([matrix + jnp.diag(diagonal), right[:, None]], 1)

    def cleared(i: Array, both: Array) -> Array:
        row = both[i] / both[i, i]
        return (both - both[:, i][:, None] * row[None]).at[i].set(row)

    # A loop: written out, it takes a minute to compile.
    return jax.lax.fori_loop(0, size, cleared, both)[:, -1]
