"""Measures whether maps of what decides pass their sanity checks on rendered attacks; see --help."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8

from fas_jax.base.record import Source
from fas_jax.base.settings import Synthesis
from fas_jax.deployment.attribution import WAYS, Maps, Way
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.bundle_folder import SHIPPED, load_bundle
from fas_jax.deployment.chain import Chain, chain_of
from fas_jax.methods.frame_training import FrameDetector, initial
from fas_jax.pixels.crops import cut, resize
from fas_jax.pixels.renditions import rendition_makers
from fas_jax.pixels.video import choose_frames
from fas_jax.runtime import cli
from fas_jax.studies.attribution_checks import (
    deletion_curve,
    hit_rate,
    most_important_first,
    rank_correlation,
    separation,
)
from fas_jax.synthetic.domains import official_conditions
from fas_jax.synthetic.plan import official_videos
from fas_jax.synthetic.recording import record

SPECIES = ("print", "cut", "warped", "replay")


class Clip(NamedTuple):
    """A rendered attack as a detector sees it."""

    frames: UInt8[np.ndarray, "t h w 3"]
    instrument: Bool[np.ndarray, "t h w"]


def main(bundle: Path = SHIPPED, videos: int = 12, frames: int = 3, seed: int = 0) -> None:
    """Renders attacks whose instrument leaves room for the background, and prints a row for each way to explain.

    rank: rank correlation with the map of the same network with random weights (low is good). deletion: mean distance
    of the logit from the threshold while squares are taken away, most important ones first, as a share of the distance
    at first; and beside it the same in random order (lower is better). hits: share of the tenth of the pixels that
    matter most that lies on the instrument, for the detector, for random weights, and by chance. separation: chance
    that a pixel of the instrument matters more than one beside it, for both (0.5 is chance).

    Args:
        bundle: Whose default detector is explained; one that reads frames.
        videos: Rendered attacks, of all species of CASIA-FASD by turns.
        frames: Of each clip.
        seed: Of the renderer.
    """
    loaded = load_bundle(bundle)
    chain = chain_of(loaded)
    ways: dict[Way, tuple[Maps, Maps]] = {}
    untrained = dataclasses.replace(chain, weights=chain_of(with_random_weights(loaded)).weights)
    for way in WAYS:
        maps = Maps.of(chain, way)
        # The same program with other weights.
        ways[way] = maps, dataclasses.replace(maps, chain=untrained)
    rows: dict[Way, list[list[float]]] = {way: [] for way in WAYS}
    logit = scorer(chain)
    for clip in rendered(chain, videos, frames, seed):
        first = logit(clip.frames)
        accepted, start = first >= chain.threshold, first - chain.threshold
        chance = np.random.default_rng(0).uniform(size=clip.frames.shape[:3]).astype(np.float32)
        at_random = deletion_curve(logit, clip.frames, most_important_first(chance)) - chain.threshold
        for way, (trained, blank) in ways.items():
            own, other = trained(clip.frames, accepted), blank(clip.frames, accepted)
            curve = deletion_curve(logit, clip.frames, most_important_first(own)) - chain.threshold
            rows[way].append([
                rank_correlation(own, other), curve.mean() / start, at_random.mean() / start,
                hit_rate(own, clip.instrument), hit_rate(other, clip.instrument), float(clip.instrument.mean()),
                separation(own, clip.instrument), separation(other, clip.instrument), float(accepted),
            ])  # fmt: skip
        print(f"{len(rows[WAYS[0]])} clips", flush=True)
    print("way        clips  rank   deletion  random  faster   hits  untrained  chance  separation  untrained")
    for way, values in rows.items():
        table = np.array(values)
        rank, deleted, random, hits, blank_hits, area, apart, blank_apart, _ = np.nanmean(table, 0)
        faster = f"{(table[:, 1] < table[:, 2]).sum()}/{len(table)}"
        print(
            f"{way:10} {len(table):5}  {rank:5.2f}  {deleted:8.2f}  {random:6.2f}  {faster:>6}  {hits:5.2f}  "
            f"{blank_hits:9.2f}  {area:6.2f}  {apart:10.2f}  {blank_apart:9.2f}"
        )
    print(f"accepted: {int(np.array(rows[WAYS[0]])[:, -1].sum())} of {len(rows[WAYS[0]])} attacks")


def with_random_weights(bundle: Bundle, seed: int = 1) -> Bundle:
    """The bundle with its default detector's network and head as they are before any training."""
    detector = bundle.detectors[bundle.default]
    assert isinstance(detector, FrameDetector), "the default detector reads no frames"
    objective = detector.objective
    blank = dataclasses.replace(detector, params=initial(objective, *objective.network.init(seed), seed))
    return dataclasses.replace(bundle, detectors={**bundle.detectors, bundle.default: blank})


def scorer(chain: Chain) -> Callable[[np.ndarray], float]:
    """From frames to the clip's logit, compiled."""
    program = jax.jit(chain.logits)

    def logit(frames: np.ndarray) -> float:
        own = jnp.asarray(frames, jnp.float32)[None]
        return float(program(chain.weights, own, jnp.ones(own.shape[:2], bool))[0])

    return logit


def rendered(chain: Chain, videos: int, frames: int, seed: int) -> Iterator[Clip]:
    """Attacks with a small instrument whose face is found in so many frames."""
    settings = Synthesis(frames=3 * frames * chain.settings.segment, scale=0.5, seed=seed)
    pool = {pai: [each for each in official_videos("casia_fasd") if each.pai == pai] for pai in SPECIES}
    pool = {pai: own[:: max(1, len(own) // videos)] for pai, own in pool.items() if own}
    turns = [own[turn] for turn in range(videos) for own in pool.values() if turn < len(own)]
    rendition, found = dataclasses.replace(chain.settings, max_frames=frames), 0
    for video in turns:
        if found == videos:
            return
        conditions = official_conditions(seed, video)
        domain = dataclasses.replace(conditions.domain, cover=(0.5, 0.65), face_share=(0.44, 0.55))
        recording = record(video, settings, None, dataclasses.replace(conditions, domain=domain))
        images = [np.ascontiguousarray(each[..., ::-1]) for each in recording.frames]
        makers = rendition_makers(Path(), Source(), {chain.rendition: rendition})
        info, made = choose_frames(images, makers, float(video.fps))
        kept = info.renditions[chain.rendition]
        own = list(made[chain.rendition])
        if len(own) < frames:
            continue
        masks = []
        for place, index in enumerate(kept.frame_indices):
            box = kept.boxes[4 * place : 4 * place + 4]
            whole = np.repeat(recording.instrument(index)[..., None], 3, -1).astype(np.uint8) * 255
            masks.append(resize(cut(whole, (box[0], box[1], box[2], box[3]), rendition.margin), rendition.size)[..., 0])
        found += 1
        yield Clip(np.stack(own), np.stack(masks) > 127)


if __name__ == "__main__":
    cli.main(main)
