"""Sessions: what they decide while a video runs, and that no fault of a stream is ever accepted."""

import dataclasses
import gc
import json
import math
import re
import resource
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.commands.predict import main as predict
from fas_jax.commands.predict import read_rule
from fas_jax.deployment import live
from fas_jax.deployment.bundle import Bundle, Decision
from fas_jax.deployment.bundle_folder import SHIPPED
from fas_jax.deployment.sequential import Sequential
from fas_jax.deployment.streaming import Session
from fas_jax.deployment.verdict import NO_DECISION, Verdict
from fas_jax.methods.recurrent import Gru, Lstm
from fas_jax.methods.stack import LstmStack
from fas_jax.pixels.detection import Face
from tests.made_up import METHODS, make_bundle
from tests.tiny_backbone import TINY_FEATURES
from tests.trees import moving_frames, read_video, write_video

CAUSAL = Rendition(seconds=0.4, position="first", max_frames=4, cap="first", size=48)
CASES = {
    **{name: METHODS[name] for name in ("gru", "bilstm", "mean-feature", "tree", "finetune", "end2end", "colour")},
    "median": Gru(hidden=3, fusion="median"),
    "minimum": Lstm(hidden=3, fusion="minimum"),
    "last": Gru(hidden=3, fusion="last"),
    "over": LstmStack(over=("minimum", "gru"), hidden=3),
}
WINDOWED = ("bilstm", "end2end", "median")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp("bundle") / "bundle"
    return make_bundle(place, CASES, renditions={"whole": CAUSAL}, features=TINY_FEATURES)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 frames in 1.8 seconds, of which four and a further one are candidates."""
    return write_video(tmp_path_factory.mktemp("film") / "a.mp4", moving_frames(45), codec="ffv1", fps=25)


def run(session: Session, frames: Sequence[np.ndarray], fps: float = 25.0) -> list[Verdict]:
    return [each for number, frame in enumerate(frames) if (each := session.push(frame, 7 + number / fps))]


@pytest.mark.parametrize("name", [name for name in CASES if name != "colour"])
def test_a_session_decides_as_the_bundle_does_of_the_file_until_then(bundle: Bundle, name: str) -> None:
    frames = moving_frames(45)
    session = Session(bundle, name)
    assert bool(session._program.steps.window) == (name in WINDOWED)
    assert session.verdict.decision == NO_DECISION
    found = run(session, frames)
    assert [each.frames["whole"][-1] for each in found] == [0, 10, 20, 30]
    assert session.done
    for last, each in zip((10, 20, 30, 45), found, strict=True):
        whole = bundle.judge_frames(frames[:last], channels="RGB", name=name, fps=25)
        assert each.frames == whole.frames
        assert each.score == pytest.approx(whole.score, abs=1e-5)
        assert (each.decision, each.threshold) == (whole.decision, whole.threshold)
    assert len({each.score for each in found}) > 1 or name == "tree"
    # Another session begins anew, and gives the same bits.
    again = run(Session(bundle, name), frames)
    assert [each.score for each in again] == [each.score for each in found]


def test_features_of_half_precision_move_a_score_by_their_rounding_alone(bundle: Bundle) -> None:
    half = dataclasses.replace(bundle, features=dataclasses.replace(TINY_FEATURES, store_dtype="float16"))
    frames = moving_frames(45)
    rounded, whole = run(Session(half, "gru"), frames)[-1].score, run(Session(bundle, "gru"), frames)[-1].score
    assert rounded != whole
    stored = half.judge_frames(frames, channels="RGB", name="gru", fps=25).score
    assert rounded == pytest.approx(stored, abs=2e-4)


def test_a_file_shown_frame_by_frame_is_judged_as_the_file(bundle: Bundle, film: Path) -> None:
    session, shown = Session(bundle, "gru", source=str(film)), list[Verdict]()
    assert live.show_file(session, film, shown.append) == shown[-1]
    (whole,) = bundle.judge([film], "gru")
    assert session.end().score == pytest.approx(whole.score, abs=1e-5)
    assert session.verdict.frames == whole.frames
    # The same frames from a list, the same bits.
    listed = run(Session(bundle, "gru"), read_video(film))
    assert [each.score for each in shown] == [each.score for each in listed]


def test_frames_are_counted_where_a_rendition_counts_them(bundle: Bundle) -> None:
    counting = dataclasses.replace(CAUSAL, seconds=0.0, segment=7)
    other = dataclasses.replace(bundle, renditions={"whole": counting})
    found = run(Session(other, "gru"), moving_frames(30))
    assert [each.frames["whole"][-1] for each in found] == [0, 7, 14, 21]
    assert found[-1].score == pytest.approx(
        other.judge_frames(moving_frames(30), channels="RGB", name="gru").score, abs=1e-5
    )


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        ({"position": "last"}, "gru", r'\[renditions.whole\], position = "last" waits.*set position = "first"'),
        ({"cap": "spread"}, "gru", 'max_frames = 4 spreads.*set cap = "first"'),
        ({"burst": 4}, "gru", "set burst = 1"),
        ({"max_frames": 0}, "bilstm", "bilstm sees all frames at once.*set max_frames"),
        ({}, "colour", "reads what decoding finds of a file"),
        ({}, "gur", "did you mean 'gru'"),
    ],
)
def test_what_cannot_stream_is_refused_with_the_setting_to_change(
    bundle: Bundle, change: dict[str, Any], name: str, told: str
) -> None:
    rendition = dataclasses.replace(CAUSAL, **change)
    with pytest.raises(UserError, match=told):
        Session(dataclasses.replace(bundle, renditions={"whole": rendition}), name)


FRAME = np.zeros((48, 64, 3), np.uint8)
FAULTS: dict[str, tuple[list[tuple[Any, float]], str]] = {
    "no frame": ([], "ended before a frame"),
    "NaN": ([(FRAME, math.nan)], "the time of frame 0 is not a number"),
    "infinite": ([(FRAME, 0.0), (FRAME, math.inf)], "the time of frame 1 is not a number"),
    "back": ([(FRAME, 1.0), (FRAME, 1.1), (FRAME, 0.9)], "time runs backwards at frame 2"),
    "gap": ([(FRAME, 0.0), (FRAME, 6.0)], "no frame for 6.0 s before frame 1"),
    "size": ([(FRAME, 0.0), (FRAME[:40], 0.04)], "size of frames changes at frame 1, from 64x48 to 64x40"),
    "type": ([(FRAME, 0.0), (FRAME.astype(np.float32), 0.04)], r"frame 1 is not uint8 \[h w 3\], but float32"),
    "grey": ([(FRAME[..., 0], 0.0)], r"frame 0 is not uint8 .* \[48, 64\]"),
    "text": ([("frame", 0.0)], "frame 0 is not uint8"),
    "empty": ([(FRAME[:0], 0.0)], "frame 0 is not uint8"),
    "missing": ([(None, 0.0)], "frame 0 is missing"),
}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_stream_is_a_reason_and_never_an_acceptance(bundle: Bundle, fault: str) -> None:
    """Every score is accepted here: only the fault stands against it."""
    accepting = dataclasses.replace(bundle, decisions={"gru": Decision(0.0)})
    session = Session(accepting, "gru")
    pushed, told = FAULTS[fault]
    for frame, seconds in pushed:
        session.push(frame, seconds)
    ended = session.end()
    assert (ended.decision, session.done) == (NO_DECISION, True)
    assert re.search(told, ended.reason)
    assert session.push(FRAME, 100.0) is None
    assert session.verdict.decision == NO_DECISION
    # The same session without the fault accepts.
    fine = Session(accepting, "gru")
    fine.push(FRAME, 0.0)
    assert fine.end().decision == "bona fide"


def test_a_damaged_file_is_never_accepted(bundle: Bundle, film: Path, tmp_path: Path) -> None:
    accepting = dataclasses.replace(bundle, decisions={"gru": Decision(0.0)})
    whole = film.read_bytes()
    for number, content in enumerate((b"", b"no video", whole[: len(whole) // 2], whole[:5000] + bytes(9000))):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(content)
        found = live.show_file(Session(accepting, "gru"), path, lambda verdict: None)
        assert (found.decision, bool(found.reason)) == (NO_DECISION, True)
    assert live.show_file(Session(accepting, "gru"), film, lambda verdict: None).decision == "bona fide"


class Camera:
    """Stands for OpenCV's capture of a camera; frames of None cannot be retrieved."""

    def __init__(self, frames: Sequence[np.ndarray | None]) -> None:
        self.frames, self.place, self.retrieved, self.released = frames, -1, 0, False

    def release(self) -> None:
        self.released = True

    def grab(self) -> bool:
        self.place += 1
        return self.place < len(self.frames)

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        self.retrieved += 1
        frame = self.frames[self.place]
        return frame is not None, None if frame is None else frame[..., ::-1]


