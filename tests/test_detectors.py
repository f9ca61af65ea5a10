"""What every detector promises, whatever its method."""

from functools import cache

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.base.record import Video
from fas_jax.base.settings import Execution
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.features.frame_scores import FrameScores
from fas_jax.methods.base import Desk, Failed, Job
from fas_jax.methods.clip_scores import ClipScores
from fas_jax.methods.data import Batch, Scores, Task
from fas_jax.methods.logistic import Logistic
from fas_jax.methods.registry import find_kind, kinds
from tests.made_up import METHODS as ON_CLIPS
from tests.made_up import ON_BURSTS, WIDTH, HeldFrames, make_batch, make_detector, take
from tests.stores import clip_info

METHODS = ON_CLIPS | ON_BURSTS
# A test that names every method fails for a new one that this file does not know.
assert {method.kind for method in METHODS.values()} == {
    kind for kind in kinds() if find_kind(kind).__module__.startswith("fas_jax.")
}


@cache
def detector_of(name):
    """Drawn when a test asks: two processes that collect tests would compile the same program at once."""
    return make_detector(METHODS[name])


EVERY = pytest.mark.parametrize("name", METHODS)
LENGTHS = (3, 1, 4, 2, 1)


def batch_for(name, lengths=LENGTHS, frames=0, seed=0):
    """Clips of so many frames, or bursts."""
    burst = METHODS[name].least_burst
    return make_batch(METHODS[name].inputs(), [burst * each for each in lengths], WIDTH, burst * frames, seed)


def scores_of(name, batch):
    found = detector_of(name).score(batch)
    assert found.clip.shape == (len(batch),)
    return found


@EVERY
@settings(max_examples=8)
@given(data=st.data())
def test_a_score_depends_neither_on_mates_nor_on_order_nor_on_padding(name, data):
    """Two shapes, so that two programs are compiled; everything else is drawn."""
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=5, max_size=5))
    seed = data.draw(st.integers(0, 99))
    together = scores_of(name, batch_for(name, lengths, frames=4, seed=seed))
    assert ((together.clip >= 0) & (together.clip <= 1)).all()
    order = data.draw(st.permutations(range(5)))
    shuffled = scores_of(name, take(batch_for(name, lengths, frames=7, seed=seed), order))
    np.testing.assert_allclose(shuffled.clip, together.clip[order], atol=1e-5)
    row = data.draw(st.integers(0, 4))
    alone = scores_of(name, take(batch_for(name, lengths, frames=7, seed=seed), [row]))
    np.testing.assert_allclose(alone.clip, together.clip[[row]], atol=1e-5)
    if together.frame is not None:
        length = lengths[row]
        np.testing.assert_allclose(alone.frame[0, :length], together.frame[row, :length], atol=1e-5)


@EVERY
def test_scores_follow_what_is_read(name):
    """The counterpart, without which the test above could pass by reading nothing."""
    assert scores_of(name, batch_for(name)).clip.std() > 1e-3


@EVERY
def test_the_pure_function_scores_as_the_detector_does(name):
    detector, batch = detector_of(name), batch_for(name)
    function = detector.apply()
    if any(item.kind == "facts" for item in METHODS[name].inputs()):
        assert function is None  # facts are no arrays of pixels
        return
    if name == "quality":
        assert function is None  # its frames have any size
        return
    data = {}
    for item, values in batch.data.items():
        whole = item.kind == "clip-scores"
        data[item] = (values.logit if whole else values.frame) if isinstance(values, Scores) else values
    clip, frame, *known = jax.jit(function)(detector.params, data, dict(batch.mask))
    wanted = scores_of(name, batch)
    # Frames of noise have no motion to find, so that its search multiplies rounding.
    close = 1e-4 if name == "motion" else 1e-5
    np.testing.assert_allclose(clip, wanted.clip, atol=close)
    # A detector that knows logits better than its scores tell says so in its program, too.
    assert bool(known) == (wanted.logit is not None)
    for logit in known:
        np.testing.assert_allclose(logit, wanted.logit, rtol=1e-4, atol=1e-4)
    if wanted.frame is not None:
        (mask, *_) = batch.mask.values()
        np.testing.assert_allclose(np.asarray(frame)[mask], wanted.frame[mask], atol=close)


@EVERY
def test_a_clip_without_input_has_no_decision_and_a_reason(name):
    lengths = (3, 0, 2)
    if METHODS[name].inputs()[0].kind == "facts":
        return  # there are always facts
    found = scores_of(name, batch_for(name, lengths))
    np.testing.assert_array_equal(np.isnan(found.clip), [False, True, False])
    assert [bool(why) for why in found.reason] == [False, True, False]
    assert "there are no frames" in found.reason[1]
    np.testing.assert_allclose(found.clip[[0, 2]], scores_of(name, batch_for(name, (3, 1, 2))).clip[[0, 2]], atol=1e-5)


