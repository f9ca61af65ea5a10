"""What each expert of a bundle costs for one clip: milliseconds as measured here, and FLOPs as XLA counts them."""

import statistics
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.export import exported_rendition, scorer, serving_weights
from fas_jax.deployment.given_frames import Frames
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
    for name in experts:
        if name not in bundle.detectors:
            continue
        info = next(iter(infos.values()))
        frames = {each: _noise(bundle, each, infos[each]) for each in bundle.renditions_for(name)}
        bundle.score(frames, info, name)  # compiles
        seconds = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            bundle.score(frames, info, name)
            seconds.append(time.perf_counter() - start)
        found[name] = Cost(1000 * statistics.median(seconds), _flops(bundle, name))
    return found


def _noise(bundle: Bundle, rendition: str, info: ClipInfo) -> Frames:
    settings = bundle.renditions[rendition]
    shape = (settings.size, settings.size) if settings.size else (info.height, info.width)
    kept = info.renditions[rendition].frame_indices if rendition in info.renditions else ()
    count = len(kept) or settings.most_frames or _FRAMES * settings.burst
    return np.random.default_rng(0).integers(0, 256, (count, *shape, 3)).astype(np.uint8)


def _flops(bundle: Bundle, name: str) -> float:
    """NaN where the detector has no program of one size."""
    try:
        rendition = exported_rendition(bundle, name)
        score, weights = scorer(bundle, name), serving_weights(bundle, name)
    except UserError:
        return float("nan")
    settings = bundle.renditions[rendition]
    length = settings.most_frames or _FRAMES * settings.burst
    frames = jax.ShapeDtypeStruct((1, length, settings.size, settings.size, 3), np.uint8)
    told = jax.jit(score).lower(weights, frames, jax.ShapeDtypeStruct((1, length), np.bool_)).cost_analysis()
    return float((told or {}).get("flops", np.nan))
