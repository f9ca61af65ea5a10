"""Measures the renderer: python -m scripts.benchmarks.rendering"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Synthesis
from fas_jax.runtime import cli
from fas_jax.synthetic.domains import official_conditions
from fas_jax.synthetic.encoding import write_video
from fas_jax.synthetic.plan import PlannedVideo, official_videos
from fas_jax.synthetic.recording import record


@dataclass
class Cost:
    """CPU seconds of some videos."""

    videos: int = 0
    frames: int = 0
    set_up: float = 0.0
    render: float = 0.0
    encode: float = 0.0


def main(
    layouts: tuple[Literal["oulu_npu", "casia_fasd", "replay_attack", "msu_mfsd"], ...] = (
        "oulu_npu",
        "casia_fasd",
        "replay_attack",
        "msu_mfsd",
    ),
    frames: int = 64,
    scale: float = 0.25,
    seed: int = 0,
) -> None:
    """Prints the CPU seconds of 100 rendered frames by kind of video, in one process and one thread.

    One video of each kind and layout is rendered. CPU time counts no waiting, but a busy machine's cores share caches
    and make it longer: compare figures only where the rest of the machine did the same.

    Args:
        layouts: Datasets whose layouts and cameras are rendered.
        frames: Approximate number of frames of a video; setting up a video counts more in short ones.
        scale: Size of the frames as a share of the official size.
        seed: Seed of all random choices.
    """
    if frames < 1:
        raise UserError(f"--frames must be at least 1, not {frames}")
    cv2.setNumThreads(1)
    settings = Synthesis(frames=frames, scale=scale, seed=seed)
    costs: dict[str, Cost] = {}
    for layout in layouts:
        for kind, video in _one_of_each(layout):
            _measure(costs.setdefault(kind, Cost()), video, settings)
    print("| CPU seconds of 100 frames | videos | set-up | frames | encoding | all |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind, cost in costs.items():
        parts = [100 * part / cost.frames for part in (cost.set_up, cost.render, cost.encode)]
        print(f"| {kind} | {cost.videos} | {' | '.join(f'{part:.2f}' for part in [*parts, sum(parts)])} |")


def kind_of(video: PlannedVideo) -> str:
    """What is rendered in front of the last camera."""
    if video.pai == "replay":
        return "photograph on a screen" if video.fine.endswith("photo") else "video on a screen"
    return {"bonafide": "bona fide", "cut": "print with holes"}.get(video.pai, "print")


def _one_of_each(layout: str) -> Iterator[tuple[str, PlannedVideo]]:
    seen = set()
    for video in official_videos(layout):
        kind = kind_of(video)
        if (kind, video.support) not in seen:
            seen.add((kind, video.support))
            yield kind, video


def _measure(cost: Cost, video: PlannedVideo, settings: Synthesis) -> None:
    moments = [time.process_time()]
    recording = record(video, settings, None)
    moments.append(time.process_time())
    frames = list(recording.frames)
    moments.append(time.process_time())
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / Path(video.path).name
        write_video(target, iter(frames), video.fps, official_conditions(settings.seed, video).encoding)
    moments.append(time.process_time())
    cost.videos += 1
    cost.frames += len(frames)
    cost.set_up += moments[1] - moments[0]
    cost.render += moments[2] - moments[1]
    cost.encode += moments[3] - moments[2]


if __name__ == "__main__":
    cli.main(main)
