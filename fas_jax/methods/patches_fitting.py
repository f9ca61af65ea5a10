"""Fits each patch network on its tiles, routes faces to networks, and pools tiles to frames and clips."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo
from fas_jax.methods.base import Desk, Detector, Failed, Job
from fas_jax.methods.data import Batch, Clips, Rows, Scores, Task
from fas_jax.methods.frame_jobs import sampler_of, tell_failures
from fas_jax.methods.frame_training import FrameDetector, fit_networks, fused
from fas_jax.methods.inputs import Input
from fas_jax.methods.patches_settings import PatchesSettings, TileNetwork


def face_sizes(info: ClipInfo, rendition: str) -> Float[np.ndarray, " t"]:
    """The longer side of the face's box in native pixels at every tile of a clip; NaN where no face was found.

    For a rendition of whole frames, it is the frame's shorter side.
    """
    made = info.renditions[rendition]
    if not made.boxes:
        return np.full(len(made.frame_indices), float(min(info.width, info.height)))
    sides = np.reshape(made.boxes, (-1, 4))[:, 2:].max(1)
    return np.where(sides > 0, sides, np.nan)


def route(sizes: Float[np.ndarray, "*n"], method: PatchesSettings) -> dict[str, Bool[np.ndarray, "*n"]]:
    """Which faces of these sizes in pixels each network reads, by its name; none where a size is NaN."""
    return {name: (sizes >= least) & (sizes <= most) for name, (least, most) in method.reads().items()}


@dataclass(frozen=True)
class PatchesDetector:
    """Two trained networks with their router, or one, and why there is no other."""

    method: PatchesSettings
    parts: Mapping[str, FrameDetector | str]
    """By `low` and `high`: the network, or why it was not trained."""

    @property
    def params(self) -> dict[str, Any]:
        """Those of the networks that were trained, by name."""
        return {name: each.params for name, each in self.parts.items() if not isinstance(each, str)}

    @property
    def about(self) -> dict[str, Any]:
        """By name, what a trained network has to know, or why it was not trained."""
        return {name: each if isinstance(each, str) else each.about for name, each in self.parts.items()}

    def tile_logits(self, batch: Batch) -> dict[str, Float[np.ndarray, "n t"]]:
        """Log odds of bona fide at every tile by the networks that were trained; NaN where one does not read it."""
        tiles, _ = self.method.inputs()
        sizes, _ = self._of_tiles(batch)
        routes = route(sizes, self.method)
        return {
            name: each.logits(batch.data[tiles], routes[name] & batch.mask[tiles])
            for name, each in self.parts.items()
            if not isinstance(each, str)
        }

    def score(self, batch: Batch) -> Scores:
        """See `Detector.score`."""
        tiles, _ = self.method.inputs()
        sizes, indices = self._of_tiles(batch)
        by_tile = self.tile_logits(batch)
        clip, reasons = np.full(len(indices), np.nan), [""] * len(indices)
        absent = batch.absent.get(tiles) or reasons
        for row in range(len(indices)):
            found = [
                pool_frames(logits[row], indices[row], self.method.pooling, self.method.quantile)
                for logits in by_tile.values()
            ]
            # A frame without a tile that one network reads has NaN of it; the other one's then stands alone.
            every = np.stack(found) if found else np.zeros((0, 0))
            read = ~np.isnan(every)
            answered = read.any(0)
            if answered.any():
                frames = np.where(read, every, 0).sum(0)[answered] / read.sum(0)[answered]
                clip[row] = fused(frames[None], np.ones((1, len(frames)), bool), self.method.fusion)[0]
            if not np.isfinite(clip[row]):
                clip[row] = np.nan
                reasons[row] = absent[row] or self._lack(sizes[row][batch.mask[tiles][row]])
        return Scores(clip, None, reasons if any(reasons) else ())

    def apply(self) -> None:
        """It reads what decoding finds of a file, the face's size, and cannot be exported."""

    def flops(self, batch: Batch) -> float:
        """See `Counted.flops`: of every tile by each network that reads it."""
        tiles, _ = self.method.inputs()
        sizes, _ = self._of_tiles(batch)
        routes = route(sizes, self.method)
        shape = batch.data[tiles].shape[2:]
        return sum(
            float((routes[name] & batch.mask[tiles]).sum()) * each.frame_flops(shape)
            for name, each in self.parts.items()
            if not isinstance(each, str)
        )

    def _of_tiles(self, batch: Batch) -> tuple[Float[np.ndarray, "n t"], Int[np.ndarray, "n t"]]:
        """The size of its face in pixels and the number of its frame in the video, for every tile."""
        tiles, facts = self.method.inputs()
        shape = np.shape(batch.mask[tiles])
        sizes, indices = np.full(shape, np.nan), np.full(shape, -1)
        for row, info in enumerate(batch.data[facts]):
            if (made := info.renditions.get(facts.name)) and (count := len(made.frame_indices)):
                sizes[row, :count] = face_sizes(info, facts.name)
                indices[row, :count] = made.frame_indices
        return sizes, indices

    def _lack(self, sizes: Float[np.ndarray, " k"]) -> str:
        """Why a clip with faces of these sizes has no score."""
        known = sizes[~np.isnan(sizes)]
        if not len(known):
            return "no face was found in its frames, so that no network could be chosen by its size"
        largest = f"its largest face has {known.max():.0f} pixels"
        if known.max() < self.method.low_from:
            return f"{largest}, and patches read faces from {self.method.low_from}"
        names = [name for name, own in route(known, self.method).items() if own.any()]
        if untrained := [f"{name} ({each})" for name in names if isinstance(each := self.parts[name], str)]:
            return f"{largest}; the networks for this size were not trained: {'; '.join(untrained)}"
        return "the score is not a finite number"


