"""Scores of training clips by detectors that have not seen them, for methods that read scores.

Training clips are scored out of fold, and validation clips by the detector of the whole task. A fold is a group of
subjects, or one of the sources; `Method.held_out_by` says which of the two a method learns from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool

from fas_jax.base.files import fingerprint, plain_name, read_json, write_json
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus, CorpusClips
from fas_jax.experiment.planning import LEFT_OUT, Plan, cross_source_plans, source_videos, tasks_of
from fas_jax.features.frame_scores import FrameScores
from fas_jax.methods.base import Desk, Detector, Failed, Method, identity
from fas_jax.methods.clip_scores import ClipScores
from fas_jax.methods.data import WHOLE, Task
from fas_jax.methods.registry import read_by_others, score_inputs
from fas_jax.runtime import devices

SUBJECT, SOURCE = "subject", "source"
FRAMES = "frames"
_PROGRAMS = {
    frozenset[str](): "",
    frozenset({SUBJECT}): "-folds",
    frozenset({SOURCE}): "-folds-by-source",
    frozenset({SUBJECT, SOURCE}): "-all-folds",
}
"""What a method's name gets where its folds train after its detectors, by what they are cut by."""
Tasks = Sequence[Sequence[Task]]
"""By plan, the whole one first."""


@dataclass(frozen=True)
class Kept:
    """A method's scores for the methods that read them."""

    frames: FrameScores | None = None
    clips: Mapping[str, ClipScores] = field(default_factory=dict)
    """By what the folds are cut by."""
    broken: frozenset[int] = frozenset()
    """Plans of which scores of frames are missing because a fitting failed."""


@dataclass(frozen=True)
class Folds:
    """Which scores of a run's methods others read, and which fittings make them."""

    tasks: Mapping[str, Tasks]
    """By what the folds are cut by."""
    wanted: Mapping[str, frozenset[str]]
    """By method: `FRAMES`, and what the folds of its clips' scores are cut by."""

    @classmethod
    def of(cls, experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, clips: CorpusClips) -> "Folds":
        """Of all plans; without folds where no method reads another's scores."""
        methods = experiment.methods
        wanted = folds_read(methods)
        read = bool(read_by_others(methods))
        left_out = read and experiment.evaluation.selection == LEFT_OUT
        by_source = any(SOURCE in each for each in wanted.values())
        unseen = cross_source_plans(plans, corpus.videos) if left_out or by_source else ()
        count, shared = experiment.folds.count if read else 0, experiment.evaluation.shared_subjects
        tasks = {SUBJECT: tasks_of(plans, clips, count, shared, unseen=unseen if left_out else ())}
        if by_source:
            # With one source there is nothing to leave out: such a stack is not fitted, and says so.
            every = tasks_of(plans, clips, count, shared, unseen=unseen)
            tasks[SOURCE] = [[task for task in own if not task.part.startswith("fold ")] for own in every]
        return cls(tasks, wanted)

    @property
    def whole(self) -> list[Task]:
        """By plan, the task of which the detector is kept."""
        return [own[0] for own in self.tasks[SUBJECT]]


def folds_read(methods: Mapping[str, Method]) -> dict[str, frozenset[str]]:
    """By method, which of its scores others read: `FRAMES`, and what the folds of its clips' scores are cut by."""
    found: dict[str, set[str]] = {name: set() for name in methods}
    for method in methods.values():
        for item in score_inputs(method):
            found[item.name].add(FRAMES if item.kind == "scores" else method.held_out_by())
    return {name: frozenset(each) for name, each in found.items()}


