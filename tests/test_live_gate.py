"""The gate of a session: the answers of a file, advice in every decision, and nothing accepted that is not without."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.rendition import Rendition
from fas_jax.commands.predict import main as predict
from fas_jax.deployment import live
from fas_jax.deployment.bundle import Bundle, Decision
from fas_jax.deployment.functions import Stepper
from fas_jax.deployment.sequential import Sequential
from fas_jax.deployment.streaming import Program, Session
from fas_jax.deployment.verdict import NO_DECISION, Verdict
from fas_jax.library import bundles
from fas_jax.pixels.detection import Face
from fas_jax.pixels.gate import checks
from fas_jax.pixels.gate.checks import ADVICE, Check
from fas_jax.pixels.gate.settings import Gate
from tests.made_up import METHODS, make_bundle
from tests.tiny_backbone import TINY_FEATURES
from tests.trees import write_video

CAUSAL = Rendition(seconds=0.4, position="first", max_frames=4, cap="first", size=48)
STEP = 0.4
DARK = f"the gate refuses it: {ADVICE['darkness']}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bundle") / "bundle"
    make_bundle(place, {"gru": METHODS["gru"]}, renditions={"whole": CAUSAL}, features=TINY_FEATURES)
    return place


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    """Accepts whatever it scores."""
    return dataclasses.replace(bundles.load(folder), decisions={"gru": Decision(0.0)})


@pytest.fixture
def by_brightness(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The gate sees the mean of a frame alone; gives those of the frames that it has seen."""
    seen: list[float] = []

    def made(frame: np.ndarray, limits: Gate) -> tuple[Check, ...]:
        seen.append(float(frame.mean()))
        return (Check("darkness", seen[-1], limits.dark, seen[-1] >= limits.dark),)

    monkeypatch.setattr(checks, "check_frame", made)
    return seen


def frames_of(levels: Sequence[int], each: int = 10) -> list[np.ndarray]:
    """A segment of `STEP` seconds for each level at 25 frames a second."""
    return [np.full((48, 64, 3), level, np.uint8) for level in levels for _ in range(each)]


def run(session: Session, frames: Sequence[np.ndarray]) -> list[Verdict]:
    return [each for number, frame in enumerate(frames) if (each := session.push(frame, number / 25))]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_stream_and_its_file_have_the_same_gate(bundle: Bundle, by_brightness: list[float], count: int) -> None:
    """Whenever it ends, also where the gate checks fewer frames than are kept."""
    limits, levels = Gate(frames=count, share=0.6), (90, 20, 10, 80, 70)
    frames = frames_of(levels)
    session = Session(bundle, "gru", gate=limits)
    assert (session.verdict.gate is not None, session.verdict.decision) == (True, NO_DECISION)
    found = run(session, frames)
    assert len(found) == 4
    for number, each in enumerate(found, 1):
        whole = bundle.judge_frames(frames[: 10 * number], channels="RGB", name="gru", fps=25, gate=limits)
        assert each.gate == whole.gate
        assert (each.decision, each.reason) == (whole.decision, whole.reason)
        np.testing.assert_allclose(each.score, whole.score, atol=1e-5)
        assert each.gate is not None
        assert each.gate.frames == min(number, count)
        bright = [level >= 45 for level in levels[max(0, number - count) : number]]
        assert each.decision == ("bona fide" if np.mean(bright) >= 0.6 else NO_DECISION)
    assert {each.decision for each in found} == {"bona fide", NO_DECISION}


def test_a_film_is_refused_by_the_stream_as_by_the_file(
    bundle: Bundle, by_brightness: list[float], tmp_path: Path
) -> None:
    for name, levels in (("good", (90, 90, 10, 90, 90)), ("bad", (90, 10, 10, 10, 90))):
        film = write_video(tmp_path / f"{name}.mp4", frames_of(levels), codec="ffv1", fps=25)
        told: list[Verdict] = []
        last = live.show_file(Session(bundle, "gru", gate=Gate()), film, told.append)
        (whole,) = bundle.judge([film], "gru", gate=Gate())
        assert last.gate == whole.gate
        assert (last.decision, last.reason) == (whole.decision, whole.reason)
        assert last.decision == ("bona fide" if name == "good" else NO_DECISION)
        assert all(each.gate for each in told)
    assert last.reason == DARK


