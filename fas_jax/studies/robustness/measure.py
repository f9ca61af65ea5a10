"""Verdicts and error rates of detectors along the axes of `fas_jax.pixels.disturbances`."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, UInt8

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.record import ClipInfo
from fas_jax.base.rendition import Rendition
from fas_jax.datasets.frames import StoredFrames
from fas_jax.evaluation import metrics
from fas_jax.evaluation.metrics import MetricError
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.experiment.scoring import score_clips
from fas_jax.features.stage import frame_features
from fas_jax.methods.data import Scores
from fas_jax.pixels.disturbances import AXES, Axis
from fas_jax.pixels.renditions import colour
from fas_jax.studies.robustness.cases import Case, Clips, ReadFrames

# Videos whose frames are in memory at a time.
_BLOCK = 64


@dataclass(frozen=True)
class Measured:
    """A method of one protocol and seed at one strength of an axis."""

    protocol: str
    seed: int
    model: str
    axis: str
    strength: float
    videos: int
    flips: float
    """Share of videos whose verdict is another one than at strength 0; to have none is one. NaN without a threshold."""
    undecided: float
    """Share of videos without a score."""
    hter: float
    """Of the others, at the sources' threshold; NaN where it is undefined."""


@dataclass(frozen=True, eq=False)
class Frames(StoredFrames):
    """Frames that are read and disturbed when they are asked for."""

    read: ReadFrames = field(kw_only=True)

    @classmethod
    def of(cls, read: ReadFrames, mask: Bool[np.ndarray, "n t"], rendition: Rendition) -> "Frames":
        """Those that a function reads, of a rendition."""
        rows = np.arange(len(mask), dtype=np.int32)
        return cls((), 0 * rows, rows, mask, rendition.size, rendition.burst, read=read)

    def some(self, row: int, numbers: Sequence[int]) -> Sequence[UInt8[np.ndarray, "h w 3"]]:
        """See `StoredFrames.some`."""
        frames = self.read(row)
        return [frames[number] for number in numbers]


def chosen_axes(names: Sequence[str]) -> dict[str, Axis]:
    """The axes of these names, or all.

    Raises:
        UserError: An unknown name.
    """
    for name in names:
        if name not in AXES:
            raise unknown_name("axis", name, AXES)
    return {name: AXES[name] for name in names or AXES}


def measure(
    case: Case, axes: Mapping[str, Axis], progress: Callable[[str], None] = lambda text: None
) -> list[Measured]:
    """All methods of a case along some axes; strength 0 is measured once, and stands in every axis.

    Raises:
        UserError: As the decoding of videos, where an axis moves the crop.
    """
    start = score_at(case, next(iter(axes.values())), 0.0)
    found = []
    for name, axis in axes.items():
        for strength in axis.strengths:
            progress(f"{name} {strength:g}")
            scores = score_at(case, axis, strength) if strength else start
            found += list(_judged(case, name, strength, start, scores))
    return found


def score_at(case: Case, axis: Axis, strength: float) -> dict[str, list[Scores]]:
    """Scores of every method for each judge's videos, in its order; at strength 0 those of the videos as they are."""
    clips = case.clips
    if axis.moves and strength:
        clips = case.moved({name: axis.moved(each, strength) for name, each in case.renditions.items()})
    own = _opened(case, clips, axis, strength)
    return score_clips(case.experiment, own, [judge.rows for judge in case.judges], case.fitted)


def _opened(case: Case, clips: Clips, axis: Axis, strength: float) -> CorpusClips:
    items = {item for method in case.experiment.methods.values() for item in method.inputs()}
    featured = {item.name for item in items if item.kind == "features"}
    known: dict[str, ClipFeatures] = {}

    def reader(name: str) -> ReadFrames:
        read = clips.frames[name]
        return lambda row: axis.disturb(read(row), strength, row)

    def opened(name: str) -> ClipFeatures:
        if name not in clips.frames:
            raise UserError(f"rendition {name} is not there")
        if name not in known:
            known[name] = _features(case, name, reader(name), clips, name in featured)
        return known[name]

    def frames(name: str) -> StoredFrames:
        return Frames.of(reader(name), clips.masks[name], case.renditions[name])

    return CorpusClips(case.videos, np.arange(len(case.videos)), opened, opened_frames=frames)


def _features(case: Case, name: str, read: ReadFrames, clips: Clips, featured: bool) -> ClipFeatures:
    """Features of a rendition's frames, where they are read, and what decoding would have said of these frames."""
    mask, settings = clips.masks[name], case.features
    features = np.zeros((*mask.shape, case.backbone.dimension if featured else 1), np.float32)
    infos: list[ClipInfo] = []
    for start in range(0, len(mask), _BLOCK):
        rows = range(start, min(start + _BLOCK, len(mask)))
        block = [read(row) for row in rows]
        infos += [_coloured(clips.infos[row], name, frames) for row, frames in zip(rows, block, strict=True)]
        if featured and mask[start : start + _BLOCK].any():
            features[start : start + _BLOCK][mask[start : start + _BLOCK]] = frame_features(
                case.backbone,
                case.params,
                np.concatenate(block),
                settings.batch_size,
                settings.precision,
                settings.store_dtype,
            )
    return ClipFeatures(features, mask, infos)


def _coloured(info: ClipInfo, name: str, frames: np.ndarray) -> ClipInfo:
    if not len(frames):
        return info
    made = dataclasses.replace(info.renditions[name], colour=colour(frames))
    return dataclasses.replace(info, renditions={**info.renditions, name: made})


def _judged(
    case: Case, axis: str, strength: float, start: Mapping[str, list[Scores]], scores: Mapping[str, list[Scores]]
) -> Iterator[Measured]:
    for model in case.experiment.methods:
        for number, judge in enumerate(case.judges):
            before, now = start[model][number].clip, scores[model][number].clip
            tau, labels = judge.thresholds[model], case.videos.label[judge.rows]
            # 1 accepted, 0 rejected, -1 no verdict.
            verdicts = [np.where(np.isnan(each), -1, each >= tau) for each in (before, now)]
            there = ~np.isnan(now)
            try:
                hter = metrics.rates(now[there], labels[there], tau).hter if not np.isnan(tau) else np.nan
            except MetricError:
                hter = np.nan
            flips = float(np.mean(verdicts[0] != verdicts[1])) if len(now) and not np.isnan(tau) else np.nan
            undecided = float(np.mean(~there)) if len(now) else np.nan
            yield Measured(judge.protocol, judge.seed, model, axis, strength, len(now), flips, undecided, float(hter))
