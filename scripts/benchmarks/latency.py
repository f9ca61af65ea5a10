"""Measures how long a session takes for a kept frame, and a whole file beside it; see --help."""

import dataclasses
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

import fas_jax
from fas_jax.deployment.bundle_folder import SHIPPED, load_bundle
from fas_jax.deployment.streaming import Session
from fas_jax.runtime import cli


def main(bundle: Path = SHIPPED, detector: str = "", video: Path | None = None, frames: int = 40) -> None:
    """Prints p50 and p95 of the milliseconds from a frame to the decision, after the first, which compiles.

    Both by the clock and of this process's CPU, all threads together, of which other work on the machine takes nothing.

    Every frame is kept: which ones a rendition keeps decides nothing of what one of them costs, so that a bundle that
    may not stream can be measured, too.

    Args:
        bundle: Folder of a bundle.
        detector: The deciding method; the bundle's default if empty.
        video: A video file; a rendered bona fide video if none is given.
        frames: Kept frames that are measured.
    """
    loaded = load_bundle(bundle)
    every = {
        name: dataclasses.replace(each, segment=1, seconds=0.0, position="first", max_frames=0, cap="first")
        for name, each in loaded.renditions.items()
    }
    with TemporaryDirectory() as folder:
        shown = read(video or fas_jax.render_sample(Path(folder)), frames + 1)
    session, spent = Session(dataclasses.replace(loaded, renditions=every), detector), []
    for number, frame in enumerate(shown):
        clock, cpu = time.perf_counter(), time.process_time()
        session.push(frame, number / 25)
        spent.append((1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - cpu)))
    height, width = shown[0].shape[:2]
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{session.verdict.detector}, frames of {width}x{height}, {session.kept} kept")
    print(f"{os.cpu_count()} cores, load {load}")
    for name, own in zip(("clock", "CPU"), np.array(spent).T, strict=True):
        p50, p95 = np.percentile(own[1:], [50, 95])
        print(f"{name}: first frame (compiles) {own[0]:.0f} ms, then p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    start = time.perf_counter()
    verdict = loaded.judge_frames(shown, channels="RGB", name=detector, fps=25)
    kept = sum(map(len, verdict.frames.values()))
    taken = time.perf_counter() - start
    print(f"offline, {kept} kept frames of the same video at once: {1000 * taken:.0f} ms, compiling included")


def read(path: Path, count: int) -> list[np.ndarray]:
    """The first frames of a file, RGB; from the start again where it is shorter."""
    capture, found = cv2.VideoCapture(str(path)), list[np.ndarray]()
    while len(found) < count and (pair := capture.read())[0]:
        found.append(np.ascontiguousarray(pair[1][..., ::-1]))
    return [found[number % len(found)] for number in range(count)]


if __name__ == "__main__":
    cli.main(main)