def test_a_clip_without_colours_has_no_decision_and_a_reason():
    batch = batch_for("colour")
    (infos,) = batch.data.values()
    lacking = [type(infos[0])(**{name: getattr(info, name) for name in info.__slots__}) for info in infos]
    lacking[1] = type(infos[0])(
        **{name: getattr(infos[1], name) for name in infos[1].__slots__ if name != "renditions"},
        renditions={"whole": type(infos[1].renditions["whole"])(reason="no face")},
    )
    found = detector_of("colour").score(Batch({METHODS["colour"].inputs()[0]: lacking}, {}))
    assert np.isnan(found.clip[1])
    assert found.reason[1]
    assert np.isfinite(np.delete(found.clip, 1)).all()


@EVERY
def test_detectors_come_back_from_what_is_stored(name, tmp_path):
    detector, path = detector_of(name), tmp_path / "detector.safetensors"
    save_tree(path, jax.tree.map(np.asarray, detector.params), {"about": dict(detector.about)})
    params, about = load_tree(path)
    again = METHODS[name].rebuild(params, about["about"])
    batch = batch_for(name)
    np.testing.assert_array_equal(again.score(batch).clip, scores_of(name, batch).clip)


@EVERY
def test_parameters_of_other_settings_are_refused(name):
    detector = detector_of(name)
    with pytest.raises(UserError, match=f"parameters of a {METHODS[name].kind}"):
        METHODS[name].rebuild(jax.tree.map(lambda leaf: leaf[None], detector.params), detector.about)


def clips_for(name, count=12, empty=()):
    """Clips in memory with everything that a method reads."""
    burst = METHODS[name].least_burst
    lengths = [0 if row in empty else 1 + row % 4 for row in range(count)]
    batch = batch_for(name, lengths, frames=4)
    videos = VideoTable.of(
        Video(f"{row:02d}", "X", f"s{row}", "train", row % 2, "print", "print", "", "") for row in range(count)
    )
    features = next(
        (v for item, v in batch.data.items() if item.kind == "features"), np.zeros((count, 4 * burst, WIDTH))
    )
    infos = next((v for item, v in batch.data.items() if item.kind == "facts"), [clip_info(n) for n in lengths])
    mask = np.arange(4 * burst) < burst * np.array(lengths)[:, None]
    images = next((v for item, v in batch.data.items() if item.kind == "frames"), None)
    frames = None if images is None else lambda _: HeldFrames.of(images, mask, burst)
    scores = {}
    of_clips = {}
    for item, values in batch.data.items():
        if item.kind == "clip-scores":
            of_clips[item.name] = ClipScores.empty(count, 2)
            of_clips[item.name].put(1, np.arange(count), values)
        if item.kind == "scores":
            scores[item.name] = FrameScores.in_memory(2, mask)
            scores[item.name].put(1, np.arange(count), values.frame)
    opened = ClipFeatures(features, mask, infos)
    return CorpusClips(videos, np.arange(count), lambda _: opened, scores, frames, of_clips), batch


@EVERY
def test_many_clips_score_as_a_batch_of_them_does(name):
    """By `score_all`, of any rows in any order, those without input among them."""
    empty = (3,) if METHODS[name].inputs()[0].kind != "facts" else ()
    clips, batch = clips_for(name, empty=empty)
    rows = [np.array([7, 3, 0, 11]), np.array([5, 2])]
    detectors = [detector_of(name), make_detector(METHODS[name], seed=5)]
    desk = Desk(name, Execution())
    for detector, own, found in zip(
        detectors, rows, type(METHODS[name]).score_all(detectors, clips, rows, [1, 1], desk), strict=True
    ):
        wanted = detector.score(take(batch, own.tolist()))
        np.testing.assert_allclose(found.clip, wanted.clip, atol=1e-5)
        np.testing.assert_array_equal([bool(each) for each in found.reason or [""] * len(own)], np.isnan(found.clip))


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if isinstance(method, Logistic)])
def test_a_regression_is_fitted_on_the_clips_that_have_its_input(name):
    clips, _ = clips_for(name, empty=(3,) if name == "mean-feature" else ())
    task = Task(0, "task", "A_to_B", 0, "whole", np.arange(10), np.arange(10, 12), np.arange(10, 12))
    (found,) = METHODS[name].fit([Job(METHODS[name], task)], clips, Desk(name, Execution()))
    assert not isinstance(found, Failed)
    assert all(np.isfinite(values).all() for values in found.params.values())


def test_a_score_is_a_number_or_has_a_reason():
    with pytest.raises(ValueError, match="NaN needs one"):
        Scores(np.array([0.5, np.nan]))
    with pytest.raises(ValueError, match="NaN needs one"):
        Scores(np.array([0.5, 0.1]), None, ["", "no face"])
    none = Scores.none(2, "no face")
    assert np.isnan(none.clip).all()
    assert list(none.reason) == ["no face"] * 2