def pool_frames(
    logits: Float[np.ndarray, " t"], indices: Int[np.ndarray, " t"], pooling: Literal["mean", "quantile"], at: float
) -> Float[np.ndarray, " f"]:
    """Logits of a clip's frames from those of their tiles.

    Args:
        logits: Of the tiles; NaN where a tile does not count.
        indices: The number of each tile's frame; -1 where there is no tile.
        pooling: Whether a frame has the mean of its tiles, or a quantile.
        at: Which quantile, 0 to 1.

    Returns:
        Of every frame in order; NaN for one without a tile that counts.
    """
    found = []
    for index in np.unique(indices[indices >= 0]):
        own = logits[indices == index]
        own = own[~np.isnan(own)]
        found.append(np.nan if not len(own) else np.mean(own) if pooling == "mean" else np.quantile(own, at))
    return np.array(found, float)


@dataclass(frozen=True, eq=False)
class RoutedClips:
    """Clips with those tiles that a network reads, as if there were no others."""

    clips: Clips
    method: PatchesSettings
    name: str
    """Of the network."""
    _known: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """See `Clips`."""
        return self.clips.labels

    @property
    def videos(self) -> Any:
        """See `Clips`."""
        return self.clips.videos

    def frames(self, rendition: str) -> Any:
        """See `Clips.frames`."""
        return self.clips.frames(rendition).only(self._read(rendition))

    def mask(self, item: Input) -> Bool[np.ndarray, "n t"]:
        """See `Clips.mask`."""
        kept = self._read(item.name)
        return np.arange(kept.shape[1]) < kept.sum(1)[:, None]

    def read(self, rows: Rows, inputs: Sequence[Input], task: int = 0) -> Batch:
        """See `Clips.read`; of tiles alone."""
        stored = {item: self.frames(item.name) for item in inputs}
        return Batch({item: each[rows] for item, each in stored.items()}, {i: e.mask[rows] for i, e in stored.items()})

    def absent(self, item: Input, rows: Rows | None = None) -> Sequence[str]:
        """See `Clips.absent`."""
        return self.clips.absent(item, rows)

    def features(self, rendition: str) -> tuple[Any, Bool[np.ndarray, "n t"]]:
        """See `Clips.features`."""
        return self.clips.features(rendition)

    def facts(self, rendition: str) -> Sequence[Any]:
        """See `Clips.facts`."""
        return self.clips.facts(rendition)

    def sequences(self, rendition: str, resident_mb: int = 0) -> Any:
        """See `Clips.sequences`."""
        return self.clips.sequences(rendition, resident_mb)

    def scores(self, method: str) -> Any:
        """See `Clips.scores`."""
        return self.clips.scores(method)

    def _read(self, rendition: str) -> Bool[np.ndarray, "n t"]:
        """The tiles that the network reads."""
        if rendition not in self._known:
            real: np.ndarray = self.clips.mask(Input("frames", rendition))
            found = np.zeros(real.shape, bool)
            # One slice, because a file's header is read once a call.
            for row, info in enumerate(self.clips.facts(rendition)[: len(real)]):
                if real[row].any():
                    own = route(face_sizes(info, rendition), self.method)[self.name]
                    found[row, : len(own)] = own
            self._known[rendition] = found
        return self._known[rendition]


def fit_patches(jobs: Sequence[Job], clips: Clips, desk: Desk) -> list[Detector | Failed]:
    """Trains the two networks of each job, as far as there are sources for them. See `Method.fit`."""
    found: list[Detector | Failed] = [_fit(cast(PatchesSettings, job.method), job.task, clips, desk) for job in jobs]
    tell_failures(jobs, found, desk, "the settings low_from, low_to and high_from say which faces a network reads")
    return found


def _fit(method: PatchesSettings, task: Task, clips: Clips, desk: Desk) -> PatchesDetector | Failed:
    parts: dict[str, FrameDetector | str] = {}
    for name, network in method.networks().items():
        # Failures are told for both networks together.
        own = dataclasses.replace(desk, name=f"{desk.name}-{name}", of=desk.of or desk.name, part=True)
        found = _fit_network(network, task, RoutedClips(clips, method, name), own)
        if isinstance(found, Failed):
            return Failed(f"{name} network: {found.reason}")
        parts[name] = found
    if all(isinstance(each, str) for each in parts.values()):
        return Failed("; ".join(f"no {name} network: {each}" for name, each in parts.items()))
    return PatchesDetector(method, parts)


def _fit_network(network: TileNetwork, task: Task, clips: RoutedClips, desk: Desk) -> FrameDetector | str | Failed:
    """A network, or why no clips train it."""
    try:
        sampler_of(network, clips, task, desk.name)
    except UserError as error:
        return str(error)
    (found,) = fit_networks([Job(network, task)], clips, desk)
    return found if isinstance(found, Failed) else cast(FrameDetector, found)
