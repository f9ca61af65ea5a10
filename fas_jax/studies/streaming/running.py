"""Scores of a run's videos after each kept frame, by the methods that may judge a video that still runs."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.experiment.fitting import Fitted
from fas_jax.experiment.scoring import score_clips
from fas_jax.methods.data import Rows
from fas_jax.methods.registry import score_inputs


@dataclasses.dataclass(frozen=True)
class Running:
    """Scores of some videos after each kept frame."""

    scores: Float[np.ndarray, "n t"]
    """NaN after the last frame."""
    seconds: Float[np.ndarray, "n t"]
    """When the frames were shown, from the video's first."""
    labels: Int[np.ndarray, " n"]

    def until(self, seconds: float) -> "Running":
        """Without the frames after a time."""
        kept = np.where(self.seconds <= seconds + 1e-3, self.scores, np.nan)
        return dataclasses.replace(self, scores=kept)

    @property
    def last(self) -> Float[np.ndarray, " n"]:
        """The last score of each; NaN where there is none."""
        counts = self.frames
        found: np.ndarray = np.where(counts > 0, self.scores[np.arange(len(counts)), np.maximum(counts, 1) - 1], np.nan)
        return found

    @property
    def frames(self) -> Int[np.ndarray, " n"]:
        """The number of scores of each."""
        found: np.ndarray = (~np.isnan(self.scores)).sum(1)
        return found


def streaming_methods(experiment: Experiment) -> dict[str, list[str]]:
    """By rendition, the methods that may judge a video that still runs, with those whose scores they read.

    Raises:
        UserError: There is none; the message says which setting of a rendition stands against it.
    """
    read: dict[str, set[str]] = {}

    def renditions(name: str) -> set[str]:
        if name not in read:
            items = experiment.methods[name].inputs()
            read[name] = {item.name for item in items if not item.of_method}
            read[name] |= {"a file's facts"} if any(item.kind == "facts" for item in items) else set()
            read[name] = read[name].union(*(renditions(item.name) for item in score_inputs(experiment.methods[name])))
        return read[name]

    found: dict[str, list[str]] = {}
    why: dict[str, str] = {}
    for name in experiment.methods:
        if len(own := renditions(name)) == 1:
            (rendition,) = own
            if told := experiment.renditions[rendition].needs_future:
                why[rendition] = f"[renditions.{rendition}]: {told}"
            elif experiment.renditions[rendition].size and not experiment.renditions[rendition].tiles:
                found.setdefault(rendition, []).append(name)
    if not found:
        told = "; ".join(why.values()) or "each reads several renditions, native pixels or facts of a file"
        raise UserError(f"no method of the run can judge a video that still runs ({told}); then train another run")
    return found


def seconds_of(clips: CorpusClips, name: str, rendition: Rendition) -> Float[np.ndarray, "n t"]:
    """When the kept frames were shown, in seconds from each video's first frame; infinite where there is none."""
    mask = clips.features(name)[1]
    found = np.full(mask.shape, np.inf)
    for row, info in enumerate(clips.facts(name)):
        made = info.renditions.get(name)
        indices = np.array(made.frame_indices if made else (), float)
        if len(indices) and not (info.fps or rendition.seconds):
            raise UserError(f"the frame rates of the videos are not known; set seconds in [renditions.{name}]")
        found[row, : len(indices)] = indices / info.fps if info.fps else np.arange(len(indices)) * rendition.seconds
    return found


def running(
    experiment: Experiment,
    clips: CorpusClips,
    rows: Sequence[Rows],
    fitted: Fitted,
    rendition: str,
    seconds: Float[np.ndarray, "n t"],
) -> dict[str, list[Running]]:
    """By method, the scores of `rows[i]` by the detectors of plan i, after each of their frames."""
    mask = clips.features(rendition)[1]
    every = np.tile(np.arange(mask.shape[1]), (len(mask), 1))
    found = {name: [np.full((len(part), mask.shape[1]), np.nan) for part in rows] for name in experiment.methods}
    for count in range(1, mask.shape[1] + 1):
        seen: Bool[np.ndarray, "n t"] = mask & (every < count)
        scores = score_clips(experiment, clips.picked(rendition, every, seen), rows, fitted)
        for name, own in scores.items():
            for number, part in enumerate(rows):
                here = mask[part, count - 1]
                found[name][number][here, count - 1] = own[number].clip[here]
    labels = np.asarray(clips.labels)
    return {
        name: [Running(own, seconds[part], labels[part]) for own, part in zip(each, rows, strict=True)]
        for name, each in found.items()
    }
