"""Logistic regressions on a handful of numbers of a clip, which other methods have to beat.

A recurrent model that does not beat `mean-feature` has learned nothing of the order of frames. A good result of
`colour` or `metadata` says that the data give the label away by something that is not the face.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fas_jax.base.declarations import how
from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.methods.base import Desk, Detector, Failed, Job, Variants, vary
from fas_jax.methods.inputs import Input
from fas_jax.methods.logistic_settings import LogisticSettings

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from fas_jax.methods.data import Batch, Clips

_CODEC_COLUMNS = 16


@dataclass(frozen=True)
class LogisticSearch:
    """What a search draws for a logistic regression."""

    c: tuple[float, float] = how((1e-4, 1e2), above=0)
    """From and to; drawn evenly on a logarithmic scale."""


@dataclass(frozen=True)
class Logistic(LogisticSettings):
    """A logistic regression on standardised numbers of a clip."""

    @classmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """See `Method.fit`; the settings of all jobs read the same inputs."""
        from fas_jax.methods.logistic_fitting import fit_logistics

        return fit_logistics(jobs, clips, desk)

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> Detector:
        """See `Method.rebuild`."""
        import numpy as np

        from fas_jax.methods.logistic_fitting import LogisticDetector

        if {name: np.ndim(values) for name, values in params.items()} != {
            "mean": 1,
            "scale": 1,
            "weights": 1,
            "bias": 0,
        }:
            raise UserError(f"the parameters of a {self.kind} are mean, scale, weights and bias, not {sorted(params)}")
        return LogisticDetector(self, params)


@dataclass(frozen=True)
class MeanFeature(Logistic):
    """On the mean of the frames' features: all that a clip says without the order of its frames."""

    kind = "mean-feature"

    search: LogisticSearch = how(LogisticSearch)
    """What fas-jax search draws."""

    def inputs(self) -> Sequence[Input]:
        """The features of its rendition."""
        return (Input("features", self.rendition),)

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)

    def numbers(self, batch: Batch) -> Float[np.ndarray, "n d"]:
        """Means in float32, NaN for a clip without frames."""
        import numpy as np

        (item,) = self.inputs()
        features, real = np.asarray(batch.data[item]), batch.mask[item][..., None]
        with np.errstate(invalid="ignore"):
            return (np.where(real, features, 0).sum(1, dtype=np.float64) / real.sum(1)).astype(np.float32)

    def traced(self) -> Callable[..., Any]:
        """See `Detector.apply`."""
        (item,) = self.inputs()

        def score(params: Any, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Any, None, Any]:
            import jax
            import jax.numpy as jnp

            real = mask[item][..., None]
            mean = jnp.where(real, data[item].astype(jnp.float32), 0).sum(1) / real.sum(1).astype(jnp.float32)
            named = {name: jnp.asarray(values, jnp.float32) for name, values in params.items()}
            standard = (mean - named["mean"][None]) / named["scale"][None]
            logit = jnp.dot(standard, named["weights"], precision="highest") + named["bias"]
            return jax.nn.sigmoid(logit), None, logit

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
        import numpy as np

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
        import numpy as np

        (item,) = self.inputs()
        clips = batch.data[item]
        numbers = [(c.frame_count, c.fps, c.width, c.height, c.file_bytes, c.file_bytes / c.frame_count) for c in clips]
        # One of a fixed number of columns a codec, chosen by hash: no list of known codecs, and none depends on data.
        codecs = np.zeros((len(clips), _CODEC_COLUMNS))
        codecs[range(len(clips)), [int(fingerprint(c.codec), 16) % _CODEC_COLUMNS for c in clips]] = 1
        return np.concatenate([np.array(numbers, np.float64).reshape(-1, 6), codecs], axis=1)