@dataclass(frozen=True)
class OutOfFold:
    """The out-of-fold scores of one method, in the run's folder."""

    folder: Path
    name: str
    method: Method
    folds: Folds
    clips: CorpusClips
    data: str
    """Fingerprint of all inputs."""

    def left(self) -> list[Task]:
        """The folds that have to be fitted for scores that are still missing."""
        found: dict[str, Task] = {}
        for kind in self._missing():
            found |= {task.name: task for own in self._tasks(kind) for task in own if task.part != WHOLE}
        return list(found.values())

    @property
    def program(self) -> str:
        """The name under which these folds train if the run holds the method's detectors already.

        It says what the folds are cut by: a verdict that is added later may want other folds than one before it.
        """
        by = {SUBJECT if kind == FRAMES else kind for kind in self._missing()}
        return self.name + _PROGRAMS[frozenset(by)]

    def keep(self, whole: Sequence[Detector | Failed], folds: Mapping[str, Detector | Failed], desk: Desk) -> Kept:
        """Scores by these detectors, of which `folds` has those of `left` by task; what is there already is read."""
        detectors = {task.name: each for task, each in zip(self.folds.whole, whole, strict=True)} | dict(folds)
        missing = self._missing()
        for by in dict.fromkeys(SUBJECT if kind == FRAMES else kind for kind in missing):
            kinds = {kind for kind in missing if by in (kind, SUBJECT if kind == FRAMES else "")}
            self._score(by, kinds, detectors, desk)
        frames, broken = None, frozenset[int]()
        if FRAMES in self._wanted:
            path, plans = self._path(FRAMES), len(self.folds.whole)
            frames = FrameScores(path, plans, frame_mask(self.method, self.clips))
            broken = frozenset(read_json(path.with_suffix(".json"))["failed"])
        kept = {kind: ClipScores.load(self._path(kind)) for kind in sorted(self._wanted - {FRAMES})}
        return Kept(frames, kept, broken)

    def _score(self, by: str, kinds: set[str], detectors: Mapping[str, Detector | Failed], desk: Desk) -> None:
        tasks = self.folds.tasks[by]
        every = [task for own in tasks for task in own]
        broken = {task.number: each.reason for task in every if isinstance(each := detectors[task.name], Failed)}
        good = [task for task in every if task.number not in broken]
        fitted = [each for task in good if not isinstance(each := detectors[task.name], Failed)]
        rows, numbers = [task.held for task in good], [task.number for task in good]
        found = type(self.method).score_all(fitted, self.clips, rows, numbers, desk)
        if FRAMES in kinds:
            mask, path = frame_mask(self.method, self.clips), self._path(FRAMES)
            # Every process has a file of its own; the first one's is kept.
            place = path.with_suffix(f".process-{jax.process_index()}")
            frames = FrameScores.in_file(place, len(tasks), mask)
            for task, scores in zip(good, found, strict=True):
                assert scores.frame is not None  # in_order refuses methods without scores of frames
                frames.put(task.number, task.held, np.asarray(scores.frame, np.float32))
            if devices.is_first():
                place.replace(path)
                about = {"key": self._key(FRAMES), "failed": sorted(broken), "shape": [*mask.shape, len(tasks)]}
                write_json(path.with_suffix(".json"), about)
            else:
                place.unlink()
        if kinds - {FRAMES}:
            clips = ClipScores.empty(len(self.clips), len(tasks))
            for task, scores in zip(good, found, strict=True):
                clips.put(task.number, task.held, scores)
            for number, reason in broken.items():
                clips.lack(number, f"its training failed: {reason}")
            for own in tasks if by == SOURCE else ():
                if len(own) < 2 and own[0].number not in broken:
                    clips.lack(own[0].number, "no source can be left out where there is one")
            if devices.is_first():
                clips.save(self._path(by), {"key": self._key(by)})
        devices.wait_for_all(f"out-of-fold scores of {self.name} by {by}")

    @property
    def _wanted(self) -> frozenset[str]:
        return self.folds.wanted[self.name]

    def _missing(self) -> list[str]:
        return sorted(kind for kind in self._wanted if not self.holds(kind))

    def holds(self, kind: str) -> bool:
        """Whether the folder has these scores: `FRAMES`, or those of clips by what the folds are cut by."""
        path = self._path(kind)
        if kind != FRAMES:
            return ClipScores.holds(path, self._key(kind))
        about = path.with_suffix(".json")
        return about.exists() and path.exists() and bool(read_json(about)["key"] == self._key(kind))

    def _tasks(self, kind: str) -> Tasks:
        return self.folds.tasks[SUBJECT if kind == FRAMES else kind]

    def _path(self, kind: str) -> Path:
        return out_of_fold_file(self.folder, self.name, kind)

    def _key(self, kind: str) -> str:
        parts = [[task.name, task.held.tolist()] for own in self._tasks(kind) for task in own]
        return fingerprint([identity(self.method), self.data, parts])


