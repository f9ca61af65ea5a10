"""A detector as one differentiable function: from the frames of clips to their logits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fas_jax.base.errors import UserError
from fas_jax.base.logits import nearest_logit
from fas_jax.base.rendition import Rendition
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.functions import logits_by, one_rendition
from fas_jax.methods.base import Detector, Differentiable
from fas_jax.methods.inputs import Input
from fas_jax.methods.registry import in_order, score_inputs
from fas_jax.models.backbones import Backbone, Params

Logits = Callable[[Any, Float[Array, "b t h w 3"], Bool[Array, "b t"]], Float[Array, " b"]]


@dataclass(frozen=True, eq=False)
class Chain:
    """A detector with all that lies between it and the pixels; all of it computes in float32.

    Its logits are those of the scores, but for what scoring rounds: products in bfloat16, stored features.
    """

    name: str
    """Of the detector."""
    rendition: str
    """Whose frames it reads."""
    settings: Rendition
    """Of that rendition."""
    weights: Any
    """What `logits` takes first: nested dictionaries of float32 arrays."""
    logits: Logits
    """Pure; from weights, frames (RGB, 0 to 255) and their mask to the logits of P(bona fide). A clip has a frame."""
    threshold: float
    """The logit from which a clip is accepted; NaN where the detector has no threshold."""


def chain_of(bundle: Bundle, name: str = "") -> Chain:
    """The chain of a bundle's detector.

    Raises:
        UserError: As `make_chain`, or the bundle has no such detector.
    """
    name = name or bundle.default
    threshold = bundle.decision(name).threshold
    needed = {each: bundle.detectors[each] for each in bundle.methods_for(name)}
    return make_chain(needed, name, threshold, bundle.renditions, bundle.backbone, bundle.backbone_params)


def make_chain(
    detectors: Mapping[str, Detector],
    name: str,
    threshold: float,
    renditions: Mapping[str, Rendition],
    backbone: Backbone,
    params: Params,
) -> Chain:
    """The chain of a detector.

    Args:
        detectors: By name, at least the detector and those whose scores it reads.
        name: The detector.
        threshold: From which score on a clip is accepted.
        renditions: By name, at least those that it reads.
        backbone: Of the features.
        params: Its parameters.

    Raises:
        UserError: The detector is no function of the pixels of one rendition's frames.
    """
    wanted = [name]
    for each in wanted:
        wanted += [item.name for item in score_inputs(detectors[each].method)]
    order = in_order({each: detectors[each].method for each in wanted})
    items = {item for each in order for item in detectors[each].method.inputs() if not item.of_method}
    rendition = _differentiable_rendition(name, detectors, order, items, renditions)
    below = {each: detectors[each].apply() for each in order[:-1]}
    last, features = _logits_of(detectors[name]), Input("features", rendition)

    def logits(weights: Any, frames: Array, mask: Array) -> Float[Array, " b"]:
        data: dict[Input, Any] = {Input("frames", rendition): frames}
        if features in items:
            flat = frames.reshape(-1, *frames.shape[2:])
            found = backbone.apply(weights["backbone"], flat, "float32")
            data[features] = found.reshape(*frames.shape[:2], -1)
        masks = dict.fromkeys(data, mask)
        for each, function in below.items():
            assert function is not None
            _, data[Input("scores", each)], *_ = function(weights["detectors"][each], data, masks)
            masks[Input("scores", each)] = mask
        return last(weights["detectors"][name], data, masks)

    own = {each: detectors[each].params for each in order}
    weights = {"backbone": params if features in items else {}, "detectors": own}
    settings = renditions[rendition]
    return Chain(name, rendition, settings, jax.tree.map(_exact, weights), logits, float(nearest_logit(threshold)))


def _differentiable_rendition(
    name: str,
    detectors: Mapping[str, Detector],
    order: list[str],
    items: set[Input],
    renditions: Mapping[str, Rendition],
) -> str:
    method = detectors[name].method
    if experts := [
        item.name for each in order for item in score_inputs(detectors[each].method) if item.kind != "scores"
    ]:
        raise UserError(
            f"detector {name} ({method.kind}) decides over other detectors' scores and has no gradient of pixels; name "
            f"one of them: {', '.join(dict.fromkeys(experts))}"
        )
    if facts := [each for each in order if detectors[each].apply() is None]:
        raise UserError(
            f"detector {facts[0]} ({detectors[facts[0]].method.kind}) reads more than the pixels of frames; name a "
            "detector that reads frames, or features of frames"
        )
    return one_rendition(name, {each: renditions[each] for each in sorted({item.name for item in items})})


def _logits_of(detector: Detector) -> Callable[..., Array]:
    if isinstance(detector, Differentiable):
        return detector.log_odds()
    function = detector.apply()
    assert function is not None
    return lambda params, data, mask: logits_by(*function(params, data, mask))


def _exact(leaf: Any) -> Any:
    """Floating point as float32."""
    return jnp.asarray(leaf, jnp.float32) if jnp.issubdtype(np.asarray(leaf).dtype, np.floating) else np.asarray(leaf)
