"""Fitting and scoring of heads, many side by side along an axis of runs."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from fas_jax.base.settings import Execution
from fas_jax.methods.base import Desk, Detector, Failed, Job, identity
from fas_jax.methods.data import WHOLE, Batch, Clips, Rows, Scores, fingerprint_of
from fas_jax.methods.fusion import fuse, fuse_logits, running, running_logit, traced_fuse, traced_fuse_logits
from fas_jax.methods.head_settings import HeadSettings
from fas_jax.methods.inputs import Input
from fas_jax.methods.steps import Steps
from fas_jax.models.architecture import bona_fide_probability, padded, tempered
from fas_jax.training.chunks import train_in_chunks
from fas_jax.training.fitting import Predicted, Run, predict
from fas_jax.training.steps import Clips as Sequences
from fas_jax.training.stopping import describe_failures


@dataclass(frozen=True)
class HeadDetector:
    """A trained head."""

    method: HeadSettings
    width: int
    """Of the vectors that it reads."""
    params: Any
    """Of the architecture, without an axis of runs."""

    @property
    def about(self) -> dict[str, Any]:
        """See `Detector.about`."""
        return {"width": self.width}

    def score(self, batch: Batch) -> Scores:
        """See `Detector.score`."""
        inputs, mask = self.method.traced_sequences(batch.data, batch.mask)
        real = np.asarray(mask)
        here = np.flatnonzero(real.any(1))
        frames = _unknown(real.shape)
        if len(here):
            sequences = Sequences(inputs, jnp.asarray(real), jnp.zeros(len(real), jnp.int32))
            params = jax.tree.map(lambda leaf: np.asarray(leaf)[None], self.params)
            settings = self.method.training(Execution())
            architecture = self.method.architecture(self.width)
            (found,) = predict(architecture, params, sequences, [here], settings=settings)
            for values, own in zip(frames, found, strict=True):
                values[here] = own
        reasons = [
            next((each[row] for item in self.method.inputs() if (each := batch.absent.get(item)) and each[row]), "")
            for row in range(len(real))
        ]
        return _scores(self.method, frames, real, reasons)

    def apply(self) -> Callable[..., tuple[Array, Array, Array]]:
        """See `Detector.apply`."""
        method, architecture = self.method, self.method.architecture(self.width)

        def score(params: Any, data: dict[Input, Any], mask: dict[Input, Any]) -> tuple[Array, Array, Array]:
            inputs, real = method.traced_sequences(data, mask)
            logits = tempered(architecture.apply(params, padded(inputs, real)), method.temperature)
            probabilities = bona_fide_probability(logits)
            frames = jnp.where(real, probabilities, 0)
            logit = traced_fuse_logits(logits[..., 1] - logits[..., 0], real, method.fusion)
            return traced_fuse(frames, real, method.fusion), frames, logit

        return score

    def steps(self) -> Steps | None:
        """See `Causal.steps`."""
        method, architecture = self.method, self.method.architecture(self.width)
        if not architecture.causal or method.fusion == "median":
            return None
        one = np.ones((1, 1), bool)

        def step(params: Any, carry: Any, data: Mapping[Input, Any]) -> tuple[Any, Array, Array, Array]:
            clip = {item: values[:, None] for item, values in data.items() if item in method.inputs()}
            inputs, _ = method.traced_sequences(clip, dict.fromkeys(clip, one))
            state, logits = architecture.step(params, carry["state"], inputs[:, 0])
            logits = tempered(logits, method.temperature)
            score, count = bona_fide_probability(logits), carry["count"] + 1
            fused = running(count, carry["score"], score, method.fusion)
            sides, logit = running_logit(count, carry["logit"], logits[..., 1] - logits[..., 0], method.fusion)
            return {"state": state, "count": count, "score": fused, "logit": sides}, fused, score, logit

        nothing = {"count": jnp.zeros(1), "score": jnp.zeros(1), "logit": jnp.zeros((2, 1))}
        return Steps({"state": architecture.start(), **nothing}, step)


def fit_heads(jobs: Sequence[Job], clips: Clips, desk: Desk) -> list[Detector | Failed]:
    """Trains all jobs; those that can share a program train side by side. See `Method.fit`."""
    groups: dict[HeadSettings, list[int]] = {}
    for place, job in enumerate(jobs):
        groups.setdefault(_shared(cast(HeadSettings, job.method)), []).append(place)
    found: list[Detector | Failed] = [Failed("not fitted")] * len(jobs)
    for number, places in enumerate(groups.values()):
        name = desk.name if len(groups) == 1 else f"{desk.name}-{number}"
        own = _fit_group([jobs[place] for place in places], clips, dataclasses.replace(desk, name=name))
        for place, each in zip(places, own, strict=True):
            found[place] = each
    return found


def _fit_group(jobs: Sequence[Job], clips: Clips, desk: Desk) -> list[Detector | Failed]:
    methods = [cast(HeadSettings, job.method) for job in jobs]
    first = methods[0]
    sequences = first.sequences(clips, [job.task.number for job in jobs], desk.execution)
    width, mask = int(sequences.features.shape[-1]), np.asarray(sequences.mask)
    architecture = first.architecture(width)
    parts = [(present(mask, job.task.train), present(mask, job.task.validation)) for job in jobs]
    runs = [
        Run(
            job.task.name,
            job.task.seed,
            *own,
            learning_rate=method.learning_rate,
            weight_decay=method.weight_decay,
            balance=method.balance,
            start=method.architecture(width),
            clips=fingerprint_of(clips, own),
        )
        for job, method, own in zip(jobs, methods, parts, strict=True)
    ]
    training = first.training(desk.execution)
    if desk.quiet:
        training = dataclasses.replace(training, events=False)
    chunks = train_in_chunks(
        desk.name,
        architecture,
        runs,
        sequences,
        training,
        folder=desk.folder,
        identity={"method": identity(_shared(first)), "data": desk.data},
        snapshots_of=[place for place, job in enumerate(jobs) if job.task.part == WHOLE],
        all_may_fail=desk.quiet or desk.part,
    )
    failed = np.concatenate([each["failed"] for each in chunks])
    failures = describe_failures([run.name for run in runs], failed)
    if failures and not desk.quiet:
        warnings.warn(f"{desk.name}: {failures}; nothing that depends on these runs is scored", stacklevel=2)
    found: list[Detector | Failed] = []
    for chunk in chunks:
        params = jax.tree.map(np.asarray, chunk["params"])
        for row, epoch in enumerate(np.asarray(chunk["failed"]).tolist()):
            own = jax.tree.map(lambda leaf, row=row: leaf[row], params)
            method = methods[len(found)]
            found.append(
                Failed(f"its loss was no longer finite in epoch {epoch}") if epoch else HeadDetector(method, width, own)
            )
    return found


def _shared(method: HeadSettings) -> HeadSettings:
    """The method without what may differ between the runs of a program."""
    same = type(method)()
    names = [name for name in (*method.side_by_side, "search") if hasattr(same, name)]
    return dataclasses.replace(method, **{name: getattr(same, name) for name in names})


def score_heads(
    detectors: Sequence[Detector], clips: Clips, rows: Sequence[Rows], tasks: Sequence[int], execution: Execution
) -> list[Scores]:
    """Scores of `rows[i]` by `detectors[i]`, side by side. See `Method.score_all`."""
    if not detectors:
        return []
    heads = [cast(HeadDetector, each) for each in detectors]
    groups: dict[HeadSettings, list[int]] = {}
    for place, head in enumerate(heads):
        groups.setdefault(_shared(head.method), []).append(place)
    found: dict[int, Scores] = {}
    for method, places in groups.items():
        sequences = method.sequences(clips, [tasks[place] for place in places], execution)
        mask = np.asarray(sequences.mask)
        here = [present(mask, rows[place]) for place in places]
        params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(heads[place].params for place in places))
        architecture = heads[places[0]].method.architecture(heads[places[0]].width)
        settings = method.training(execution)
        frames = predict(architecture, params, sequences, here, settings=settings) if len(mask) else None
        for number, place in enumerate(places):
            own = frames[number] if frames is not None else _unknown((0, mask.shape[1]))
            found[place] = _filled(heads[place].method, clips, rows[place], here[number], own, mask)
    return [found[place] for place in range(len(heads))]


def present(mask: Bool[np.ndarray, "n t"], rows: Rows) -> Rows:
    """Those of the clips that have frames."""
    filled = np.any(mask, axis=1)
    return rows[filled[rows]]


def _unknown(shape: tuple[int, ...]) -> Predicted:
    return Predicted(*(np.full(shape, np.nan, np.float32) for _ in Predicted._fields))


def _filled(method: HeadSettings, clips: Clips, rows: Rows, here: Rows, frames: Predicted, mask: Any) -> Scores:
    """Scores of all rows, of which those that are not `here` have no input."""
    if len(here) == len(rows):
        return _scores(method, frames, mask[rows])
    where = np.isin(rows, here)
    every = _unknown((len(rows), mask.shape[1]))
    for values, own in zip(every, frames, strict=True):
        values[where] = own
    why = [clips.absent(item, rows) for item in method.inputs()]
    reasons = [next((each for each in told if each), "") for told in zip(*why, strict=True)]
    return _scores(method, every, mask[rows], reasons)


def _scores(method: HeadSettings, frames: Predicted, mask: Any, reasons: Sequence[str] = ()) -> Scores:
    clip = fuse(frames.probabilities, mask, method.fusion)
    logit = np.where(np.isnan(clip), np.nan, fuse_logits(frames.logits, mask, method.fusion))
    told = list(reasons) or [""] * len(clip)
    for row in np.flatnonzero(np.isnan(clip)).tolist():
        told[row] = told[row] or "the score is not a finite number"
    return Scores(clip, frames.probabilities, told if any(told) else (), logit)
