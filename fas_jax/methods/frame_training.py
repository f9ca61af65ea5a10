"""Fitting of networks on frames, one after the other, and scoring with them."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, Shaped, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, plain_name
from fas_jax.base.logits import sigmoid
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.methods.base import Desk, Detector, Failed, Job, identity, score_in_blocks
from fas_jax.methods.data import Batch, Clips, Rows, Scores, fingerprint_of
from fas_jax.methods.frame_jobs import clips_with_frames, sampler_of, tell_failures
from fas_jax.methods.frame_settings import FrameSettings, Made
from fas_jax.methods.frame_weights import begin_with, weights_sha256
from fas_jax.methods.fusion import running, traced_fuse_logits
from fas_jax.methods.inputs import Input
from fas_jax.methods.steps import Steps
from fas_jax.models.trainable import Trainable
from fas_jax.runtime import devices
from fas_jax.runtime.flops import flops_of
from fas_jax.training.batches import FrameBatches, codes_of
from fas_jax.training.checkpoints import Checkpoints, describe_differences
from fas_jax.training.events import EventFiles
from fas_jax.training.freezing import Frozen
from fas_jax.training.networks import train_network
from fas_jax.training.objectives import Objective
from fas_jax.training.stopping import Validated
from fas_jax.training.taking import Take

# Raised when the same settings, data and weights train to other parameters.
VERSION = 2


@dataclass(frozen=True)
class FrameDetector:
    """A trained network."""

    method: FrameSettings
    params: Any
    """`backbone`, `head`, and the running statistics `stats`."""
    made: Made

    @property
    def objective(self) -> Objective:
        """The network with its loss."""
        return objective_for(self.method, self.made.domains)

    @property
    def about(self) -> dict[str, Any]:
        """See `Detector.about`."""
        return self.made._asdict()

    def score(self, batch: Batch) -> Scores:
        """See `Detector.score`."""
        (item,) = self.method.inputs()
        real = batch.mask[item]
        logits = self.logits(batch.data[item], real)
        clip = fused(logits, np.asarray(self.counts(real)), self.method.fusion)
        absent = batch.absent.get(item) or [""] * len(clip)
        reasons = [
            "" if np.isfinite(score) else why or self.lack(count) or "the score is not a finite number"
            for score, why, count in zip(clip.tolist(), absent, real.sum(1).tolist(), strict=True)
        ]
        return Scores(clip, sigmoid(logits).astype(np.float32), reasons if any(reasons) else ())

    def logits(self, frames: UInt8[Any, "n t h w 3"], real: Bool[np.ndarray, "n t"]) -> Float[np.ndarray, "n t"]:
        """Log odds of bona fide at every real frame, float64; NaN elsewhere."""
        return frame_logits(self.objective, self.params, frames, real, self.method.score_frames)

    def frame_flops(self, shape: tuple[int, ...]) -> float:
        """FLOPs of one frame of this height, width and 3 channels, as XLA counts them."""
        frames = jax.ShapeDtypeStruct((1, *shape), np.uint8)
        return flops_of(self.objective.log_odds, self.params, self.params["stats"], frames)

    def counts(self, real: Bool[Array | np.ndarray, "n t"]) -> Bool[Array | np.ndarray, "n t"]:
        """Which frames count in a clip's score; traceable."""
        return real

    def lack(self, count: int) -> str:
        """Why a clip of so many frames has no score; empty where it may have one."""
        return ""

    def traced_logits(
        self, params: Any, frames: Num[Array, "n t h w 3"], real: Bool[Array, "n t"]
    ) -> Float[Array, "n t"]:
        """As `logits`, traceable; values at padded frames mean nothing."""
        flat = frames.reshape(frames.shape[0] * frames.shape[1], *frames.shape[2:])
        return self.objective.log_odds(params, params["stats"], flat).reshape(real.shape)

    def apply(self) -> Callable[..., tuple[Array, Array]]:
        """See `Detector.apply`."""
        method = self.method
        (item,) = method.inputs()

        def score(params: Any, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Array, Array]:
            real = mask[item]
            logits, counts = self.traced_logits(params, data[item], real), self.counts(real)
            values = logits if method.fusion == "mean-logit" else jax.nn.sigmoid(logits)
            mean = jnp.sum(jnp.where(counts, values, 0), 1) / jnp.sum(counts, 1).astype(jnp.float32)
            clip = jax.nn.sigmoid(mean) if method.fusion == "mean-logit" else mean
            return clip, jnp.where(real, jax.nn.sigmoid(logits), 0)

        return score

    def log_odds(self) -> Callable[..., Array]:
        """See `Differentiable.log_odds`; in float32 whatever the network is trained and scores in."""
        method = dataclasses.replace(self.method, precision="float32")
        exact, (item,) = dataclasses.replace(self, method=method), method.inputs()

        def log_odds(params: Any, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> Array:
            real = mask[item]
            logits, counts = exact.traced_logits(params, data[item], real), exact.counts(real)
            return traced_fuse_logits(logits, counts, "mean" if method.fusion == "mean" else "mean-logit")

        return log_odds

    def steps(self) -> Steps | None:
        """See `Causal.steps`: None for networks that read sequences."""
        method = self.method
        if method.sequences:
            return None
        (item,) = method.inputs()

        def step(params: Any, carry: Any, data: Mapping[Input, Any]) -> tuple[Any, Array, Array, None]:
            logit = self.objective.log_odds(params, params["stats"], data[item])
            value = logit if method.fusion == "mean-logit" else jax.nn.sigmoid(logit)
            count = carry["count"] + 1
            fused = running(count, carry["fused"], value, "mean")
            clip = jax.nn.sigmoid(fused) if method.fusion == "mean-logit" else fused
            return {"count": count, "fused": fused}, clip, jax.nn.sigmoid(logit), None

        return Steps({"count": jnp.zeros(1), "fused": jnp.zeros(1)}, step)


def objective_for(method: FrameSettings, domains: int) -> Objective:
    """A method's objective for training clips of so many datasets."""
    return dataclasses.replace(method.objective(), domains=domains)


def frame_logits(
    objective: Objective, params: Any, frames: UInt8[Any, "n t h w 3"], real: Bool[np.ndarray, "n t"], size: int
) -> Float[np.ndarray, "n t"]:
    """Log odds of bona fide at every real frame, float64; NaN elsewhere.

    Every program has the same batch, the last one padded, and no frame's logit depends on another frame: a score
    depends neither on the clips beside it nor on padding.
    """
    found = np.full(real.shape, np.nan)
    if real.any():
        program = _scorer(objective)
        found[real] = by_frame(
            lambda part: program(params, part), size, real, lambda places: (frames[tuple(places.T)],)
        )
    return found


def by_frame(
    program: Callable[..., Array],
    size: int,
    real: Bool[np.ndarray, "n t"],
    of: Callable[[np.ndarray], tuple[np.ndarray, ...]],
) -> Shaped[np.ndarray, "..."]:
    """What a program makes of all real frames, of which there is at least one, one behind the other.

    Args:
        program: Takes arrays of `size` rows, of which the last may be zero, and gives such an array.
        size: Frames at a time.
        real: Where there are frames.
        of: From places [k 2], clip and frame, to the program's arguments for these.
    """
    places = np.argwhere(real)
    found = []
    for start in range(0, len(places), size):
        own = places[start : start + size]
        parts = (np.pad(each, ((0, size - len(own)), *((0, 0),) * (each.ndim - 1))) for each in of(own))
        found.append(np.asarray(program(*parts))[: len(own)])
    return np.concatenate(found)


def fused(logits: Float[np.ndarray, "n t"], real: Bool[np.ndarray, "n t"], fusion: str) -> Float[np.ndarray, " n"]:
    """Clips' scores from their frames' logits, float64; NaN for a clip without frames, or with a logit that is NaN."""
    values = logits if fusion == "mean-logit" else sigmoid(logits)
    with np.errstate(invalid="ignore"):
        mean = np.where(real, values, 0).sum(1) / real.sum(1)
    return sigmoid(mean) if fusion == "mean-logit" else mean


def initial(objective: Objective, backbone: Any, stats: Any, seed: int) -> dict[str, Any]:
    """Parameters and statistics to begin with, as a detector holds them."""
    return {"backbone": backbone, "head": objective.head(seed), "stats": stats}


def fit_networks(jobs: Sequence[Job], clips: Clips, desk: Desk) -> list[Detector | Failed]:
    """Trains a network for each job; what is finished is read from the desk's folder. See `Method.fit`."""
    found = [_fit(job, clips, desk) for job in jobs]
    tell_failures(jobs, found, desk, "lower its learning_rate")
    return found


def _fit(job: Job, clips: Clips, desk: Desk) -> Detector | Failed:
    method, task = cast(FrameSettings, job.method), job.task
    (item,) = method.inputs()
    train, validation, rendered = clips_with_frames(method, clips, task)
    seen = np.concatenate([train, rendered])
    domains = len(np.unique(np.asarray(clips.videos.dataset)[seen]))
    objective = objective_for(method, domains)
    sha256 = weights_sha256(objective.network, method.weights)
    name = f"{plain_name(desk.name)}-{fingerprint(task.name)[:12]}"
    parts = (train, validation, *([rendered] if len(rendered) else ()))
    about = {
        "model": desk.name,
        "runs": [{"name": task.name, "seed": task.seed, "clips": fingerprint_of(clips, parts)}],
        "method": identity(method),
        "network": [objective.network.name, objective.network.version],
        "weights": sha256,
        "loop": VERSION,
        "data": desk.data,
    }
    path = desk.folder / "models" / f"{name}.safetensors" if desk.folder else None
    if path and path.exists():
        tree, known = load_tree(path)
        if differences := describe_differences(known, about):
            raise UserError(
                f"{path} was trained with other settings ({'; '.join(differences)}); choose another --name, or remove "
                "the run's folder"
            )
        return _detector(method, tree, sha256, domains)
    title = f"{desk.name}, {task.name}"
    sampler = sampler_of(method, clips, task, title)
    frames, *further = (clips.frames(each.name) for each in (item, *method.training_inputs()))
    take = Take.parse(method.take, title)
    for each in (frames, *further):
        take.length(each.burst, title)
    codes = codes_of(clips.videos, seen)
    batches = FrameBatches(frames, sampler, method.augment, task.seed, codes, take, objective.views, tuple(further))
    made = Made(sha256, domains, frames.burst)
    # Only here, because a finished training needs no weights to begin with.
    start = initial(objective, *begin_with(objective.network, method, task.seed), task.seed)
    unfinished = desk.folder / "checkpoints" / name if desk.folder else None
    rate = {"method": desk.of or desk.name, "devices": devices.describe()}
    curves = desk.folder if desk.execution.events and devices.is_first() and not desk.quiet else None
    with EventFiles(curves / "events", desk.name, [task.name], rate) if curves else nullcontext() as watch:
        found = train_network(
            objective,
            {part: start[part] for part in ("backbone", "head")},
            start["stats"],
            batches,
            partial(_validated, method, clips, validation, made),
            method,
            desk.execution,
            task.seed,
            Checkpoints(unfinished, about) if unfinished else None,
            title=title,
            watch=watch,
            frozen=_frozen(objective.network, method),
        )
    tree = {
        "params": {**found.params, "stats": found.stats},
        "burst": np.array([frames.burst], np.int32),
        "best_epoch": np.array([found.best_step], np.int32),
        "failed": np.array([found.failed], np.int32),
        "history": found.history,
    }
    if path and unfinished:
        if devices.is_first():
            save_tree(path, tree, about)
            shutil.rmtree(unfinished)
        devices.wait_for_all(str(path))
    return _detector(method, tree, sha256, domains)


def _frozen(network: Trainable, method: FrameSettings) -> Frozen:
    params, stats = network.held(method.freeze)
    return Frozen(frozenset(("backbone", *path) for path in params), stats)


def _detector(method: FrameSettings, tree: Mapping[str, Any], sha256: str, domains: int) -> Detector | Failed:
    if failed := int(tree["failed"][0]):
        return Failed(f"its loss or gradient was no longer finite in step {failed}")
    burst = int(tree.get("burst", (1,))[0])
    params = {"stats": {}, **tree["params"]}  # of a network without any, files hold none
    return method.detector(jax.tree.map(np.asarray, params), Made(sha256, domains, burst))


def _validated(method: FrameSettings, clips: Clips, rows: Rows, made: Made, params: Any, stats: Any) -> Validated:
    """What the validation clips say: cross-entropy of clips' scores, both classes counting the same, or the EER.

    Several processes share the clips, and all judge by the same scores.
    """
    detector = method.detector({**params, "stats": stats}, made)
    labels = clips.labels[rows]
    values = devices.shared(len(rows), lambda own: score_in_blocks(detector, clips, rows[own]).clip)
    odds = np.clip(np.where(labels == 1, values, 1 - values), 1e-7, 1)
    of_class = [labels == label for label in (0, 1)]
    losses = [-np.log(odds[own]).mean() for own in of_class]
    right = np.array([[((values >= 0.5) == (labels == 1))[own].sum()] for own in of_class])
    count = np.array([[own.sum()] for own in of_class])
    loss = np.array([equal_error(values, labels) if method.monitor == "eer" else np.mean(losses)], np.float32)
    return Validated(np.full(1, np.nan, np.float32), loss, right, count, count[::-1])


def equal_error(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """(FAR + FRR) / 2 at the score as a threshold where these differ least; NaN where a score is."""
    if not np.isfinite(scores).all():
        return np.nan
    attacks, bona_fide = (np.sort(scores[labels == label]) for label in (0, 1))
    # Between the classes' ends the rates cross: one above all scores accepts nothing.
    thresholds = np.append(np.unique(scores), np.inf)
    accepted = 1 - np.searchsorted(attacks, thresholds) / len(attacks)
    rejected = np.searchsorted(bona_fide, thresholds) / len(bona_fide)
    best = np.argmin(np.abs(accepted - rejected))
    return float(accepted[best] + rejected[best]) / 2


@lru_cache
def _scorer(objective: Objective) -> Callable[..., Array]:
    return jax.jit(lambda params, frames: objective.log_odds(params, params["stats"], frames))
