"""The gate: its measures by hand, each fault of a frame triggers its own check, and it only takes away."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.commands import predict
from fas_jax.deployment import vetoes
from fas_jax.deployment.bundle import Bundle
from fas_jax.library import bundles
from fas_jax.methods.recurrent import Gru
from fas_jax.pixels.detection import Face
from fas_jax.pixels.gate import checks, measures, orientation
from fas_jax.pixels.gate.checks import ADVICE, CheckedClip, ClipCheck, check_clip, check_frame
from fas_jax.pixels.gate.frames import gate_rendition
from fas_jax.pixels.gate.settings import Gate
from fas_jax.pixels.renditions import rendition_makers
from fas_jax.pixels.video import choose_frames
from fas_jax.synthetic.sample import render_sample
from tests.conftest import SHARED
from tests.made_up import make_bundle

VIDEOS = sorted((SHARED / "data" / "videos").glob("*.mov"))


def frame_of(video: Path, number: int) -> np.ndarray:
    """RGB."""
    capture = cv2.VideoCapture(str(video))
    for _ in range(number + 1):
        found, image = capture.read()
        assert found
    return np.ascontiguousarray(image[..., ::-1])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return frame_of(render_sample(tmp_path_factory.mktemp("videos"), frames=3), 0)


def smeared(frame: np.ndarray) -> np.ndarray:
    kernel = np.zeros((13, 13), np.float32)
    kernel[6] = 1 / 13
    return cv2.filter2D(frame, -1, kernel)


def tilted(frame: np.ndarray, degrees: float) -> np.ndarray:
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def backlit(frame: np.ndarray) -> np.ndarray:
    """A dark figure in front of a bright wall."""
    figure = np.zeros(frame.shape[:2], np.float32)
    cv2.ellipse(figure, (155, 130), (60, 90), 0, 0, 360, 1, -1)
    figure[190:, 90:230] = 1
    figure = cv2.GaussianBlur(figure, (0, 0), 3)[..., None]
    return (frame * 0.4 * figure + 240 * (1 - figure)).astype(np.uint8)


def beside(frame: np.ndarray) -> np.ndarray:
    return np.concatenate([frame, frame], axis=1)


def small(frame: np.ndarray) -> np.ndarray:
    reduced = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(reduced, 60, 60, 80, 80, cv2.BORDER_REPLICATE)


FAULTS = {
    "resolution": lambda frame: cv2.resize(frame, (240, 180), interpolation=cv2.INTER_AREA),
    "compression": lambda frame: cv2.imdecode(cv2.imencode(".jpg", frame, [1, 5])[1], 1),
    "face": lambda frame: np.full_like(frame, 128),
    "one face": beside,
    "size": small,
    "position": lambda frame: cv2.resize(frame[:, 140:], None, fx=1.5, fy=1.5),
    "roll": lambda frame: tilted(frame, 38),
    "sharpness": lambda frame: cv2.GaussianBlur(frame, (0, 0), 5),
    "motion blur": smeared,
    "darkness": lambda frame: (frame * 0.15).astype(np.uint8),
    "brightness": lambda frame: np.clip(frame * 5.0, 0, 255).astype(np.uint8),
    "backlight": backlit,
}


def failed(frame: np.ndarray) -> set[str]:
    return {each.name for each in check_frame(frame) if not each.passed}


@pytest.mark.slow  # half a minute of MTCNN
@pytest.mark.skipif(not VIDEOS, reason="no real videos beside the project")
def test_real_webcam_videos_pass_and_their_faults_trigger_their_checks() -> None:
    for video in VIDEOS:
        frames = [frame_of(video, number) for number in (20, 80)]
        found = check_clip(frames)
        assert found.passed
        assert found.passed_frames == 2
        assert not found.advice
        for name, disturb in FAULTS.items():
            assert name in failed(np.ascontiguousarray(disturb(frames[0]))), (video.name, name)


def test_a_rendered_face_passes_and_its_faults_trigger_their_checks(rendered: np.ndarray) -> None:
    assert not failed(rendered)
    for name in ("face", "one face", "darkness", "sharpness"):
        found = failed(np.ascontiguousarray(FAULTS[name](rendered)))
        assert name in found
        assert len(found) <= 2, found


def test_turned_frames_are_found_and_told(rendered: np.ndarray) -> None:
    for degrees in (90, 180):
        # Turned so that this many degrees clockwise make it upright again.
        frame = orientation.turned(rendered, (360 - degrees) % 360)
        turn = orientation.upright_turn(np.ascontiguousarray(frame[..., ::-1]))
        assert turn is not None
        assert turn.degrees == degrees
        (check,) = [each for each in check_frame(frame) if each.name == "orientation"]
        assert check.value == degrees
        assert check.passed == (degrees == 0)
    np.testing.assert_array_equal(orientation.turned(rendered, 90), np.rot90(rendered, -1))
    assert orientation.upright_turn(np.zeros((60, 60, 3), np.uint8)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 9), (12, 12), (40, 500)])
def test_frames_of_any_size_are_refused_and_not_an_error(shape: tuple[int, int]) -> None:
    for level in (0, 255):
        assert "face" in failed(np.full((*shape, 3), level, np.uint8))


def test_a_dark_frame_without_a_face_is_told_to_be_dark(rendered: np.ndarray) -> None:
    assert failed((rendered * 0.01).astype(np.uint8)) == {"face", "darkness"}


def face(x=100.0, y=80.0, width=80.0, score=1.0, roll=0.0, nose=0.5, height=0.5) -> Face:
    turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    places = np.array([[-0.2, 0.0], [0.2, 0.0], [0.4 * nose - 0.2, 0.4 * height], [-0.15, 0.4], [0.15, 0.4]])
    points = np.array([x + width / 2, y + width / 2]) + width * places @ turn.T
    return Face((x, y, width, 1.2 * width), tuple(points.ravel().tolist()), score)


def test_geometry_of_a_face_by_hand() -> None:
    assert measures.roll(face(roll=math.radians(30))) == pytest.approx(30)
    assert measures.roll(face(roll=math.radians(-90))) == pytest.approx(-90)
    for nose, wanted in ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0), (0.25, 0.5)):
        # Whatever the roll.
        assert measures.yaw(face(nose=nose, roll=0.7)) == pytest.approx(wanted)
    for height in (0.0, 0.3, 0.5, 1.0, 1.2):
        for roll, nose in ((0.0, 0.5), (0.7, 0.2), (-1.5, 0.9)):
            assert measures.pitch(face(height=height, roll=roll, nose=nose)) == pytest.approx(height)
    assert measures.pitch(Face((0, 0, 9, 9), (5.0,) * 10)) == math.inf
    assert measures.border((10, 20, 40, 50), 200, 300) == 0.25
    assert measures.border((10, 20, 40, 50), 200, 60) == pytest.approx(-10 / 40)
    assert measures.face_grey(np.zeros((50, 60), np.uint8), (-10, -5, 30, 25)).shape == (20, 20)


def test_measures_of_pictures_with_known_faults() -> None:
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (120, 96)).astype(np.float32), (0, 0), 1.2)
    picture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    blurs = [picture, *(cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (1, 2, 4))]
    sharp = [measures.sharpness(each) for each in blurs]
    assert sharp == sorted(sharp, reverse=True)
    assert measures.sharpness(np.full((40, 40), 7, np.uint8)) == 0
    assert measures.motion_blur(picture) < 1.5
    assert measures.motion_blur(blurs[2]) < 2
    for turned in (smeared(picture), smeared(picture.T.copy()).T.copy()):
        assert measures.motion_blur(turned) > 4
    assert math.isnan(measures.motion_blur(np.full((40, 40), 7, np.uint8)))
    blocks = np.kron(rng.integers(0, 256, (15, 12)), np.ones((8, 8))).astype(np.uint8)
    assert measures.blockiness(blocks) > 10
    assert measures.blockiness(np.roll(blocks, 4, axis=(0, 1))) < 1.2
    assert measures.blockiness(picture) == pytest.approx(1, abs=0.1)
    assert math.isnan(measures.blockiness(picture[:4, :4]))
    lit = np.full((100, 200), 200, np.uint8)
    lit[30:70, 80:120] = 40
    assert measures.backlight(lit, (80, 30, 40, 40)) == 5
    assert math.isnan(measures.backlight(lit, (0, 0, 200, 100)))
    assert measures.white_share(np.array([[250, 255, 249, 0]], np.uint8)) == 0.5


@settings(max_examples=15)
@given(
    st.lists(
        st.builds(
            face,
            width=st.floats(10, 300),
            x=st.floats(-50, 300),
            roll=st.floats(-3, 3),
            nose=st.floats(0, 1),
            height=st.floats(0, 1),
        ),
        max_size=3,
    ),
    st.integers(0, 255),
)
def test_every_check_has_a_sentence_and_stricter_limits_refuse_more(faces: list[Face], level: int) -> None:
    lenient = Gate(orientation=False)
    nearer = {"face_pixels": 90, "roll": 10, "border": 0.1, "pitch_up": 0.45, "pitch_down": 0.6}
    strict = Gate(orientation=False, dark=90, sharpness=0.6, backlight=2, **nearer)
    frame = np.full((240, 320, 3), level, np.uint8)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checks, "faces_in", lambda picture: sorted(faces, key=lambda each: -each.box[2]))
        one, other = check_frame(frame, lenient), check_frame(frame, strict)
    assert [each.name for each in one] == [each.name for each in other]
    assert {each.name for each in one} <= set(ADVICE)
    assert all(easy.passed or not hard.passed for easy, hard in zip(one, other, strict=True))
    assert not any(math.isnan(each.value) for each in one)
    if not faces:
        assert "face" in {each.name for each in one if not each.passed}


@given(st.lists(st.sets(st.sampled_from(["face", "size", "roll"])), max_size=6), st.sampled_from([0.5, 0.8, 1.0]))
def test_a_share_of_frames_has_to_pass_every_check(faults: list[set[str]], share: float) -> None:
    with pytest.MonkeyPatch.context() as patched:
        told = iter(faults)

        def made(frame: np.ndarray, limits: Gate) -> tuple[checks.Check, ...]:
            own = next(told)
            return tuple(checks.Check(name, 1.0, 0.0, name not in own) for name in ("face", "size", "roll"))

        patched.setattr(checks, "check_frame", made)
        found = check_clip([np.zeros((8, 8, 3), np.uint8)] * len(faults), Gate(share=share, frames=6))
    good = sum(not each for each in faults)
    assert found.passed == bool(faults and good / len(faults) >= share)
    assert bool(found.advice) == (not found.passed)
    if faults and not found.passed:
        counts = {name: sum(name in each for each in faults) for name in ("face", "size", "roll")}
        assert counts[next(name for name, text in ADVICE.items() if text == found.advice[0])] == max(counts.values())
    json.dumps(found.to_json(), allow_nan=False)


def test_the_gate_sees_whole_frames_of_those_that_the_detector_reads() -> None:
    bursts = Rendition(segment=9, position="first", burst=5, bursts=2, size=64)
    found = gate_rendition(bursts, Gate())
    assert (found.segment, found.position, found.max_frames, found.burst) == (9, "first", 2, 1)
    assert (found.crop, found.size, found.tiles) == ("whole", 0, 0)
    crop = Rendition(preset="minivision-2.7", max_frames=0)
    assert gate_rendition(crop, Gate(frames=3)) == Rendition(crop="whole", size=0, max_frames=3)
    # Of a video that runs, those that are kept: the last of them are checked.
    causal = Rendition(seconds=0.5, position="first", cap="first", max_frames=8, size=64)
    found = gate_rendition(causal, Gate(frames=3))
    assert (found.max_frames, found.cap, found.needs_future) == (8, "first", "")
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checks, "check_frame", lambda frame, limits: seen.append(int(frame[0, 0, 0])) or ())
        check_clip([np.full((2, 2, 3), level, np.uint8) for level in range(8)], Gate(frames=3))
    assert seen == [5, 6, 7]


@pytest.mark.parametrize(
    ("no_face", "expected"),
    [("skip", [16, 18, 20]), ("whole", [10, 12, 14]), ("fail", [0, 2])],
)
def test_no_more_frames_are_held_than_are_checked(monkeypatch, no_face: Any, expected: list[int]) -> None:
    """Every second frame is offered until eight are kept; the second, the third and the fourth show no face."""
    face = lambda image, *_: None if image[0, 0, 0] in (2, 4, 6) else Face((1.0, 1.0, 4.0, 4.0))  # noqa: E731
    monkeypatch.setattr("fas_jax.pixels.renditions.find_face", face)
    read = Rendition(
        segment=2, position="first", cap="first", max_frames=8, size=8, crop="detector", face_model="mtcnn",
        no_face=no_face,
    )  # fmt: skip
    images = [np.full((8, 8, 3), level, np.uint8) for level in range(40)]
    makers = rendition_makers(Path(), Source(), {"own": read, "gate": gate_rendition(read, Gate(frames=3))})
    info, frames = choose_frames(images, makers)
    assert [int(frame[0, 0, 0]) for frame in frames["gate"]] == expected
    assert info.renditions["gate"].frame_indices == tuple(expected)
    if no_face != "fail":
        assert info.renditions["own"].frame_indices[-1] == expected[-1]
    # A frame is held by itself, and not as a part of something larger.
    assert all(frame.base is None for frame in frames["gate"])
    # Frames that were chosen from a longer video count one by one.
    makers = rendition_makers(Path(), Source(chosen=True), {"gate": gate_rendition(read, Gate(frames=3))})
    last = choose_frames(images, makers)[0].renditions["gate"].frame_indices[-1]
    assert last == {"skip": 10, "whole": 7, "fail": 2}[no_face]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    methods = {"near": Gru(hidden=3), "far": Gru(hidden=3)}
    return make_bundle(
        tmp_path_factory.mktemp("b") / "bundle", methods, {"near": 0.2, "far": 0.9}, params=np.zeros_like
    )


def checked(passed: bool) -> CheckedClip:
    return CheckedClip(2, 2 * passed, 0.5, (ClipCheck("face", float(passed), 1.0, 2, 2 * (not passed)),))


def looked_at(seen: list[np.ndarray], answer: CheckedClip, frames: list[np.ndarray], gate: Gate) -> CheckedClip:
    seen += frames
    return answer


def test_what_is_accepted_with_the_gate_is_accepted_without(bundle: Bundle, monkeypatch) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 60, 80, 3)).astype(np.uint8)
    for name, decision in (("near", "bona fide"), ("far", "attack")):
        without = bundle.judge_frames(frames, channels="RGB", name=name)
        assert without.decision == decision
        assert without.gate is None
        assert "gate" not in without.to_json()
        for passed in (True, False):
            shown: list[np.ndarray] = []
            monkeypatch.setattr(vetoes, "check_clip", partial(looked_at, shown, checked(passed)))
            found = bundle.judge_frames(frames, channels="RGB", name=name, gate=Gate())
            assert found.decision == (decision if passed else "no decision")
            assert found.to_json()["gate"]["passed"] == passed
            # The last frame of the only segment, as it is; the detector's own frames are told alone.
            np.testing.assert_array_equal(shown, frames[-1:])
            if passed:
                assert found.frames == without.frames
                assert found.score == without.score
            else:
                assert math.isnan(found.score)
                assert found.reason == f"the gate refuses it: {ADVICE['face']}"


def test_predict_checks_files_and_says_what_to_do(bundle: Bundle, rendered: np.ndarray, tmp_path: Path, capsys) -> None:
    for name, frame in (("good", rendered), ("dark", (rendered * 0.25).astype(np.uint8))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame[..., ::-1])
    paths = tmp_path / "good.png", tmp_path / "dark.png"
    verdicts = list(bundle.judge(paths, "near", gate=Gate()))
    assert [each.decision for each in verdicts] == ["bona fide", "no decision"]
    assert ADVICE["darkness"] in verdicts[1].reason
    assert all(each.sha256 for each in verdicts)
    # A limit of the caller's own.
    (strict,) = bundle.judge(paths[:1], "near", gate=Gate(dark=200))
    assert strict.reason == f"the gate refuses it: {ADVICE['darkness']}"
    loaded = bundles.Bundle(bundle, tmp_path)
    assert ADVICE["darkness"] in str(loaded.judge_files(paths, "near", gate=True))
    with pytest.raises(UserError, match=r"gate\.share must be at most 1"):
        loaded.judge_file(paths[0], gate=Gate(share=2.0))
    with pytest.raises(UserError, match="add --gate"):
        predict.main(paths, limits=Gate(dark=5))
    monkey = pytest.MonkeyPatch()
    monkey.setattr(predict, "load_bundle", lambda folder: bundle)
    try:
        assert predict.main(paths, tmp_path, "near", gate=True) == 1
    finally:
        monkey.undo()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["gate"]["passed"] for line in lines] == [True, False]
    (dark,) = [each for each in lines[1]["gate"]["checks"] if each["name"] == "darkness"]
    assert dark["value"] < dark["limit"] == 45
    assert dark["advice"] == ADVICE["darkness"]
