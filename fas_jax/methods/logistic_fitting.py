"""Fits logistic regressions and scores clips with them."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Int

from fas_jax.methods.base import Desk, Detector, Failed, Job
from fas_jax.methods.data import Batch, Clips, Scores
from fas_jax.methods.fusion import running
from fas_jax.methods.inputs import Input
from fas_jax.methods.logistic_settings import LogisticSettings
from fas_jax.methods.steps import Steps
from fas_jax.models.logistic import LogisticModel, fit_logistic


@dataclass(frozen=True)
class LogisticDetector:
    """A fitted logistic regression."""

    method: LogisticSettings
    params: Any
    """`mean`, `scale`, `weights` float64 [d] and `bias`."""

    @property
    def about(self) -> dict[str, Any]:
        """See `Detector.about`."""
        return {}

    @property
    def model(self) -> LogisticModel:
        """The regression itself."""
        mean, scale, weights = (self.params[name] for name in ("mean", "scale", "weights"))
        return LogisticModel(mean, scale, weights, float(self.params["bias"]))

    def score(self, batch: Batch) -> Scores:
        """See `Detector.score`."""
        (item,) = self.method.inputs()
        numbers = self.method.numbers(batch)
        with np.errstate(invalid="ignore"):
            scores, logits = self.model.scores(numbers), self.model.logits(numbers)
        absent = batch.absent.get(item, ())
        reasons = [
            "" if np.isfinite(score) else (absent[row] if len(absent) else "") or "the score is not a finite number"
            for row, score in enumerate(scores.tolist())
        ]
        scores, logits = (np.where(np.isfinite(scores), values, np.nan) for values in (scores, logits))
        return Scores(scores, None, reasons if any(reasons) else (), logits)

    def apply(self) -> Callable[..., Any] | None:
        """See `Detector.apply`."""
        return self.method.traced()

    def steps(self) -> Steps | None:
        """See `Causal.steps`: of a method on the mean of features, the running mean."""
        (item,) = self.method.inputs()
        score = self.apply()
        if score is None or item.kind != "features":
            return None

        def step(params: Any, carry: Any, data: Mapping[Input, Any]) -> tuple[Any, Any, None, Any]:
            count = carry["count"] + 1
            mean = running(count[:, None], carry["mean"], data[item], "mean")
            # Of a clip with one frame, which is the mean.
            clip, _, *known = score(params, {item: mean[:, None]}, {item: np.ones((1, 1), bool)})
            return {"count": count, "mean": mean}, clip, None, known[0] if known else None

        width = len(self.params["mean"])
        return Steps({"count": np.zeros((1,), np.float32), "mean": np.zeros((1, width), np.float32)}, step)


@dataclass(frozen=True)
class ScratchRows:
    """Some rows of a matrix in a file; see `Inputs`."""

    file: Any
    dtype: np.dtype
    width: int
    rows: Int[np.ndarray, " n"]

    @property
    def shape(self) -> tuple[int, int]:
        """[n d]."""
        return len(self.rows), self.width

    def __getitem__(self, part: slice, /) -> np.ndarray:
        # Mapped for this read only, or all that was ever read would count as this process's memory.
        whole = np.memmap(self.file, self.dtype, "r").reshape(-1, self.width)
        return np.array(whole[self.rows[part]])

    def take(self, rows: Int[np.ndarray, " m"]) -> "ScratchRows":
        """Some of these rows."""
        return ScratchRows(self.file, self.dtype, self.width, self.rows[rows])


@contextmanager
def _scratch(method: LogisticSettings, clips: Clips, folder: Path | None) -> Iterator[ScratchRows]:
    """The method's numbers of all clips, in a file without a name in `folder`, which ends with the block."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        width, dtype, count = 0, np.dtype(np.float64), len(clips.videos)
        for start in range(0, count, method.block):
            rows = np.arange(start, min(start + method.block, count))
            numbers = method.numbers(clips.read(rows, method.inputs()))
            width, dtype = numbers.shape[1], numbers.dtype
            file.write(np.ascontiguousarray(numbers).data)
        file.flush()
        yield ScratchRows(file, dtype, width, np.arange(count))


def fit_logistics(jobs: Sequence[Job], clips: Clips, desk: Desk) -> list[Detector | Failed]:
    """See `Method.fit`; the settings of all jobs read the same inputs."""
    first = cast(LogisticSettings, jobs[0].method)
    with _scratch(first, clips, desk.folder) as inputs:
        return [_fit(job, inputs, clips) for job in jobs]


def _fit(job: Job, inputs: ScratchRows, clips: Clips) -> Detector | Failed:
    method = cast(LogisticSettings, job.method)
    (item,) = method.inputs()
    absent = np.array([bool(why) for why in clips.absent(item, job.task.train)], bool)
    train = job.task.train[~absent]
    model = fit_logistic(inputs.take(train), clips.labels[train], method.c)
    params = {"mean": model.mean, "scale": model.scale, "weights": model.weights, "bias": np.float64(model.bias)}
    return LogisticDetector(method, params)
