"""Logistic regressions on a handful of numbers of a clip, which other methods have to beat.

A recurrent model that does not beat `mean-feature` has learned nothing of the order of frames. A good result of
`colour` or `metadata` says that the data give the label away by something that is not the face.
"""

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, Int

from fas_jax.base.declarations import how, what
from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.methods.base import (
    BLOCK,
    Batch,
    Clips,
    Desk,
    Detector,
    Failed,
    Input,
    Job,
    Method,
    Scores,
    Variants,
    vary,
)

if TYPE_CHECKING:
    from fas_jax.models.logistic import LogisticModel

_CODEC_COLUMNS = 16


@dataclass(frozen=True)
class LogisticSearch:
    """What a search draws for a logistic regression."""

    c: tuple[float, float] = how((1e-4, 1e2), above=0)
    """From and to; drawn evenly on a logarithmic scale."""


@dataclass(frozen=True)
class Logistic(Method):
    """A logistic regression on standardised numbers of a clip."""

    c: float = what(1.0, above=0)
    """scikit-learn's C: how little large weights cost."""
    rendition: str = what("whole")
    """Which rendition of the frames it reads: a name of [renditions.NAME]."""

    @abstractmethod
    def numbers(self, batch: Batch) -> Float[np.ndarray, "n d"]:
        """What it reads of the clips; NaN in a clip's row where its input is absent."""

    def traced(self) -> Callable[..., Any] | None:
        """See `Detector.apply`."""
        return None

    @classmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """See `Method.fit`; the settings of all jobs read the same inputs."""
        first = cast(Logistic, jobs[0].method)
        with _scratch(first, clips, desk.folder) as inputs:
            return [_fit(job, inputs, clips) for job in jobs]

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> "LogisticDetector":
        """See `Method.rebuild`."""
        if {name: np.ndim(values) for name, values in params.items()} != {
            "mean": 1,
            "scale": 1,
            "weights": 1,
            "bias": 0,
        }:
            raise UserError(f"the parameters of a {self.kind} are mean, scale, weights and bias, not {sorted(params)}")
        return LogisticDetector(self, params)


@dataclass(frozen=True)
class LogisticDetector:
    """A fitted logistic regression."""

    method: Logistic
    params: Any
    """`mean`, `scale`, `weights` float64 [d] and `bias`."""

    @property
    def about(self) -> dict[str, Any]:
        """See `Detector.about`."""
        return {}

    @property
    def model(self) -> "LogisticModel":
        """The regression itself."""
        from fas_jax.models.logistic import LogisticModel  # SciPy takes a while to import; --help need not

        mean, scale, weights = (self.params[name] for name in ("mean", "scale", "weights"))
        return LogisticModel(mean, scale, weights, float(self.params["bias"]))

    def score(self, batch: Batch) -> Scores:
        """See `Detector.score`."""
        (item,) = self.method.inputs()
        with np.errstate(invalid="ignore"):
            scores = self.model.scores(self.method.numbers(batch))
        absent = batch.absent.get(item, ())
        reasons = [
            "" if np.isfinite(score) else (absent[row] if len(absent) else "") or "the score is not a finite number"
            for row, score in enumerate(scores.tolist())
        ]
        scores = np.where(np.isfinite(scores), scores, np.nan)
        return Scores(scores, None, reasons if any(reasons) else ())

    def apply(self) -> Callable[..., Any] | None:
        """See `Detector.apply`."""
        return self.method.traced()


@dataclass(frozen=True)
class MeanFeature(Logistic):
    """On the mean of the frames' features: all that a clip says without the order of its frames."""

    kind = "mean-feature"

    search: LogisticSearch = how(LogisticSearch)
    """What scripts/search.py draws."""

    def inputs(self) -> Sequence[Input]:
        """The features of its rendition."""
        return (Input("features", self.rendition),)

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)

    def numbers(self, batch: Batch) -> Float[np.ndarray, "n d"]:
        """Means in float32, NaN for a clip without frames."""
        (item,) = self.inputs()
        features, real = np.asarray(batch.data[item]), batch.mask[item][..., None]
        with np.errstate(invalid="ignore"):
            return (np.where(real, features, 0).sum(1, dtype=np.float64) / real.sum(1)).astype(np.float32)

    def traced(self) -> Callable[..., Any]:
        """See `Detector.apply`."""
        (item,) = self.inputs()

        def score(params: Any, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Any, None]:
            import jax
            import jax.numpy as jnp

            real = mask[item][..., None]
            mean = jnp.where(real, data[item].astype(jnp.float32), 0).sum(1) / real.sum(1).astype(jnp.float32)
            named = {name: jnp.asarray(values, jnp.float32) for name, values in params.items()}
            standard = (mean - named["mean"][None]) / named["scale"][None]
            return jax.nn.sigmoid(jnp.dot(standard, named["weights"], precision="highest") + named["bias"]), None

        return score


@dataclass(frozen=True)
class Facts(Logistic):
    """On what decoding found of a clip."""

    def inputs(self) -> Sequence[Input]:
        """The facts of its rendition."""
        return (Input("facts", self.rendition),)


@dataclass(frozen=True)
class Colour(Facts):
    """On mean and standard deviation of the colour channels."""

    kind = "colour"

    def numbers(self, batch: Batch) -> Float[np.ndarray, "n 6"]:
        """R, G and B: means, then standard deviations."""
        (item,) = self.inputs()
        return np.array(
            [info.renditions[item.name].colour or (np.nan,) * 6 for info in batch.data[item]], np.float64
        ).reshape(-1, 6)


@dataclass(frozen=True)
class Metadata(Facts):
    """On what is known of the file without reading a pixel."""

    kind = "metadata"

    def numbers(self, batch: Batch) -> Float[np.ndarray, "n d"]:
        """Frames, rate, width, height, bytes, bytes a frame, codec."""
        (item,) = self.inputs()
        clips = batch.data[item]
        numbers = [(c.frame_count, c.fps, c.width, c.height, c.file_bytes, c.file_bytes / c.frame_count) for c in clips]
        # One of a fixed number of columns a codec, chosen by hash: no list of known codecs, and none depends on data.
        codecs = np.zeros((len(clips), _CODEC_COLUMNS))
        codecs[range(len(clips)), [int(fingerprint(c.codec), 16) % _CODEC_COLUMNS for c in clips]] = 1
        return np.concatenate([np.array(numbers, np.float64).reshape(-1, 6), codecs], axis=1)


def _fit(job: Job, inputs: "ScratchRows", clips: Clips) -> Detector | Failed:
    from fas_jax.models.logistic import fit_logistic

    method = cast(Logistic, job.method)
    (item,) = method.inputs()
    absent = np.array([bool(why) for why in clips.absent(item, job.task.train)], bool)
    train = job.task.train[~absent]
    model = fit_logistic(inputs.take(train), clips.labels[train], method.c)
    params = {"mean": model.mean, "scale": model.scale, "weights": model.weights, "bias": np.float64(model.bias)}
    return LogisticDetector(method, params)


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
def _scratch(method: Logistic, clips: Clips, folder: Path | None) -> Iterator[ScratchRows]:
    """The method's numbers of all clips, in a file without a name in `folder`, which ends with the block."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        width, dtype, count = 0, np.dtype(np.float64), len(clips.videos)
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(start + BLOCK, count))
            numbers = method.numbers(clips.read(rows, method.inputs()))
            width, dtype = numbers.shape[1], numbers.dtype
            file.write(np.ascontiguousarray(numbers).data)
        file.flush()
        yield ScratchRows(file, dtype, width, np.arange(count))
