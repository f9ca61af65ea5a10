"""What a method reaches when something is taken away from it: the order of frames, all frames but one, all content.

Every control is fitted, stopped and given its threshold from the sources as the method itself, and judged on the
target once.
"""

import inspect
from collections.abc import Callable, Sequence

import numpy as np

from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.methods.base import Method
from fas_jax.protocols.assignment import Assignment
from fas_jax.studies.one_method import baselines, fit_and_score, score_rows

METHOD, SHUFFLED, ONE_FRAME, NOISE = "method", "frames shuffled", "one frame", "noise of the real lengths"
BACKGROUND = "background only"

_EXPLAINED = {
    METHOD: "the method on the features as they are",
    SHUFFLED: "the same, with the frames of every clip in random order, in training and test",
    ONE_FRAME: "the same, on the middle frame of every clip",
    NOISE: "the same, on noise in place of features; the lengths are the real ones",
    BACKGROUND: "the same, on features of frames whose middle (where the face is) is grey",
}


def run_controls(
    clips: CorpusClips,
    rendition: str,
    assignment: Assignment,
    seeds: Sequence[int],
    method: Method,
    background: CorpusClips | None = None,
) -> ScoreTable:
    """Scores of validation and test videos by the method, by every control and by the baselines, for `evaluate`.

    Args:
        clips: All that `assignment` names, as its indices point to them, with features in memory.
        rendition: Whose features the controls change.
        assignment: Who trains, validates and is tested.
        seeds: Of weights, order, shuffles and noise.
        method: The one under audit, which reads that rendition.
        background: The same clips with features of frames without their middle, if at hand.
    """
    changed: dict[str, Callable[[int], CorpusClips]] = {
        METHOD: lambda seed: clips,
        SHUFFLED: lambda seed: shuffle_frames(clips, rendition, seed),
        ONE_FRAME: lambda seed: middle_frame(clips, rendition),
        NOISE: lambda seed: noise_of_real_lengths(clips, rendition, seed),
    }
    if background is not None:
        changed[BACKGROUND] = lambda seed: background
    tables = []
    for name, change in changed.items():
        for seed in seeds:
            scores = fit_and_score(method, change(seed), assignment, seed, name)
            tables.append(score_rows(clips, assignment, name, seed, scores))
    for name, baseline in baselines(rendition).items():
        scores = fit_and_score(baseline, clips, assignment, seeds[0], name)
        tables += [score_rows(clips, assignment, name, seed, scores) for seed in seeds]
    return ScoreTable.concatenate(tables)


def explain(name: str, rendition: str) -> str:
    """What a control or a baseline is."""
    if name in _EXPLAINED:
        return _EXPLAINED[name]
    # A method's documentation begins with what it does.
    return (inspect.getdoc(type(baselines(rendition)[name])) or "").splitlines()[0].rstrip(".")


def reads_facts_alone(method: Method) -> bool:
    """Whether it sees nothing of a clip but what decoding found: no frame and no face."""
    return all(item.kind == "facts" for item in method.inputs())


def shuffle_frames(clips: CorpusClips, rendition: str, seed: int) -> CorpusClips:
    """The real frames of every clip in random order."""
    generator = np.random.default_rng([seed, 1])
    features, mask = clips.loaded(rendition)
    shuffled = features.copy()
    for row, real in enumerate(mask):
        places = np.flatnonzero(real)
        shuffled[row, places] = features[row, generator.permutation(places)]
    return clips.with_features(rendition, shuffled, mask)


def middle_frame(clips: CorpusClips, rendition: str) -> CorpusClips:
    """The middle one of every clip's real frames, alone."""
    features, mask = clips.loaded(rendition)
    # Real frames are the first of a clip.
    middle = features[np.arange(len(mask)), mask.sum(1) // 2][:, None]
    return clips.with_features(rendition, middle, np.any(mask, axis=1)[:, None])


def noise_of_real_lengths(clips: CorpusClips, rendition: str, seed: int, width: int = 16) -> CorpusClips:
    """Noise where there are frames; the width is small, because noise has nothing to say in any."""
    generator = np.random.default_rng([seed, 2])
    features, mask = clips.loaded(rendition)
    noise = np.zeros_like(features)
    width = min(width, noise.shape[-1])
    noise[..., :width] = generator.normal(size=(*mask.shape[:2], width))
    return clips.with_features(rendition, noise * mask[..., None], mask)