def out_of_fold_file(folder: Path, name: str, kind: str = FRAMES) -> Path:
    """Where a method's out-of-fold scores of a kind are kept: `FRAMES`, or what the folds are cut by."""
    suffix = ".f32" if kind == FRAMES else f".by-{kind}.safetensors"
    return folder / "out-of-fold" / f"{plain_name(name)}{suffix}"


def join_out_of_fold(
    experiment: Experiment,
    plans: Sequence[Plan],
    corpus: Corpus,
    folder: Path,
    name: str,
    parts: Sequence[tuple[Path, Sequence[Plan]]],
) -> None:
    """Makes the files of a method's out-of-fold scores from those that fittings of some plans each have left.

    If a fitting has left no scores of a kind, no file of that kind is made.

    Args:
        experiment: Settings.
        plans: All plans.
        corpus: All datasets.
        folder: In which `fit_methods` will look for the files.
        name: Of a method that others read.
        parts: In the order of `plans`: a folder in which `fit_methods` has fitted plans, and these plans.
    """
    method, data = experiment.methods[name], fingerprint(corpus.fingerprints)
    clips = corpus.open(source_videos(plans))
    every = OutOfFold(folder, name, method, Folds.of(experiment, plans, corpus, clips), clips, data)
    opened = [(place, own, corpus.open(source_videos(own))) for place, own in parts]
    for kind in every.folds.wanted[name]:
        if not all(out_of_fold_file(place, name, kind).exists() for place, *_ in opened):
            continue
        if kind == FRAMES:
            _join_frames(every, opened)
        else:
            _join_clips(every, kind, opened)


_Opened = Sequence[tuple[Path, Sequence[Plan], CorpusClips]]


def _join_frames(every: OutOfFold, opened: _Opened) -> None:
    mask, path = frame_mask(every.method, every.clips), every._path(FRAMES)
    joined = FrameScores.in_file(path, len(every.folds.whole), mask)
    number, failed = 0, []
    for place, own, theirs in opened:
        source = out_of_fold_file(place, every.name)
        scores = FrameScores(source, len(own), frame_mask(every.method, theirs))
        lost = read_json(source.with_suffix(".json"))["failed"]
        for inner, each in enumerate(own):
            videos = source_videos([each])
            joined.put(number, every.clips.find(videos), scores.of_task(inner, theirs.find(videos)))
            failed += [number] if inner in lost else []
            number += 1
    about = {"key": every._key(FRAMES), "failed": failed, "shape": [*mask.shape, len(every.folds.whole)]}
    write_json(path.with_suffix(".json"), about)


def _join_clips(every: OutOfFold, kind: str, opened: _Opened) -> None:
    joined = ClipScores.empty(len(every.clips), len(every.folds.whole))
    number = 0
    for place, own, theirs in opened:
        scores = ClipScores.load(out_of_fold_file(place, every.name, kind))
        for inner, each in enumerate(own):
            videos = source_videos([each])
            joined.take(number, every.clips.find(videos), scores, inner, theirs.find(videos))
            number += 1
    joined.save(every._path(kind), {"key": every._key(kind)})


def frame_mask(method: Method, clips: CorpusClips) -> Bool[np.ndarray, "n t"]:
    """Where a method that scores frames does so."""
    return np.logical_and.reduce([clips.mask(item) for item in method.inputs() if item.kind != "facts"])


def with_kept(clips: CorpusClips, kept: Mapping[str, Kept], method: Method) -> CorpusClips:
    """The clips with the scores that a method reads, by the folds that it asks for."""
    names = {item.name: item.kind for item in score_inputs(method)}
    frames = {name: found for name in names if name in kept and (found := kept[name].frames) is not None}
    own = {name: kept[name].clips[method.held_out_by()] for name, kind in names.items() if kind == "clip-scores"}
    return clips.with_scores(frames, own)
