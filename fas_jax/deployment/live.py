"""Where the frames of a session come from: a file that is decoded, or a camera; and what is told of it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2

from fas_jax.base.errors import UserError
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.sequential import Sequential
from fas_jax.deployment.streaming import Session, program_of
from fas_jax.deployment.verdict import NO_DECISION, Verdict
from fas_jax.deployment.vetoes import with_uncertain
from fas_jax.evaluation.conformal import Band
from fas_jax.pixels.content import DecodeError
from fas_jax.pixels.gate.settings import Gate
from fas_jax.pixels.video import show_file as decode

_ENDED = "the stream ended after frame {}"


def show_file(session: Session, path: Path, tell: Callable[[Verdict], object]) -> Verdict:
    """Gives a session the frames of a video file while they are decoded, each with its own time.

    Args:
        session: A new one.
        path: The file; one that is damaged, as far as that shows, fails the session.
        tell: Takes the decision whenever it may have changed.

    Returns:
        The last decision.
    """

    def take(image: Any, seconds: float) -> None:
        frame = None if image is None else image[..., ::-1]
        if found := session.push(frame, seconds):
            tell(found)

    with session.guarded(_ENDED):
        try:
            decode(path, session.wants, take)
        except DecodeError as error:
            return session.fail(str(error))
    return session.end()


def show_camera(
    session: Session, capture: Any, tell: Callable[[Verdict], object], clock: Callable[[], float] = time.monotonic
) -> Verdict:
    """Gives a session the frames of a camera until it has decided; one that stops before fails the session.

    Args:
        session: A new one.
        capture: As OpenCV's `VideoCapture`: `grab()`, and `retrieve()` to a BGR frame.
        tell: As in `show_file`.
        clock: Gives the time of a frame, in seconds.

    Returns:
        The last decision.
    """
    with session.guarded(_ENDED):
        while not session.done and capture.grab():
            seconds, image = clock(), None
            if session.wants(seconds):
                there, image = capture.retrieve()
                if not there:
                    return session.fail(f"the camera gives no frame {session.index + 1}")
            if found := session.push(None if image is None else image[..., ::-1], seconds):
                tell(found)
    if not session.done and session.index >= 0:
        return session.fail(f"the camera stopped after frame {session.index}")
    return session.end()


def open_camera(index: int) -> Any:
    """OpenCV's capture of a camera.

    Raises:
        UserError: There is no such camera.
    """
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        raise UserError(f"camera {index} does not open; check that it is connected and that no other program uses it")
    return capture


def watch(
    bundle: Bundle,
    name: str,
    tell: Callable[[dict[str, Any]], object],
    paths: Sequence[Path] = (),
    camera: int | None = None,
    rule: Sequential | None = None,
    capture: Callable[[int], Any] = open_camera,
    band: Band | None = None,
    gate: Gate | None = None,
) -> int:
    """Judges files, or a camera, while they run.

    Args:
        bundle: Who judges.
        name: The detector; the bundle's default if empty.
        tell: Takes what each decision says, JSON-able: as `Verdict.to_json`, with the seconds of video (`at`), the
            kept frames (`kept`), and whether it is the stream's last (`final`).
        paths: Video files, one after the other.
        camera: Its number, in place of files.
        rule: See `Session`.
        capture: Opens a camera.
        band: For three answers, see `fas_jax.evaluation.conformal`.
        gate: See `Session`.

    Returns:
        The number of streams without a decision.

    Raises:
        UserError: The detector cannot judge a stream, or the camera does not open.
    """
    program_of(bundle, name)  # refuses before anything is opened
    undecided = 0
    for source in paths if camera is None else (camera,):
        called = str(source) if camera is None else f"camera {source}"
        session = Session(bundle, name, rule=rule, gate=gate, source=called)

        def told(verdict: Verdict, final: bool = False, session: Session = session) -> None:
            tell(
                with_uncertain(verdict, band).to_json()
                | {"at": round(session.seconds, 3), "kept": session.kept, "final": final}
            )

        if isinstance(source, Path):
            last = show_file(session, source, told)
        else:
            opened = capture(source)
            try:
                last = show_camera(session, opened, told)
            finally:
                opened.release()
        told(last, final=True)
        undecided += last.decision == NO_DECISION
    return undecided
