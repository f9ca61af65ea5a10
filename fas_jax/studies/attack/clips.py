"""The clips that are perturbed: test videos of a run, or videos that a bundle judges."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain as one_after_the_other
from itertools import zip_longest
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.errors import UserError
from fas_jax.datasets.layouts import scan
from fas_jax.datasets.manifest import read_manifest
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.chain import Chain
from fas_jax.deployment.given_frames import Frames
from fas_jax.deployment.verdict import Verdict
from fas_jax.pixels.selection import middles
from fas_jax.studies.attack.bench import Clip
from fas_jax.studies.run_pixels import RunPixels


def clips_of_run(opened: RunPixels, seed: int = 0) -> Iterator[Clip]:
    """The test videos, attacks and bona fide ones by turns, otherwise in an order of chance."""
    for row in _by_turns(opened.table.label, seed):
        yield Clip(str(opened.table.video[row]), bool(opened.table.label[row]), opened.frames(row))


def clips_of_videos(bundle: Bundle, chain: Chain, videos: Path, seed: int = 0) -> Iterator[Clip]:
    """Test videos of a manifest or of a dataset's folder, of all splits where none is for tests; in such an order.

    Videos are decoded as they are asked for.

    Raises:
        UserError: As `read_manifest`, `scan` and `Bundle.judge`.
    """
    listings = [scan(videos)] if Path(videos).is_dir() else list(read_manifest(videos))
    listed = [(listing.root / video.path, video) for listing in listings for video in listing.videos]
    wanted = [each for each in listed if each[1].split == "test"] or listed
    for number in _by_turns(np.array([video.label for _, video in wanted]), seed):
        path, video = wanted[number]
        frames = _kept_frames(bundle, chain, path)
        if len(frames):
            yield Clip(str(video.path), bool(video.label), frames)


def _kept_frames(bundle: Bundle, chain: Chain, path: Path) -> UInt8[np.ndarray, "t h w 3"]:
    """Those of the chain's rendition; none of a file that cannot be decoded."""
    size = chain.settings.size
    found = [np.zeros((0, size, size, 3), np.uint8)]

    def seen(_: Verdict, frames: Mapping[str, Frames]) -> None:
        found.append(np.asarray(frames[chain.rendition]))

    for _ in bundle.judge([path], chain.name, seen):
        pass
    return found[-1]


def thinned(clips: Iterable[Clip], chain: Chain, frames: int) -> Iterator[Clip]:
    """The clips with at most so many frames each, spread evenly; with all of them for 0.

    Raises:
        UserError: The clips are bursts, of which no frame can be left out.
    """
    if frames and chain.settings.burst > 1:
        raise UserError(f"{chain.name} reads bursts, of which no frame can be left out; leave --frames away")
    for clip in clips:
        count = len(clip.frames)
        yield clip._replace(frames=clip.frames[middles(count, frames)]) if 0 < frames < count else clip


def _by_turns(labels: np.ndarray, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    sides = [rng.permutation(np.flatnonzero(labels == label)).tolist() for label in (0, 1)]
    return [each for each in one_after_the_other(*zip_longest(*sides)) if each is not None]
