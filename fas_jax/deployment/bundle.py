"""A trained run's detectors as a folder that scores files by itself, with thresholds and what makes their inputs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import sha256_file
from fas_jax.base.record import ClipInfo, RenditionInfo, Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Preparation
from fas_jax.deployment.card import caveats, rendered_share
from fas_jax.deployment.decision import Decision
from fas_jax.deployment.given_frames import Frames, bgr_frames, check_frames, joined, padded
from fas_jax.deployment.verdict import NO_DECISION, Seen, Verdict, frame_interval
from fas_jax.deployment.vetoes import checked, gated, with_gate, with_uncertain
from fas_jax.features.measured import measures_of
from fas_jax.features.stage import frame_features
from fas_jax.methods.base import Detector, Explained, Method
from fas_jax.methods.data import Batch, Scores
from fas_jax.methods.inputs import Input
from fas_jax.methods.registry import in_order, score_inputs
from fas_jax.models.backbones import Backbone, Params
from fas_jax.pixels.content import DecodeError, why_none
from fas_jax.pixels.decoding import Undecoded, decode_files
from fas_jax.pixels.gate.settings import Gate
from fas_jax.pixels.pictures import unpack_frame
from fas_jax.pixels.renditions import rendition_makers
from fas_jax.pixels.video import choose_frames


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle."""

    about: dict[str, Any]
    """Protocol, seed, sources, lineage, and what the inputs were made with."""
    detectors: Mapping[str, Detector]
    decisions: Mapping[str, Decision]
    preparation: Preparation
    renditions: Mapping[str, Rendition]
    """Those that its detectors read."""
    features: Features
    backbone: Backbone
    backbone_params: Params

    @property
    def default(self) -> str:
        """The detector that decides if none is named: the first that reads others' scores, else the first."""
        stacks = [name for name in self.decisions if score_inputs(self.detectors[name].method)]
        return next(iter([*stacks, *self.decisions]))

    @property
    def failed(self) -> Mapping[str, str]:
        """Methods of the run whose training failed, and why; a detector may go on without their scores."""
        known: Mapping[str, str] = self.about.get("failed", {})
        return known

    def rendered_share(self, name: str) -> float:
        """The share of rendered clips in a detector's training: 1 where all its sources are rendered."""
        return rendered_share(self.about, name)

    def decision(self, name: str) -> Decision:
        """How a detector's score becomes a verdict.

        Raises:
            UserError: The bundle has no such detector, or it has no threshold.
        """
        if name not in self.decisions:
            raise unknown_name("detector", name, self.decisions)
        return self.decisions[name]

    def methods_for(self, name: str) -> dict[str, Method]:
        """A detector's method and those whose scores it reads, in the order in which they have to score.

        Raises:
            UserError: The bundle has no such detector.
        """
        methods = {each: detector.method for each, detector in self.detectors.items()}
        if name not in methods:
            raise unknown_name("detector", name, methods)
        wanted = [name]
        for each in wanted:
            wanted += [item.name for item in score_inputs(methods[each]) if item.name not in self.failed]
        return {each: methods[each] for each in in_order(methods, self.failed) if each in wanted}

    def renditions_for(self, name: str) -> dict[str, Rendition]:
        """The renditions that have to be made of a file for a detector."""
        read = [item.name for each in self.methods_for(name).values() for item in each.inputs()]
        return {each: rendition for each, rendition in self.renditions.items() if each in read}

    def score(self, frames: Mapping[str, Frames], info: ClipInfo | None = None, name: str = "") -> Scores:
        """The score of one clip by one detector.

        Args:
            frames: RGB, by rendition, as `renditions` says: of its size, and no more than its `most_frames`. Those of a
                rendition with native pixels may be a list of frames of several sizes.
            info: What decoding found; needed by detectors that read facts, and for a rendition without frames, of
                which it gives the reason.
            name: The detector; `default` if empty.

        Raises:
            UserError: Frames of another rendition, size or type, too many, or none without a reason; or facts that are
                needed and not given.
        """
        name = name or self.default
        batch = self.read(frames, info, name)
        return self.detectors[name].score(batch)

    def explain(self, frames: Mapping[str, Frames], info: ClipInfo | None = None, name: str = "") -> dict[str, Any]:
        """Why a detector gives one clip its score, see `methods.base.Explained`; empty if it cannot explain scores.

        Args:
            frames: As in `score`.
            info: As in `score`.
            name: As in `score`.
        """
        name = name or self.default
        batch, detector = self.read(frames, info, name), self.detectors[name]
        return detector.explain(batch)[0] if isinstance(detector, Explained) else {}

    def read(self, frames: Mapping[str, Frames], info: ClipInfo | None, name: str) -> Batch:
        """All inputs of a detector for one clip, other detectors' scores among them; `frames` and errors as `score`."""
        for each in frames:
            if each not in self.renditions:
                raise unknown_name("rendition", each, self.renditions)
        methods = self.methods_for(name)
        items = {item for method in methods.values() for item in method.inputs()}
        batch = self._batch(frames, info, [item for item in items if not item.of_method])
        found = {each: Scores.none(1, f"its training failed: {why}") for each, why in self.failed.items()}
        own = batch
        for each, method in methods.items():
            read = {item: found[item.name] for item in score_inputs(method)}
            own = Batch(
                {**batch.data, **read},
                {**batch.mask, **{item: self._score_mask(item, batch, methods) for item in read}},
                {**batch.absent, **{item: scores.reason for item, scores in read.items() if any(scores.reason)}},
            )
            if each != name:
                found[each] = self.detectors[each].score(own)
        # `in_order` puts the detector that was asked for last.
        return own

    def judge(
        self,
        paths: Sequence[Path],
        name: str = "",
        seen: Seen | None = None,
        *,
        uncertain: bool = False,
        gate: Gate | None = None,
    ) -> Iterator[Verdict]:
        """The verdict on each of some video or image files, in their order.

        Worker processes decode them. The digest binds a verdict to the file's content.

        Args:
            paths: The files.
            name: The detector; `default` if empty.
            seen: Called before each verdict on a file that could be decoded.
            uncertain: Whether there are three answers: bona fide, attack and uncertain.
            gate: Limits of the checks that a clip must pass before the detector is asked; none are made without it. A
                clip that fails gets no decision, with the checks' sentences as its reason.

        Raises:
            UserError: The bundle has no such detector, or for three answers no band of it.
        """
        name = name or self.default
        decision = self.decision(name)  # refuses an unknown one before any file is decoded
        band = decision.three(name) if uncertain else None
        start = time.monotonic()
        renditions = with_gate(self.renditions_for(name), gate)
        for path, outcome in zip(paths, decode_files(paths, self.preparation, renditions), strict=True):
            if isinstance(outcome, Undecoded):
                verdict = self._verdict(str(path), name, Scores.none(1, outcome.reason))
            else:
                frames = {each: [unpack_frame(packed) for packed in stored] for each, stored in outcome.frames.items()}
                verdict = self._gated(str(path), name, frames, outcome.info, gate)
                verdict = replace(verdict, sha256=sha256_file(path))
                verdict = with_uncertain(verdict, band)
                if seen:
                    held = {each: own for each, own in self.renditions.items() if each in frames}
                    seen(verdict, {each: joined(own, frames[each]) for each, own in held.items()})
            yield replace(verdict, seconds=round(time.monotonic() - start, 3))
            start = time.monotonic()

    def judge_frames(
        self,
        frames: Frames,
        *,
        channels: Literal["RGB", "BGR"],
        name: str = "",
        fps: float = 0.0,
        chosen: bool = False,
        seen: Seen | None = None,
        uncertain: bool = False,
        gate: Gate | None = None,
    ) -> Verdict:
        """The verdict on a video whose frames are in memory; frames are chosen and cropped as those of a file are.

        Args:
            frames: uint8, upright, all frames of the video in order.
            channels: The order of their colours.
            name: The detector; `default` if empty.
            fps: Frames per second; needed by renditions that skip by time.
            chosen: Whether the frames were chosen from a longer video already: every one counts then, up to the
                rendition's number.
            seen: Called before the verdict is returned, unless no rendition could be made.
            uncertain: Whether there are three answers, see `judge`.
            gate: Limits of the checks before the verdict, see `judge`.

        Raises:
            UserError: Arrays of another type or shape; no such detector, or no band of it; or one that reads facts of a
                file.
        """
        start = time.monotonic()
        name = name or self.default
        decision = self.decision(name)
        band = decision.three(name) if uncertain else None
        if not 0 <= fps < float("inf"):
            raise UserError(f"fps must be a number of frames per second, or 0 where it is not known, not {fps}")
        methods = self.methods_for(name)
        if facts := [each for each, own in methods.items() if any(i.kind == "facts" for i in own.inputs())]:
            raise UserError(
                f"detector {name} reads facts of a video's file ({', '.join(facts)}), which an array does not have; "
                "judge the file, or name another detector"
            )
        images = bgr_frames(frames, channels)
        makers = rendition_makers(Path(), Source(chosen=chosen), with_gate(self.renditions_for(name), gate))
        try:
            info, made = choose_frames(images, makers, fps)
        except DecodeError as error:
            verdict = self._verdict("array", name, Scores.none(1, str(error)))
        else:
            verdict = self._gated("array", name, made, info, gate)
            if seen:
                held = {each: own for each, own in self.renditions.items() if each in made}
                seen(verdict, {each: joined(own, list(made[each])) for each, own in held.items()})
        return replace(with_uncertain(verdict, band), seconds=round(time.monotonic() - start, 3))

    def verdict(self, source: str, name: str, score: float, reason: str = "") -> Verdict:
        """The verdict that a detector's score of a clip leads to; NaN needs a reason."""
        return self._verdict(source, name, Scores(np.array([score]), None, [reason] if reason else ()))

    @cached_property
    def programs(self) -> dict[str, Any]:
        """By detector, what sessions of streams share, see `deployment.streaming`."""
        return {}

    def caveats(self, name: str = "") -> list[str]:
        """Caveats about a detector's verdicts: rendered training data, random weights."""
        return caveats(self.about, name or self.default)

    def _gated(
        self, source: str, name: str, frames: Mapping[str, Frames], info: ClipInfo, gate: Gate | None
    ) -> Verdict:
        """The verdict on a clip with frames for the gate; one that the gate refuses is not scored."""
        frames, info, found = checked(frames, info, gate)
        if found is None or found.passed:
            return replace(self._judged(source, name, frames, info), gate=found)
        return gated(self._verdict(source, name, Scores.none(1, "it is not scored")), found)

    def _judged(self, source: str, name: str, frames: Mapping[str, Frames], info: ClipInfo) -> Verdict:
        """The verdict on a clip of which these frames were kept."""
        kept = {each: joined(self.renditions[each], list(own)) for each, own in frames.items() if len(own)}
        batch, detector = self.read(kept, info, name) if kept else None, self.detectors[name]
        why = why_none({each: own.reason for each, own in info.renditions.items()})
        scores = detector.score(batch) if batch else Scores.none(1, why)
        verdict = self._verdict(source, name, scores)
        if batch and isinstance(detector, Explained):
            verdict = replace(verdict, explanation=detector.explain(batch)[0])
        if verdict.decision != NO_DECISION:
            (item, *_) = detector.method.inputs()
            known = info.renditions.get(item.name, RenditionInfo())
            burst = self.renditions[item.name].burst if item.name in self.renditions else 1
            interval, note = frame_interval(detector.method, scores, known.frame_indices, burst)
            verdict = replace(verdict, interval=interval, interval_note=note)
        indices = {each: tuple(dict.fromkeys(own.frame_indices)) for each, own in info.renditions.items()}
        return replace(verdict, frames=indices, damaged_frames=info.damaged_frames)

    def _verdict(self, source: str, name: str, scores: Scores) -> Verdict:
        decision, score = self.decision(name), float(scores.clip[0])
        known = partial(
            Verdict,
            source=source,
            detector=name,
            threshold=decision.threshold,
            rendered_share=self.rendered_share(name),
        )
        if np.isnan(score):
            return known(decision=NO_DECISION, reason=scores.reason[0])
        return known(decision="bona fide" if decision.accepts(score) else "attack", score=score)

    def _batch(self, frames: Mapping[str, Frames], info: ClipInfo | None, items: Sequence[Input]) -> Batch:
        data: dict[Input, Any] = {}
        mask: dict[Input, Any] = {}
        absent: dict[Input, list[str]] = {}
        for item in items:
            if item.kind == "facts":
                if info is None:
                    raise UserError(f"a detector reads what decoding found of {item.name}; pass it as info")
                data[item] = [info]
                continue
            own = frames.get(item.name)
            if own is None or not len(own):
                made = info.renditions.get(item.name) if info else None
                if not made or not made.reason:
                    raise UserError(
                        f"there are no frames of rendition {item.name}; pass some, or an info that says why there are "
                        "none"
                    )
                absent[item] = [made.reason]
                own = joined(self.renditions[item.name], [])
            check_frames(item.name, self.renditions[item.name], own)
            if not self.renditions[item.name].size:
                data[item], mask[item] = padded(self.renditions[item.name], measures_of(list(own)))
            elif item.kind == "frames":
                data[item], mask[item] = padded(self.renditions[item.name], np.asarray(own))
            else:
                data[item], mask[item] = self._features(item.name, np.asarray(own))
        return Batch(data, mask, absent)

    def _features(self, rendition: str, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [1 t d] and mask [1 t] of a clip, padded as in training, so that all lengths run one program."""
        most, settings = self.renditions[rendition].most_frames, self.features
        # A store's batch would be mostly padding; a smaller one changes features by about 1e-7 (rounding).
        batch_size = min(most or 8, settings.batch_size)
        features = frame_features(
            self.backbone, self.backbone_params, frames, batch_size, settings.precision, settings.store_dtype
        )
        return padded(self.renditions[rendition], features)

    def _score_mask(self, item: Input, batch: Batch, methods: Mapping[str, Method]) -> np.ndarray:
        """Where another detector's scores are; that of a clip counts as one frame."""
        return np.ones((1, 1), bool) if item.kind == "clip-scores" else self._frame_mask(item.name, batch, methods)

    def _frame_mask(self, name: str, batch: Batch, methods: Mapping[str, Method]) -> np.ndarray:
        """Where a detector scores frames."""
        masks = [
            self._frame_mask(item.name, batch, methods) if item.kind == "scores" else batch.mask[item]
            for item in methods[name].inputs()
            if item.kind != "facts"
        ]
        found: np.ndarray = np.logical_and.reduce(masks)
        return found