def test_a_camera_is_read_until_the_decision(bundle: Bundle) -> None:
    camera, told, clock = Camera(moving_frames(60)), list[Verdict](), iter(np.arange(60) / 25)
    session = Session(bundle, "gru")
    last = live.show_camera(session, camera, told.append, lambda: next(clock))
    assert last == told[-1]
    assert [each.score for each in told] == [each.score for each in run(Session(bundle, "gru"), moving_frames(60))]
    # Only frames that are kept are converted, and none after the last of them is taken.
    assert (camera.retrieved, camera.place) == (4, 30)
    for frames, reason in (([], "ended before a frame"), ([FRAME, *[None] * 60], "the camera gives no frame 10")):
        clock = iter(np.arange(70) / 25)
        session = Session(bundle, "gru")
        last = live.show_camera(session, Camera(frames), told.append, lambda clock=clock: next(clock))
        assert last.decision == NO_DECISION
        assert reason in last.reason


@pytest.mark.parametrize("where", ["grab", "retrieve", "clock", "tell", "check", "decode"])
def test_no_decision_outlives_an_error(bundle: Bundle, film: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Whoever catches it finds none, although there was one before."""
    session, camera, decided = Session(bundle, "gru"), Camera(moving_frames(60)), list[str]()
    times = iter(np.arange(60) / 25)

    def broken(*_: object) -> Any:
        raise OSError("broken on purpose")

    def after_a_decision(function: Any) -> Any:
        return lambda *given: broken() if decided else function(*given)

    def tell(verdict: Verdict) -> None:
        decided.append(verdict.decision)
        if where == "tell":
            broken()

    for name in ("grab", "retrieve"):
        if where == name:
            monkeypatch.setattr(camera, name, after_a_decision(getattr(camera, name)))
    clock = (lambda: next(times)) if where != "clock" else after_a_decision(lambda: next(times))
    if where == "decode":
        monkeypatch.setattr(live, "decode", lambda path, wants, take: (take(FRAME[..., ::-1], 0.0), broken()))
        show = partial(live.show_file, session, film, tell)
    else:
        if where == "check":
            monkeypatch.setattr(session, "_fault", after_a_decision(session._fault))
        show = partial(live.show_camera, session, camera, tell, clock)
    with pytest.raises(OSError, match="on purpose"):
        show()
    assert decided[0] in ("bona fide", "attack")
    assert (session.verdict.decision, session.done) == (NO_DECISION, True)
    assert session.end().decision == NO_DECISION


def test_watching_tells_every_decision_and_which_is_the_last(bundle: Bundle, film: Path, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    (tmp_path / "text.mp4").write_text("no video")
    assert live.watch(bundle, "gru", told.append, [film, tmp_path / "text.mp4"]) == 1
    assert [(each["kept"], each["at"], each["final"]) for each in told[:5]] == [
        (1, 0.0, False),
        (2, 0.4, False),
        (3, 0.8, False),
        (4, 1.2, False),
        (4, 1.2, True),
    ]
    assert (told[5]["decision"], told[5]["final"]) == (NO_DECISION, True)
    # A camera that stops before the decision gives none.
    camera = Camera(moving_frames(1))
    told.clear()
    assert live.watch(bundle, "gru", told.append, camera=3, capture=lambda index: camera) == 1
    assert [(each["path"], each["final"]) for each in told] == [("camera 3", False), ("camera 3", True)]
    assert (told[0]["decision"] == NO_DECISION, told[1]["decision"]) == (False, NO_DECISION)
    assert told[1]["reason"] == "the camera stopped after frame 0"
    assert camera.released
    with pytest.raises(UserError, match="did you mean 'gru'"):
        live.watch(bundle, "gur", told.append, camera=3, capture=lambda index: camera)


def test_the_command_prints_a_line_for_each_decision(film: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "bundle"
    make_bundle(folder, {"gru": CASES["gru"]}, renditions={"whole": CAUSAL}, features=TINY_FEATURES)
    (tmp_path / "rule.json").write_text(json.dumps({"gru": {"accept": 0.0, "reject": 0.0, "seconds": 2.0}}))
    assert predict((film,), folder, stream=True) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["final"] for line in lines] == [False] * 4 + [True]
    assert predict((film,), folder, stream=True, rule=tmp_path / "rule.json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["decision"], line["final"]) for line in lines] == [("bona fide", False), ("bona fide", True)]
    with pytest.raises(UserError, match="unknown detector with a rule 'lstm'"):
        read_rule(tmp_path / "rule.json", "lstm")
    (tmp_path / "rule.json").write_text(json.dumps({"gru": {"accept": 0.0}}))
    with pytest.raises(UserError, match="is no sequential rule"):
        read_rule(tmp_path / "rule.json", "gru")
    for paths, options, why in (
        ((), {}, "or a camera"),
        ((film,), {"camera": 0}, "not both"),
        ((film,), {"rule": tmp_path / "rule.json"}, "add --stream"),
        ((film,), {"stream": True, "bundle": SHIPPED}, "cannot judge a video that still runs.*set position"),
    ):
        with pytest.raises(UserError, match=why):
            predict(paths, **{"bundle": folder, **options})


def test_a_face_that_is_not_found_ends_or_is_skipped(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bright = lambda image, *_: Face((8.0, 8.0, 24.0, 24.0)) if image.mean() > 50 else None  # noqa: E731
    monkeypatch.setattr("fas_jax.pixels.renditions.find_face", bright)
    frames = [np.full((48, 64, 3), 200 if number // 10 != 1 else 0, np.uint8) for number in range(60)]
    for no_face in ("fail", "skip"):
        rendition = dataclasses.replace(CAUSAL, crop="detector", face_model="mtcnn", no_face=no_face)
        own = dataclasses.replace(bundle, renditions={"whole": rendition})
        session = Session(own, "gru")
        found = run(session, frames)
        whole = own.judge_frames(frames, channels="RGB", name="gru", fps=25)
        assert session.end().decision == whole.decision
        if no_face == "fail":
            assert session.verdict.reason == whole.reason == "no face in frame 10"
        else:
            assert found[-1].frames == whole.frames == {"whole": (0, 20, 30, 40)}
            assert found[-1].score == pytest.approx(whole.score, abs=1e-5)
    dark = Session(own, "gru")
    run(dark, frames[10:20])
    assert dark.end().reason == "no face in any of its 1 frames"


def test_a_rule_decides_waits_and_is_uncertain(bundle: Bundle) -> None:
    frames = moving_frames(45)
    scores = [each.score for each in run(Session(bundle, "gru"), frames)]
    low, high = min(scores[:2]) - 1e-3, max(scores[:2]) + 1e-3

    def told(**rule: float) -> tuple[list[Verdict], Session]:
        session = Session(bundle, "gru", rule=Sequential(**{"seconds": 9.0, **rule}))
        return run(session, frames), session

    found, session = told(accept=min(scores), reject=min(scores))
    assert [each.decision for each in found] == ["bona fide"]
    assert (session.done, session.kept, found[0].threshold) == (True, 1, min(scores))
    found, _ = told(accept=2.0, reject=high)
    assert [each.decision for each in found] == ["attack"]
    found, session = told(accept=high, reject=low, seconds=0.7)
    assert [each.decision for each in found] == [NO_DECISION] * 3
    assert found[0].reason.startswith("waiting: the score")
    assert found[-1].reason.startswith("uncertain after 0.7 s of video: the score")
    assert session.end() == found[-1]
    found, session = told(accept=2.0, reject=-1.0)
    assert found[-1].reason.startswith("uncertain after 1.2 s")
    with pytest.raises(UserError, match="reject <= accept"):
        told(accept=0.3, reject=0.5)


def test_an_hour_keeps_what_a_minute_keeps(bundle: Bundle) -> None:
    """Without a cap: the carry, and the numbers of the latest frames."""
    endless = dataclasses.replace(bundle, renditions={"whole": dataclasses.replace(CAUSAL, max_frames=0)})
    session = Session(endless, "mean-feature")

    def size() -> int:
        import jax

        return sum(np.size(leaf) for leaf in jax.tree.leaves((session._carry, list(session._indices))))

    sizes = []
    for number in range(300):
        session.push(FRAME, 0.4 * number)
        sizes.append(size())
    assert (session.kept, session.done) == (300, False)
    assert sizes[-1] == sizes[100]
    whole = endless.judge_frames([FRAME] * 2, channels="RGB", name="mean-feature", fps=2.5)
    assert session.end().score == pytest.approx(whole.score, abs=1e-5)


@pytest.mark.slow
def test_a_thousand_sessions_leave_the_memory_of_ten(bundle: Bundle) -> None:
    process, frames = psutil.Process(), moving_frames(45)
    used = {}
    for number in range(1, 1001):
        run(Session(bundle, ("gru", "bilstm")[number % 2]), frames)
        if number in (10, 1000):
            gc.collect()
            used[number] = process.memory_info().rss
    assert used[1000] < 1.05 * used[10], f"{used}, at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} KiB"
