"""Measures how fast videos are prepared; see --help."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
import tyro

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.layout import VIDEO_SUFFIXES
from fas_jax.pixels.decoding import IN_FLIGHT, Undecoded, decode_videos
from fas_jax.runtime import cli


def main(
    videos: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
    count: int = 48,
    rounds: int = 5,
    workers: int = 2,
) -> None:
    """Compares the decoding stage of scripts/prepare.py with several workers, with one worker, and with one process
    that calls OpenCV's read() on every frame with its default number of threads.

    The three take turns, so that other load on the machine meets all alike; medians over the rounds are compared. The
    clock starts when the workers have decoded their first videos: their start, a second or two for a whole dataset, is
    left out.

    Args:
        videos: A video file, or a folder of videos. A few videos are repeated, as copies, up to the count.
        out: JSON file for the figures.
        count: Videos in a round.
        rounds: Rounds; the first, which warms the disk's cache, is not counted.
        workers: Workers of the parallel run.
    """
    found = [videos] if videos.is_file() else sorted(videos.rglob("*"))
    files = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES]
    if not files:
        raise UserError(f"{videos} holds no video")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = [f"{number}{files[number % len(files)].suffix}" for number in range(count)]
        for number, name in enumerate(names):
            shutil.copyfile(files[number % len(files)], root / name)
        candidates: dict[str, Callable[[], float]] = {
            f"{workers} workers": lambda: _prepare(root, names, workers),
            "1 worker": lambda: _prepare(root, names, 1),
            "OpenCV read()": lambda: _read(root, names),
        }
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for number in range(rounds + 1):
            for name, run in candidates.items():
                taken = run()
                if number:
                    seconds[name].append(taken)
    medians = {name: median(each) for name, each in seconds.items()}
    fast = medians[f"{workers} workers"]
    for name, each in seconds.items():
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name}: {count / medians[name]:.1f} videos/s, median {medians[name]:.2f} s ({spread} s)")
    print(f"{workers} workers against 1: {medians['1 worker'] / fast:.2f} times")
    print(f"{workers} workers against OpenCV read(): {medians['OpenCV read()'] / fast:.2f} times")
    if out is not None:
        out.write_text(json.dumps({"count": count, "seconds": seconds, "medians": medians}, indent=2) + "\n")


def _prepare(root: Path, names: list[str], workers: int) -> float:
    first = [names[number % len(names)] for number in range(IN_FLIGHT * workers)]
    start = 0.0
    outcomes = decode_videos(root, [*first, *names], Preparation(workers=workers), {"whole": Rendition()})
    for number, outcome in enumerate(outcomes, 1):
        if isinstance(outcome, Undecoded):
            raise UserError(f"{[*first, *names][number - 1]}: {outcome.reason}")
        if number == len(first):
            start = time.monotonic()
    return time.monotonic() - start


def _read(root: Path, names: list[str]) -> float:
    start = time.monotonic()
    for name in names:
        capture = cv2.VideoCapture(str(root / name))
        while capture.read()[0]:
            pass
        capture.release()
    return time.monotonic() - start


if __name__ == "__main__":
    cli.main(main)
