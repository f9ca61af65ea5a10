"""A detector of a bundle, with those whose scores it reads, as pure functions of weights and frames.

`scorer` reads whole clips. `stepper` reads a clip frame by frame, while it comes: it remembers what the detectors carry
from frame to frame, or, where one of them has to see a clip as a whole, the clip's frames until now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.logits import CLOSEST
from fas_jax.base.rendition import Rendition
from fas_jax.deployment.bundle import Bundle
from fas_jax.methods.inputs import Input
from fas_jax.methods.steps import Causal, Steps

Data = Mapping[Input, Array]


@dataclass(frozen=True)
class Stepper:
    """A detector that reads a clip frame by frame."""

    rendition: str
    """Of the frames."""
    start: Any
    """What it remembers before the first frame: a tree of arrays, all zero."""
    step: Callable[[Any, Any, UInt8[Array, "s s 3"]], tuple[Any, Float32[Array, ""]]]
    """Pure: from weights (`serving_weights`), what it remembers, and the next frame, RGB, to what it remembers then,
    and the score of the clip up to this frame. What it remembers keeps its shapes."""
    window: int
    """Number of frames that it remembers, where a detector has to see them all again; else 0."""


def scorer(bundle: Bundle, name: str) -> Callable[[Any, UInt8[Array, "b t h w 3"], Bool[Array, "b t"]], Array]:
    """A pure function from weights (`serving_weights`), frames and mask to a detector's score of each clip.

    Scores are float32 [b]; a clip without a frame scores NaN.

    Raises:
        UserError: The bundle has no such detector, or it, or one whose scores it reads, is no function of one
            rendition's frames.
    """
    bundle.decision(name)
    rendition, judge = exported_rendition(bundle, name), _judge(bundle, name)

    def score(weights: Any, frames: Array, mask: Array) -> Float32[Array, " b"]:
        clips, length = frames.shape[:2]
        stored = _stored(bundle, weights, frames.reshape(clips * length, *frames.shape[2:]))
        # The features of a detector that reads frames alone are not computed: nothing takes them.
        features = stored.reshape(clips, length, -1)
        return judge(weights, {Input("features", rendition): features, Input("frames", rendition): frames}, mask)

    return score


def stepper(bundle: Bundle, name: str) -> Stepper:
    """A detector that reads a clip frame by frame.

    Raises:
        UserError: As `scorer`; or a rendition needs frames that come later; or the detector has to see whole clips, and
            their length has no limit.
    """
    bundle.decision(name)
    for each, rendition in bundle.renditions_for(name).items():
        if why := rendition.needs_future:
            raise UserError(
                f"detector {name} cannot judge a video that still runs: in [renditions.{each}], {why}, and train again"
            )
        if rendition.tiles:
            raise UserError(
                f"detector {name} cannot judge a video that still runs: in [renditions.{each}], tiles = "
                f"{rendition.tiles} cuts a frame into several; set tiles = 0, and train again"
            )
    own, judge = exported_rendition(bundle, name), _judge(bundle, name)
    parts = {each: _steps(bundle, each) for each in bundle.methods_for(name)}
    known = {each: steps for each, steps in parts.items() if steps is not None}
    if len(known) == len(parts):
        return _carrying(bundle, own, known)
    if not bundle.renditions[own].max_frames:
        whole = " and ".join(each for each in parts if each not in known)
        raise UserError(
            f"detector {name} cannot judge a video that still runs: {whole} sees all frames at once, and "
            f"[renditions.{own}] keeps any number of them; set max_frames, and train again"
        )
    return _windowed(bundle, own, judge, name)


def exported_rendition(bundle: Bundle, name: str) -> str:
    """The one rendition that a detector reads.

    Raises:
        UserError: It reads several, or measures of native pixels, which are a program for each size of frames.
    """
    return one_rendition(name, bundle.renditions_for(name))


def one_rendition(name: str, read: Mapping[str, Rendition]) -> str:
    """The one rendition that a detector reads as a function of its frames.

    Args:
        name: The detector.
        read: By name, all renditions that it reads.

    Raises:
        UserError: As `exported_rendition`.
    """
    if native := [each for each, rendition in read.items() if not rendition.size]:
        raise UserError(
            f"detector {name} reads measures of native pixels ({', '.join(native)}), which have no gradient "
            "and cannot be exported"
        )
    if len(read) != 1:
        raise UserError(f"detector {name} reads {len(read)} renditions ({', '.join(read)}); this needs exactly one")
    return next(iter(read))


def serving_weights(bundle: Bundle, name: str) -> dict[str, Any]:
    """What these functions of a detector take as their first argument; float32, as JAX computes."""
    detectors = {each: bundle.detectors[each].params for each in bundle.methods_for(name)}

    def plain(leaf: Any) -> np.ndarray:
        values = np.asarray(leaf)
        return values.astype(np.float32) if values.dtype == np.float64 else values

    return jax.tree.map(plain, {"backbone": bundle.backbone_params, "detectors": detectors})


def _judge(bundle: Bundle, name: str) -> Callable[[Any, Data, Bool[Array, "b t"]], Float32[Array, " b"]]:
    """From weights, features and frames of clips by input, and their mask, to scores."""
    methods = bundle.methods_for(name)
    functions = {}
    for each in methods:
        function = bundle.detectors[each].apply()
        if function is None:
            raise UserError(
                f"detector {each} ({methods[each].kind}) reads what decoding finds of a file and not its pixels alone; "
                "it cannot be exported"
            )
        functions[each] = function

    def score(weights: Any, seen: Data, mask: Array) -> Float32[Array, " b"]:
        data: dict[Input, Any] = {**_lacking(bundle, mask.shape[0]), **seen}
        masks = dict.fromkeys(data, mask)
        found = jnp.full((mask.shape[0],), jnp.nan, jnp.float32)
        for each in methods:
            found, by_frame, *known = functions[each](weights["detectors"][each], data, masks)
            data[Input("scores", each)], masks[Input("scores", each)] = by_frame, mask
            logits = logits_by(found, by_frame, *known)
            data[Input("clip-scores", each)] = jnp.where(mask.any(1), logits, jnp.nan)
        return jnp.where(mask.any(1), found, jnp.nan)

    return score


def _carrying(bundle: Bundle, rendition: str, parts: Mapping[str, Steps]) -> Stepper:
    def step(weights: Any, carry: Any, frame: Array) -> tuple[Any, Float32[Array, ""]]:
        data: dict[Input, Any] = {**_lacking(bundle, 1), **_seen(bundle, rendition, weights, frame)}
        found, carried = jnp.full((1,), jnp.nan, jnp.float32), {}
        for each, steps in parts.items():
            carried[each], found, own, logit = steps.step(weights["detectors"][each], carry[each], data)
            data[Input("scores", each)] = own
            data[Input("clip-scores", each)] = logits_by(found, own, logit)
        return carried, found[0].astype(jnp.float32)

    return Stepper(rendition, {each: steps.start for each, steps in parts.items()}, step, 0)


def _windowed(bundle: Bundle, rendition: str, judge: Callable[..., Array], name: str) -> Stepper:
    settings = bundle.renditions[rendition]
    read = {item for method in bundle.methods_for(name).values() for item in method.inputs() if not item.of_method}
    shapes = {"features": ((bundle.backbone.dimension,), np.float32), "frames": ((settings.size,) * 2 + (3,), np.uint8)}
    length = settings.max_frames

    def zeros(item: Input) -> np.ndarray:
        shape, dtype = shapes[item.kind]
        return np.zeros((length, *shape), dtype)

    def step(weights: Any, carry: Any, frame: Array) -> tuple[Any, Float32[Array, ""]]:
        count, data = carry["count"], _seen(bundle, rendition, weights, frame)
        kept = {
            item.kind: jax.lax.dynamic_update_index_in_dim(carry[item.kind], data[item][0], count, 0) for item in read
        }
        mask = jnp.arange(length) <= count
        found = judge(weights, {item: kept[item.kind][None] for item in read}, mask[None])
        return {**kept, "count": count + 1}, found[0].astype(jnp.float32)

    return Stepper(rendition, {"count": np.int32(0), **{item.kind: zeros(item) for item in read}}, step, length)


def _steps(bundle: Bundle, name: str) -> Steps | None:
    detector = bundle.detectors[name]
    return detector.steps() if isinstance(detector, Causal) else None


def _stored(bundle: Bundle, weights: Any, frames: UInt8[Array, "n h w 3"]) -> Float32[Array, "n d"]:
    """Features as a store keeps them."""
    features = bundle.backbone.apply(weights["backbone"], frames, bundle.features.precision)
    return features.astype(bundle.features.store_dtype).astype(jnp.float32)


def _seen(bundle: Bundle, rendition: str, weights: Any, frame: UInt8[Array, "s s 3"]) -> dict[Input, Any]:
    """What detectors may read of a frame; what none of them reads is not computed."""
    stored = _stored(bundle, weights, frame[None])
    return {Input("features", rendition): stored, Input("frames", rendition): frame[None]}


def _lacking(bundle: Bundle, clips: Any) -> dict[Input, Array]:
    """The scores of methods whose training failed."""
    return {Input("clip-scores", each): jnp.full((clips,), jnp.nan, jnp.float32) for each in bundle.failed}


def logits_by(
    scores: Float32[Array, " b"], frames: Any = None, logits: Float32[Array, " b"] | None = None
) -> Float32[Array, " b"]:
    """The logits of clips by what `Detector.apply` gives: scores, scores of frames, and logits where it knows them.

    Of a score alone: a probability that is rounded to 0 or 1 counts as the nearest that is not, as elsewhere.
    """
    if logits is not None:
        return logits
    inside = jnp.clip(scores, CLOSEST, 1 - CLOSEST)
    return jnp.log(inside) - jnp.log1p(-inside)
