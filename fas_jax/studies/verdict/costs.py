"""What each expert of a bundle costs for one clip: milliseconds as measured here, and FLOPs as XLA counts them."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import jax
import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo, RenditionInfo
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.export import exported_rendition, scorer, serving_weights
from fas_jax.deployment.given_frames import Frames
from fas_jax.features.measured import FLAVOUR
from fas_jax.features.quality.measures import deviations
from fas_jax.methods.base import Counted
from fas_jax.pixels.crops import render
from fas_jax.pixels.detection import Face
from fas_jax.runtime.flops import flops_of
from fas_jax.studies.verdict.cascade import Cost

_REPEATS = 3
_FRAMES = 8
"""Frames of the measured clip, for a rendition without a limit."""


def costs_of(bundle: Bundle, experts: Sequence[str], infos: Mapping[str, ClipInfo]) -> dict[str, Cost]:
    """The costs of the experts that a bundle holds, from frames to score; decoding is the same for all of them.

    Args:
        bundle: The bundle with the experts.
        experts: Names of detectors.
        infos: By rendition, the facts of a clip, which give the native size and the number of frames.
    """
    found = {}
    # Each of these knows its own rendition, and an expert may read the facts of any.
    made = {name: own.renditions[name] for name, own in infos.items() if name in own.renditions}
    info = replace(next(iter(infos.values())), renditions=made)
    for name in experts:
        if name not in bundle.detectors:
            continue
        frames = {each: noise(bundle, each, infos[each]) for each in bundle.renditions_for(name)}
        bundle.score(frames, info, name)  # compiles
        seconds = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            bundle.score(frames, info, name)
            seconds.append(time.perf_counter() - start)
        found[name] = Cost(1000 * statistics.median(seconds), _flops(bundle, name, frames, info))
    return found


def noise(bundle: Bundle, rendition: str, info: ClipInfo) -> Frames:
    """Random frames of a rendition as a clip with these facts has them, in number and size."""
    settings, made = bundle.renditions[rendition], info.renditions.get(rendition, RenditionInfo())
    shape = (settings.size, settings.size) if settings.size else (info.height, info.width)
    count = len(made.frame_indices) or settings.most_frames or _FRAMES * settings.burst
    frames = np.random.default_rng(0).integers(0, 256, (count, *shape, 3)).astype(np.uint8)
    if settings.size or not made.boxes:
        return frames
    boxes = np.reshape(made.boxes, (-1, 4)).tolist()
    faces = [Face(tuple(box)) if any(box) else None for box in boxes]
    return [render(frame, face, settings) for frame, face in zip(frames, faces, strict=True)]


def _flops(bundle: Bundle, name: str, frames: Mapping[str, Frames], info: ClipInfo) -> float:
    """Of one clip; NaN where the detector has no program of one size and does not count its own FLOPs either."""
    try:
        rendition = exported_rendition(bundle, name)
        score, weights = scorer(bundle, name), serving_weights(bundle, name)
    except UserError:
        return _by_parts(bundle, name, frames, info)
    settings = bundle.renditions[rendition]
    length = settings.most_frames or _FRAMES * settings.burst
    clip = jax.ShapeDtypeStruct((1, length, settings.size, settings.size, 3), np.uint8)
    return flops_of(score, weights, clip, jax.ShapeDtypeStruct((1, length), np.bool_))


def _by_parts(bundle: Bundle, name: str, frames: Mapping[str, Frames], info: ClipInfo) -> float:
    """The FLOPs that a detector counts itself, and those of the measures of native pixels that it reads."""
    detector = bundle.detectors[name]
    read = detector.method.inputs()
    native = [item.name for item in read if item.name in frames and not bundle.renditions[item.name].size]
    if not isinstance(detector, Counted) or any(item.kind == "features" and item.name not in native for item in read):
        return float("nan")
    shapes = [jax.ShapeDtypeStruct((1, *frame.shape), np.uint8) for each in native for frame in frames[each]]
    by_shape = {shape.shape: flops_of(partial(deviations, flavour=FLAVOUR), shape) for shape in set(shapes)}
    return detector.flops(bundle.read(frames, info, name)) + sum(by_shape[shape.shape] for shape in shapes)
