"""What a network is that trains on frames: stages one after the other, at whose ends it can be cut."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fas_jax.base.errors import UserError
from fas_jax.models.backbones.base import Tensors, he_uniform
from fas_jax.models.backbones.weights import Importer
from fas_jax.models.trainable.layers import Mode, Params, Stats
from fas_jax.models.trainable.published import Path, Weight, Weights, matching


@dataclass(frozen=True)
class Stage:
    """A part of a network. Its arrays lie under its name."""

    name: str
    stride: int
    """Pixels of the frame, in both directions, for one of the map that it gives."""
    channels: int
    """Of that map."""
    weights: Weights
    run: Callable[..., tuple[Array, Stats]]
    """Pure; `run(mode, params, stats, x)`: what comes in [b h w c] to what goes out, and the statistics as they run
    on. Wraps its blocks in `mode.block`."""


def _mean_of_pixels(x: Float[Array, "b h w d"]) -> Float[Array, "b d"]:
    return jnp.mean(x, axis=(1, 2))


def _as_it_is(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h w c"]:
    return x


@dataclass(frozen=True)
class Trainable:
    """A network from frames to feature maps and feature vectors whose every parameter trains."""

    name: str
    version: int
    """Raised when the same weights and frames would give other features or gradients."""
    preprocessing: str
    """What happens to pixels first, in words."""
    pixels: Callable[[Num[Array, "b h w 3"]], Float[Array, "b h w 3"]]
    """What happens to pixels first; frames are RGB from 0 to 255."""
    stages: tuple[Stage, ...]
    unused: tuple[str, ...]
    """How names of published tensors begin that the network has no place for: the classifier's."""
    package: tuple[str, str] | None = None
    """Installed package and file in it that hold published weights, where there is one."""
    rename: Callable[[Tensors], Tensors] = dict
    """Brings the tensors of files with other spellings under the names of `stages`."""
    pool: Callable[[Float[Array, "b *_ d"]], Float[Array, "b d"]] = _mean_of_pixels
    """From what the last stage gives, in float32, to feature vectors."""
    as_map: Callable[[Array, tuple[int, int]], Float[Array, "b h w c"]] = _as_it_is
    """From what the last stage gives, in float32, and the map's size to the map."""

    adapted: "Callable[[int], Trainable] | None" = None
    """The network with bottleneck adapters of this width; None where a network has no places for them."""

    @property
    def dimension(self) -> int:
        """Length d of a feature vector, and channels of a feature map."""
        return self.stages[-1].channels

    @property
    def stride(self) -> int:
        """Pixels of the frame, in both directions, for one of the feature map."""
        return self.stages[-1].stride

    def cut(self, stride: int) -> "Trainable":
        """The network up to the last stage whose map has this stride; it has only the parameters of these stages.

        Its `dimension` is the number of the map's channels. It reads the whole network's published files.

        Raises:
            UserError: No map has this stride.
        """
        if stride not in (strides := [stage.stride for stage in self.stages]):
            known = ", ".join(map(str, sorted(set(strides))))
            raise UserError(f"{self.name} has no feature map of stride {stride}; it has {known}")
        count = len(strides) - strides[::-1].index(stride)
        if count == len(self.stages):
            return self
        behind = tuple(weight.name for stage in self.stages[count:] for weight in stage.weights)
        return replace(self, name=f"{self.name}/{stride}", stages=self.stages[:count], unused=(*self.unused, *behind))

    def with_adapters(self, width: int) -> "Trainable":
        """The network with bottleneck adapters of this width, which begin with adding nothing; itself for 0.

        Raises:
            UserError: It has no places for them.
        """
        if not width:
            return self
        if self.adapted is None:
            raise UserError(f"{self.name} has no places for adapters; set adapters = 0, or choose a transformer")
        return self.adapted(width)

    def apply(
        self, params: Params, stats: Stats, frames: Num[Array, "b h w 3"], mode: Mode
    ) -> tuple[Float[Array, "b d"], Stats]:
        """Feature vectors, float32, and the statistics as they run on. Pure.

        Args:
            params: As `init` or `import_weights` makes them.
            stats: Running statistics, likewise.
            frames: RGB, 0 to 255, uint8 or float; preprocessing is the network's own.
            mode: How the network is run.
        """
        x, stats = self._run(params, stats, frames, mode)
        return self.pool(x.astype(jnp.float32)), stats

    def feature_map(
        self, params: Params, stats: Stats, frames: Num[Array, "b h w 3"], mode: Mode
    ) -> tuple[Float[Array, "b h2 w2 d"], Stats]:
        """The last stage's map, float32, and the statistics as they run on; arguments as of `apply`."""
        x, stats = self._run(params, stats, frames, mode)
        size = frames.shape[1] // self.stride, frames.shape[2] // self.stride
        return self.as_map(x.astype(jnp.float32), size), stats

    def init(self, seed: int) -> tuple[Params, Stats]:
        """Random weights: He-uniform kernels, normalisations that change nothing."""
        draw = he_uniform(seed)
        trees: tuple[Params, Stats] = ({}, {})
        for path, weight in self.arrays():
            value = draw(weight.shape) if weight.fill is None else np.full(weight.shape, weight.fill, np.float32)
            _put(trees[weight.running], path, value)
        return trees

    def shaped(self) -> tuple[Params, Stats]:
        """Arrays of the right shapes that take no memory."""
        trees: tuple[Params, Stats] = ({}, {})
        for path, weight in self.arrays():
            _put(trees[weight.running], path, np.broadcast_to(np.float32(0), weight.shape))
        return trees

    def import_weights(
        self, tensors: Tensors, seed: int = 0, reset: Sequence[str] = (), may_be_missing: Sequence[str] = ()
    ) -> tuple[Params, Stats]:
        """Parameters and running statistics from a published file's tensors; the classifier is not used.

        Args:
            tensors: By name.
            seed: Of what begins as `init` makes it.
            reset: Patterns of names of tensors that begin as `init` makes them, whatever the file says.
            may_be_missing: Patterns of names of tensors that do so if the file lacks them.

        Raises:
            UserError: A tensor is missing, left over, of another shape or not finite; the message names it. Or a
                pattern matches none.
        """
        tensors, fresh = self.rename(tensors), self.named(reset, "reset")
        excused = fresh | self.named(may_be_missing, "may_be_missing")
        tensors = {name: tensor for name, tensor in tensors.items() if name not in fresh}
        absent = [weight for _, weight in self.arrays() if weight.name not in tensors]
        if wrong := [weight.name for weight in absent if weight.published and weight.name not in excused]:
            raise UserError(f"weights do not fit {self.name}: {_missing(wrong)}")
        begun = self.init(seed) if absent else ({}, {})
        source = Importer(tensors, self.name)
        trees: tuple[Params, Stats] = ({}, {})
        for path, weight in self.arrays():
            if weight.name not in tensors:
                _put(trees[weight.running], path, _get(begun[weight.running], path))
                continue
            value = source.take(weight.name, weight.tensor_shape)
            if path[-1] == "variance" and (value < 0).any():
                raise UserError(f"weights are damaged: tensor '{weight.name}' is a variance below zero")
            _put(trees[weight.running], path, weight.from_tensor(value))
        source.finish((*self.unused, ".num_batches_tracked"))
        return trees

    def export_weights(self, params: Params, stats: Stats) -> Tensors:
        """The tensors under the published names, in PyTorch's layout, which `import_weights` reads back.

        The counts `num_batches_tracked`, which PyTorch's `load_state_dict` asks for, are 0; the published classifier is
        not among them.
        """
        found: Tensors = {}
        for path, weight in self.arrays():
            found[weight.name] = weight.to_tensor(_get(stats if weight.running else params, path))
            if path[-1] == "variance":
                found[weight.name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
        return found

    def named(self, patterns: Sequence[str], setting: str) -> frozenset[str]:
        """The names of published tensors that patterns match (`layer4.*`); see `published.matching` for errors."""
        return matching([weight.name for _, weight in self.arrays()], patterns, setting, self.name)

    def held(self, patterns: Sequence[str]) -> tuple[frozenset[Path], frozenset[Path]]:
        """What patterns of names of tensors freeze.

        Returns:
            Paths of parameters, and paths of the normalisations whose statistics stay as they are.

        Raises:
            UserError: A pattern matches no tensor, or only one of a normalisation's mean and variance.
        """
        names = self.named(patterns, "freeze")
        found = [(path, weight) for path, weight in self.arrays() if weight.name in names]
        running = [path[:-1] for path, weight in found if weight.running]
        for path, weight in found:
            if weight.running and running.count(path[:-1]) != 2:
                raise UserError(f"freeze: {weight.name!r} alone cannot stay; name running mean and variance")
        return frozenset(path for path, weight in found if not weight.running), frozenset(running)

    def arrays(self) -> Iterator[tuple[Path, Weight]]:
        """Every array of the network: where it lies among all parameters or statistics, and what it is."""
        for stage in self.stages:
            for weight in stage.weights:
                yield (stage.name, *weight.path), weight

    def _run(self, params: Params, stats: Stats, frames: Num[Array, "b h w 3"], mode: Mode) -> tuple[Array, Stats]:
        new = Renewed()
        x: Array = self.pixels(frames).astype(mode.dtype)
        for stage in self.stages:
            x = new.keep(stage.name, stage.run(mode, params[stage.name], stats.get(stage.name, {}), x))
        return x, dict(new)


class Renewed(dict[str, Any]):
    """Statistics as they run on, collected while a network is applied."""

    def keep(self, name: str, result: tuple[Any, Stats]) -> Any:
        """Notes a part's statistics, if it has any, and returns what else it gave."""
        found, stats = result
        if stats:
            self[name] = stats
        return found


def _missing(names: Sequence[str]) -> str:
    some = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    tensors = f"tensor {some} is" if len(names) == 1 else f"tensors {some} are"
    return f"{tensors} missing; name them in may_be_missing if they are to begin at random"


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _get(tree: dict[str, Any], path: Path) -> Any:
    for name in path:
        tree = tree[name]
    return tree