@pytest.mark.parametrize("no_face", ["fail", "skip"])
def test_a_frame_without_a_face_gets_the_gates_advice(
    bundle: Bundle, by_brightness: list[float], monkeypatch: pytest.MonkeyPatch, no_face: Any
) -> None:
    bright = lambda image, *_: Face((8.0, 8.0, 24.0, 24.0)) if image.mean() > 50 else None  # noqa: E731
    monkeypatch.setattr("fas_jax.pixels.renditions.find_face", bright)
    rendition = dataclasses.replace(CAUSAL, crop="detector", face_model="mtcnn", no_face=no_face)
    own = dataclasses.replace(bundle, renditions={"whole": rendition})
    frames, limits = frames_of((90, 10, 10, 10, 90, 90, 10, 90, 10)), Gate(frames=2)
    session = Session(own, "gru", gate=limits)
    found = run(session, frames)
    # Of one bright and one dark frame the half passes.
    expected = ["bona fide", *([NO_DECISION] if no_face == "fail" else ["bona fide", NO_DECISION, NO_DECISION])]
    assert [each.decision for each in found[:4]] == expected
    for number, each in enumerate(found, 1):
        whole = own.judge_frames(frames[: 10 * number], channels="RGB", name="gru", fps=25, gate=limits)
        assert (each.decision, each.reason, each.gate) == (whole.decision, whole.reason, whole.gate)
    if no_face == "fail":
        assert (session.failed, session.done) == ("no face in frame 10", True)
    else:
        assert found[3].reason == DARK
        # The next frame with a face is kept, and the gate's latest frames are half good again.
        assert found[4].decision == "bona fide"
        # The fourth one that is kept is the last that is read, and checked.
        assert (len(found), session.kept, session.done) == (8, 4, True)
        last = own.judge_frames(frames, channels="RGB", name="gru", fps=25, gate=limits)
        assert (last.decision, last.gate) == (found[-1].decision, found[-1].gate)


def test_no_file_is_accepted_on_frames_that_its_gate_has_not_seen(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bright = lambda image, *_: Face((8.0, 8.0, 24.0, 24.0)) if image.mean() > 50 else None  # noqa: E731
    monkeypatch.setattr("fas_jax.pixels.renditions.find_face", bright)
    passes = lambda frame, limits: (Check("darkness", 0.0, 1.0, bool(frame.mean() < 100)),)  # noqa: E731
    monkeypatch.setattr(checks, "check_frame", passes)
    rendition = dataclasses.replace(CAUSAL, crop="detector", face_model="mtcnn", no_face="skip")
    own = dataclasses.replace(bundle, renditions={"whole": rendition})
    frames = frames_of((10, 10, 90, 90, 200, 200, 90))
    session = Session(own, "gru", gate=Gate(frames=2))
    run(session, frames)
    whole = own.judge_frames(frames, channels="RGB", name="gru", fps=25, gate=Gate(frames=2))
    # Both read frames 20, 30, 40 and 50, of which the last two fail.
    assert (session.kept, session.index) == (4, 50)
    assert session.verdict.decision == whole.decision == NO_DECISION
    assert session.verdict.gate == whole.gate


def test_a_fault_keeps_its_reason_and_what_the_gate_has_said(bundle: Bundle, by_brightness: list[float]) -> None:
    for level in (90, 10):
        session = Session(bundle, "gru", gate=Gate())
        run(session, frames_of((level,)))
        session.push(np.full((48, 64, 3), 90, np.uint8), -1.0)
        ended = session.end()
        assert ended.decision == NO_DECISION
        assert ended.reason.startswith("time runs backwards")
        assert ended.gate is not None
        assert ended.gate.advice == (() if level == 90 else (ADVICE["darkness"],))
    empty = Session(bundle, "gru", gate=Gate()).end()
    assert empty.gate is not None
    assert not empty.gate.passed
    assert empty.reason == "the stream ended before a frame"


class Told(Program):
    """Gives these scores, one after the other, whatever it is shown."""

    def __init__(self, bundle: Bundle, scores: Sequence[float]) -> None:
        step = lambda weights, carry, pixels: (carry + 1, scores[carry])  # noqa: E731
        self.bundle, self.name, self.rendition = bundle, "gru", bundle.renditions["whole"]
        self.steps = Stepper("whole", 0, step, 0)
        vars(self).update(weights=None, start=0, step=step)


def scored(bundle: Bundle, scores: Sequence[float], most: int) -> Bundle:
    """The detector gives these scores, one after the other."""
    rendition = dataclasses.replace(CAUSAL, max_frames=most)
    own = dataclasses.replace(bundle, decisions={"gru": Decision(0.5)}, renditions={"whole": rendition})
    own.programs["gru"] = Told(own, scores)
    return own


SCORES = st.sampled_from([0.1, 0.4, 0.5, 0.6, 0.9, math.nan])


@given(
    segments=st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=7),
    most=st.sampled_from([0, 3, 7]),
    count=st.integers(1, 3),
    share=st.sampled_from([0.4, 1.0]),
    rule=st.sampled_from([None, Sequential(0.7, 0.3, 9.0), Sequential(0.6, 0.6, 1.0)]),
)
def test_what_a_session_accepts_with_the_gate_it_accepts_without(
    bundle: Bundle,
    segments: list[tuple[float, bool]],
    most: int,
    count: int,
    share: float,
    rule: Sequential | None,
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            checks, "check_frame", lambda frame, limits: (Check("darkness", 0.0, 1.0, bool(frame.mean() > 45)),)
        )
        own = scored(bundle, [score for score, _ in segments], most)
        without, strict = Session(own, "gru", rule=rule), Session(own, "gru", rule=rule, gate=Gate(count, share))
        lenient = Session(own, "gru", rule=rule, gate=Gate(count, 0.01))
        accepted = False
        for number, (_, good) in enumerate(segments):
            frame = np.full((48, 64, 3), 90 if good else 10, np.uint8)
            for session in (without, strict, lenient):
                session.push(frame, STEP * number)
            latest = [each for _, each in segments[max(0, number + 1 - count) : number + 1]]
            accepted |= without.verdict.decision == "bona fide"
            for session, needed in ((strict, share), (lenient, 0.01)):
                verdict = session.verdict
                assert verdict.gate is not None
                if verdict.decision == "bona fide":
                    # Without a rule at this moment; with one, which ends the session, until now.
                    assert accepted if rule else without.verdict.decision == "bona fide"
                    assert verdict.gate.passed
                    assert session.done or np.mean(latest) >= needed
                if not verdict.gate.passed:
                    assert (verdict.decision, math.isnan(verdict.score)) == (NO_DECISION, True)
                    assert verdict.gate.advice == (ADVICE["darkness"],)
            if without.verdict.decision == "attack" and without.done:
                assert strict.done
        ends = [session.end().decision for session in (without, strict, lenient)]
        for end in ends[1:]:
            assert end != "bona fide" or (accepted if rule else ends[0] == "bona fide")
        if all(good for _, good in segments):
            assert ends[1:] == ends[:1] * 2


