"""What training asks of a network that classifies feature sequences, and the batch of frames that it reads."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# A pure nested dictionary of float32 arrays: what is trained, stored and passed to jitted functions.
Params: TypeAlias = dict[str, Any]


class Frames(NamedTuple):
    """The frames of a batch of clips, one a row."""

    values: Float[Array, "p d"]
    places: Int[Array, " p"] | None
    """Where each lies among the frames [t b] counted through; none of these for a row that only fills up. None if
    there is a row for every one of them, in order."""
    mask: Bool[Array, "b t"]
    """True at real frames, which are the first of a clip."""

    def unpacked(self) -> Float[Array, "b t d"]:
        """The clips' frames in a dense array; rows without a frame are zero, or padding that the mask leaves out."""
        return jnp.moveaxis(spread(self.values, self.places, self.mask), 0, 1)


def padded(inputs: Float[Array | np.ndarray, "b t d"], mask: Bool[Array | np.ndarray, "b t"]) -> Frames:
    """Every frame, real or not."""
    return Frames(jnp.moveaxis(inputs, 1, 0).reshape(-1, inputs.shape[-1]), None, jnp.asarray(mask))


def spread(rows: Float[Array, "p g"], places: Int[Array, " p"] | None, mask: Bool[Array, "b t"]) -> Array:
    """The rows at their places among all frames [t b g], zeros elsewhere."""
    batch, time = mask.shape
    if places is None:
        return rows.reshape(time, batch, -1)
    found = jnp.full(time * batch, len(rows)).at[places].set(jnp.arange(len(rows)), mode="drop")
    return rows.at[found].get(mode="fill", fill_value=0).reshape(time, batch, -1)


def bona_fide_probability(logits: Float[Array, "... t 2"]) -> Float[Array, "... t"]:
    """P(bona fide) at every frame."""
    return jax.nn.softmax(logits, axis=-1)[..., 1]


def tempered(logits: Float[Array, "... 2"], temperature: float) -> Float[Array, "... 2"]:
    """Logits divided by a temperature; the same ones, with nothing added to a program, where it is 1."""
    return logits if temperature == 1 else logits / temperature


class Architecture(ABC):
    """A classifier's shape, and its pure functions of parameters.

    Subclasses are frozen dataclasses, because an architecture is a static argument of jitted functions.
    """

    features: int
    """Width d of a frame's features."""

    @abstractmethod
    def init(self, key: Array) -> Params:
        """Fresh parameters from a PRNG key."""

    @abstractmethod
    def apply(self, params: Params, frames: Frames) -> Float[Array, "b t 2"]:
        """Logits of attack (0) and bona fide (1) at every frame; those of padded frames mean nothing."""

    @property
    def causal(self) -> bool:
        """Whether it can read a clip frame by frame, by `start` and `step`: no output depends on later frames."""
        return False

    def start(self) -> Any:
        """What it remembers before the first frame of a clip: a tree of arrays."""
        raise NotImplementedError

    def step(self, params: Params, state: Any, frame: Float[Array, "1 d"]) -> tuple[Any, Float[Array, "1 2"]]:
        """From what it remembers and a clip's next frame to what it remembers then, and the frame's logits."""
        raise NotImplementedError

    @property
    @abstractmethod
    def frame_floats(self) -> int:
        """Float32 numbers that a training step holds for a frame besides its features, for estimates of memory."""

    @property
    def draws_in_turn(self) -> bool:
        """Whether `init` must run for one model after the other, and not on several devices at once."""
        return False

    def init_each(self, keys: Array) -> Params:
        """Fresh parameters of several models, each leaf with a leading axis, from PRNG keys [r]."""
        # One after the other, waited for: QR decompositions (orthogonal weights), in batches or two at once, wait for
        # each other for ever on a CPU with two threads (jaxlib 0.10.2).
        drawn = [jax.block_until_ready(_init(self, key)) for key in keys]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)

    def shapes(self) -> Params:
        """Shapes and dtypes of the parameters."""
        shapes: Params = jax.eval_shape(self.init, jax.random.key(0))
        return shapes


@partial(jax.jit, static_argnums=(0,))
def _init(architecture: Architecture, key: Array) -> Params:
    return architecture.init(key)
