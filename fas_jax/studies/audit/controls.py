"""What a method reaches when something is taken away from it: the order of frames, all frames but one, all content.

Every control is fitted, stopped and given its threshold from the sources as the method itself, and judged on the
target once.
"""

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from fas_jax.datasets.frames import StoredFrames
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.methods.base import Method
from fas_jax.methods.frame_settings import FrameSettings
from fas_jax.protocols.assignment import Assignment
from fas_jax.studies.one_method import baselines, fit_and_score, score_rows

METHOD, SHUFFLED, ONE_FRAME, NOISE = "method", "frames shuffled", "one frame", "noise of the real lengths"
BACKGROUND = "background only"

_EXPLAINED = {
    METHOD: "the method on the features or frames as they are",
    SHUFFLED: "the same, with the frames of every clip in random order, in training and test",
    ONE_FRAME: "the same, on the middle frame of every clip",
    NOISE: "the same, on noise in place of features or pixels; the lengths are the real ones",
    BACKGROUND: "the same, on frames whose middle (where the face is) is grey",
}


def run_controls(
    clips: CorpusClips,
    rendition: str,
    assignment: Assignment,
    seeds: Sequence[int],
    method: Method,
    background: CorpusClips | None = None,
    without: Collection[str] = (),
) -> ScoreTable:
    """Scores of validation and test videos by the method, by every control and by the baselines, for `evaluate`.

    Args:
        clips: All that `assignment` names, as its indices point to them, with features in memory.
        rendition: Whose features the controls change.
        assignment: Who trains, validates and is tested.
        seeds: Of weights, order, shuffles and noise.
        method: The one under audit, which reads that rendition.
        background: The same clips with frames without their middle, or features of these, if at hand.
        without: Controls and baselines that are left out; see `left_out`.
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
        if name in without:
            continue
        for seed in seeds:
            scores = fit_and_score(method, change(seed), assignment, seed, name)
            tables.append(score_rows(clips, assignment, name, seed, scores))
    for name, baseline in baselines(rendition).items():
        if name in without:
            continue
        scores = fit_and_score(baseline, clips, assignment, seeds[0], name)
        tables += [score_rows(clips, assignment, name, seed, scores) for seed in seeds]
    return ScoreTable.concatenate(tables)


def explain(name: str, rendition: str) -> str:
    """What a control or a baseline is."""
    if name in _EXPLAINED:
        return _EXPLAINED[name]
    # A method's documentation begins with what it does.
    return (inspect.getdoc(type(baselines(rendition)[name])) or "").splitlines()[0].rstrip(".")


def left_out(method: Method, features: bool) -> dict[str, str]:
    """Controls and baselines that do not apply to a method, each with the reason in a sentence.

    Args:
        method: The one under audit.
        features: Whether there are features, and not the zeros of `features.backbone = "none"`.
    """
    found = {}
    if isinstance(method, FrameSettings) and not method.sequences:
        found[SHUFFLED] = f"a {method.kind} scores each frame by itself and takes their mean, which has no order"
    if isinstance(method, FrameSettings) and method.least_frames > 1:
        found[ONE_FRAME] = f"this {method.kind} reads what changes between frames and scores no clip of a single one"
    for name, baseline in baselines(method.inputs()[0].name).items():
        if not features and any(item.kind == "features" for item in baseline.inputs()):
            found[name] = "it reads features, and the stores were made with features.backbone none"
    return {name: f"{name}: left out, because {why}." for name, why in found.items()}


def reads_facts_alone(method: Method) -> bool:
    """Whether it sees nothing of a clip but what decoding found: no frame and no face."""
    return all(item.kind == "facts" for item in method.inputs())


def shuffle_frames(clips: CorpusClips, rendition: str, seed: int) -> CorpusClips:
    """The real frames of every clip in random order."""
    generator = np.random.default_rng([seed, 1])
    _, mask = clips.features(rendition)
    order = np.zeros(mask.shape, int)
    for row, real in enumerate(mask):
        places = np.flatnonzero(real)
        order[row, places] = generator.permutation(places)
    return clips.picked(rendition, order, mask)


def middle_frame(clips: CorpusClips, rendition: str) -> CorpusClips:
    """The middle one of every clip's real frames, alone."""
    _, mask = clips.features(rendition)
    # Real frames are the first of a clip.
    return clips.picked(rendition, mask.sum(1)[:, None] // 2, np.any(mask, axis=1)[:, None])


def noise_of_real_lengths(clips: CorpusClips, rendition: str, seed: int, width: int = 16) -> CorpusClips:
    """Noise where there are frames, of features and of pixels; the features' width is small, because noise has nothing
    to say in any."""
    generator = np.random.default_rng([seed, 2])
    features, mask = clips.loaded(rendition)
    noise = np.zeros_like(features)
    width = min(width, noise.shape[-1])
    noise[..., :width] = generator.normal(size=(*mask.shape[:2], width))
    changed = clips.with_features(rendition, noise * mask[..., None], mask)
    return changed.with_frames(rendition, lambda stored: NoiseFrames.like(stored, seed))


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseFrames(StoredFrames):
    """Frames of noise, each drawn by itself from the clip's row and the frame's number."""

    seed: int

    @classmethod
    def like(cls, stored: StoredFrames, seed: int) -> "NoiseFrames":
        """As many frames of the same size for each clip."""
        return cls((), stored.part, stored.place, stored.mask, stored.size, stored.burst, seed=seed)

    def some(self, row: int, numbers: Sequence[int]) -> Sequence[UInt8[np.ndarray, "h w 3"]]:
        """See `StoredFrames.some`."""
        shape = (self.size, self.size, 3)
        drawn = (np.random.default_rng([self.seed, 2, row, number]) for number in numbers)
        return [generator.integers(0, 256, shape, np.uint8) for generator in drawn]