def test_a_gate_that_passes_later_lets_a_rule_decide_and_an_attack_stays_one(bundle: Bundle) -> None:
    rule, dark, bright = Sequential(0.7, 0.3, 9.0), *frames_of((10, 90), each=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            checks, "check_frame", lambda frame, limits: (Check("darkness", 0.0, 1.0, bool(frame.mean() > 45)),)
        )
        for scores, decisions, done in (
            ([0.9, 0.9], [NO_DECISION, "bona fide"], [False, True]),
            ([0.9, 0.1], [NO_DECISION, "attack"], [False, True]),
            ([0.1, 0.9], [NO_DECISION, NO_DECISION], [True, True]),
        ):
            session = Session(scored(bundle, scores, 0), "gru", rule=rule, gate=Gate(frames=1))
            for number, frame in enumerate((dark, bright)):
                session.push(frame, STEP * number)
                assert (session.verdict.decision, session.done) == (decisions[number], done[number])


@pytest.mark.parametrize("place", ["gate", "detector"])
def test_an_error_while_a_frame_is_judged_leaves_no_decision(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    passing = (Check("darkness", 1.0, 0.0, True),)
    levels = iter([passing] if place == "gate" else [passing] * 2)
    monkeypatch.setattr(checks, "check_frame", lambda frame, limits: next(levels))
    session = Session(scored(bundle, [0.9] if place == "detector" else [0.9, 0.9], 0), "gru", gate=Gate())
    (frame,) = frames_of((90,), each=1)
    session.push(frame, 0.0)
    assert session.verdict.decision == "bona fide"
    with pytest.raises((RuntimeError, IndexError, StopIteration)):
        session.push(frame, STEP)
    assert (session.end().decision, session.done) == (NO_DECISION, True)
    assert session.failed.startswith("frame 1 cannot be judged")


def test_an_endless_session_checks_its_latest_frames(bundle: Bundle, by_brightness: list[float]) -> None:
    session = Session(scored(bundle, [0.9] * 200, 0), "gru", gate=Gate(frames=3))
    for number in range(200):
        session.push(np.full((8, 8, 3), 90 if number < 100 else 10, np.uint8), STEP * number)
        if number == 99:
            assert session.verdict.decision == "bona fide"
    assert session.verdict.reason == DARK
    assert session.verdict.gate is not None
    assert session.verdict.gate.frames == 3
    assert len(by_brightness) == 200


def test_the_command_and_python_ask_the_gate_of_a_stream(folder: Path, tmp_path: Path, capsys: Any) -> None:
    film = write_video(tmp_path / "a.mp4", frames_of((128, 128)), codec="ffv1", fps=25)
    assert predict((film,), folder, stream=True, gate=True, limits=Gate(resolution=100)) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["final"] for line in lines] == [False, False, True]
    for line in lines:
        assert line["decision"] == NO_DECISION
        (check,) = [each for each in line["gate"]["checks"] if each["name"] == "resolution"]
        assert (check["value"], check["limit"], check["advice"]) == (48.0, 100.0, ADVICE["resolution"])
    session = bundles.load_bundle(folder).session(gate=Gate(resolution=10, orientation=False))
    session.push(frames_of((128,))[0], 0.0)
    assert session.verdict.reason == f"the gate refuses it: {ADVICE['face']}"
    assert bundles.load_bundle(folder).session().verdict.gate is None
