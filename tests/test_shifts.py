"""Shifted frames: pure functions of frame, video and seed, every factor among them, and each of the stated kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fas_jax.pixels import shifts
from fas_jax.pixels.shifts import FACTORS, shift_frames


def clip(frames=3, height=32, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


@settings(max_examples=30, deadline=None)
@given(name=st.text(max_size=20), seed=st.integers(0, 2**31), height=st.integers(1, 33), width=st.integers(1, 33))
def test_the_same_video_and_seed_give_the_same_pixels(name, seed, height, width):
    frames = clip(height=height, width=width)
    before = frames.copy()
    found = shift_frames(frames, name, seed)
    assert found.shape == frames.shape
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(found, shift_frames(frames, name, seed))
    # A frame does not depend on those that come after it.
    np.testing.assert_array_equal(found[:2], shift_frames(frames[:2], name, seed))


def test_videos_and_seeds_draw_their_own_shifts():
    frames = clip()
    found = [shift_frames(frames, name, seed) for name in ("a", "b", "c") for seed in (0, 1)]
    for one in range(len(found)):
        assert not np.array_equal(found[one], frames)
        for other in range(one):
            assert not np.array_equal(found[one], found[other])


def test_a_video_is_shifted_alike_in_all_of_its_frames():
    """But for the sensor's noise: equal frames stay equal in the videos that drew none, and in no other."""
    frames = np.repeat(clip(1), 2, axis=0)
    alike = [np.array_equal(*shift_frames(frames, str(number), 0)) for number in range(200)]
    assert 0.3 < np.mean(alike) < 0.6
    assert len(shift_frames(frames[:0], "none", 0)) == 0


def alone(name, frames, number, monkeypatch):
    monkeypatch.setattr(shifts, "_FACTORS", {name: shifts._FACTORS[name]})
    return shift_frames(frames, str(number), 0).astype(float)


@pytest.mark.parametrize("name", FACTORS)
def test_each_factor_does_what_it_is_named_for(name, monkeypatch):
    y, x = np.mgrid[:64, :64]
    smooth = np.stack([64 + x, 64 + y, 128 + (x + y) // 4], -1).astype(np.uint8)[None]
    edges = (255 * ((x // 5 + y // 5) % 2)).astype(np.uint8)[None, ..., None].repeat(3, -1)
    grey = np.full((1, 64, 64, 3), 120, np.uint8)
    for number in range(5):
        flat = alone(name, grey, number, monkeypatch)[0]
        monkeypatch.undo()
        sharp = alone(name, edges, number, monkeypatch)[0]
        monkeypatch.undo()
        soft = alone(name, smooth, number, monkeypatch)[0]
        monkeypatch.undo()
        if name in ("blur", "resolution", "compression"):
            # Blind to what has no detail, and no lighter or darker on the whole.
            assert np.abs(flat - 120).max() <= 2
            assert abs(sharp.mean() - edges.mean()) < 8
            assert not np.array_equal(sharp, edges[0])
        elif name == "noise":
            assert 0.3 < flat.std() < 12
            assert abs(flat.mean() - 120) < 1
        elif name == "light":
            assert np.ptp(flat) == 0
            # One curve for every level: order is kept.
            order = np.argsort(smooth[0, ..., 0], axis=None)
            assert np.all(np.diff(soft[..., 0].ravel()[order]) >= 0)
        else:
            assert np.ptp(flat.reshape(-1, 3), axis=0).max() == 0
            assert 0.8 * 120 - 1 <= flat.min() <= flat.max() <= 1.25 * 120 + 1


def test_the_pixels_of_a_version_stay_as_they_are():
    """Raise `VERSION` where these change: stores are named by it."""
    found = shift_frames(clip(), "synth-M\0train/0.avi", 0)
    assert shifts.VERSION == 1
    # Versions of OpenCV round JPEG otherwise.
    assert [float(each.mean()) for each in found] == pytest.approx([87.39, 88.00, 89.59], abs=0.2)
    assert [float(each.std()) for each in found] == pytest.approx([50.71, 49.98, 51.13], abs=0.2)
