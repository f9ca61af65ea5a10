"""Augmentations: pure, of the same size and type, and each does what it says."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.pixels import augmentation
from fas_jax.pixels.augmentation import Augmentation, augment

NONE = Augmentation(flip=0, crop=0, light=0, colour=0, blur=0, noise=0, jpeg=0)


def picture(height: int = 40, width: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth colours with fine texture on them."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(40, 210, (4, 4, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def fine(image: np.ndarray) -> float:
    """How much fine texture there is."""
    return float(np.abs(np.diff(image.astype(float), axis=0)).mean())


CHANGES = {
    "crop": lambda image, rng: augmentation.crop(image, rng, 0.4),
    "rotate": lambda image, rng: augmentation.rotate(image, rng, 20),
    "light": lambda image, rng: augmentation.light(image, rng, 0.4),
    "colour": lambda image, rng: augmentation.colour(image, rng, 0.4),
    "blur": lambda image, rng: augmentation.blur(image, rng, 2.0),
    "noise": lambda image, rng: augmentation.noise(image, rng, 9.0),
    "jpeg": lambda image, rng: augmentation.jpeg(image, rng, 30),
    "cut_out": lambda image, rng: augmentation.cut_out(image, rng, 0.5),
    "all": lambda image, rng: augment(image, rng, Augmentation(1, 0.3, 9, 0.3, 0.3, 1, 2, 1, 9, 1, 30, 1, 0.5)),
}


@pytest.mark.parametrize("name", CHANGES)
@given(seed=st.integers(0, 999), height=st.integers(32, 50))
def test_a_change_is_a_pure_function_of_image_and_generator(name, seed, height):
    image = picture(height, seed=seed)
    before = image.copy()
    found = CHANGES[name](image, rng(seed))
    assert (found.shape, found.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(CHANGES[name](image, rng(seed)), found)


def test_a_crop_by_area_keeps_between_its_least_area_and_all():
    """The mean share is that of an even area, not of an even side."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None], 200, 0)[:, :, None].repeat(3, 2)
    shares = np.array([np.ptp(augmentation.crop(ramp, rng(seed), 0.8, "area")) / 199 for seed in range(400)])
    assert 0.2**0.5 - 0.02 < shares.min() < 0.5
    assert shares.max() > 0.97
    np.testing.assert_allclose((shares**2).mean(), 0.6, atol=0.06)  # of an even side it would be 0.41


def test_frames_are_turned_before_the_crop_with_black_corners_where_that_is_asked_for():
    settings = dataclasses.replace(NONE, rotation=180.0, crop=0.5, turn_first=True)
    image = np.full((40, 40, 3), 200, np.uint8)
    found = [augment(image, rng(seed), settings) for seed in range(30)]
    assert any((each == 0).any() for each in found)
    # A crop hides corners, so that some frames have none.
    assert any((each == 200).all() for each in found)
    after = dataclasses.replace(settings, turn_first=False)
    assert all((augment(image, rng(seed), after) == 200).all() for seed in range(30))


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_is_drawn(name):
    image = picture()
    found = [CHANGES[name](image, rng(seed)).tobytes() for seed in range(20)]
    assert len({*found, image.tobytes()}) > 15


def test_without_strength_nothing_changes():
    image = picture()
    np.testing.assert_array_equal(augment(image, rng(), NONE), image)


def test_flip_mirrors():
    image = picture()
    np.testing.assert_array_equal(augmentation.flip(image), image[:, ::-1])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_is_the_share_of_frames(share):
    image = picture()
    settings = Augmentation(flip=share, crop=0, light=0, colour=0, blur=0, noise=0, jpeg=0)
    mirrored = [np.array_equal(augment(image, rng(seed), settings), image[:, ::-1]) for seed in range(400)]
    assert abs(np.mean(mirrored) - share) < 0.07


def test_a_crop_is_a_part_of_the_image_enlarged():
    image = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (64, 64, 3)).copy()
    for seed in range(20):
        rows = augmentation.crop(image, rng(seed), 0.5)[:, 0, 0].astype(int) / 3
        slope = (rows[50] - rows[10]) / 40
        assert 0.49 <= slope <= 1.0
        assert rows[0] >= 0
        assert rows[-1] <= 63


def test_a_rotation_keeps_the_middle_and_stays_within_its_degrees():
    image = np.zeros((65, 65, 3), np.uint8)
    image[32, 32:] = 255
    for seed in range(10):
        found = augmentation.rotate(image, rng(seed), 30)
        assert found[32, 32, 0] > 100
        row, column = np.unravel_index(np.argmax(found[:, 60, 0]), (65,))[0], 60
        assert abs(np.degrees(np.arctan2(row - 32, column - 32))) <= 31


def test_light_changes_mean_and_contrast_within_their_range():
    image = np.clip(picture(), 90, 160)
    means, contrasts = [], []
    for seed in range(60):
        found = augmentation.light(image, rng(seed), 0.3).astype(float)
        means.append(found.mean() / image.mean())
        contrasts.append(found.std() / image.std())
    for ratios in (means, contrasts):
        assert 0.69 < min(ratios) < 0.8
        assert 1.2 < max(ratios) < 1.31


def test_colour_moves_channels_apart_and_leaves_brightness_nearly_as_it_is():
    grey = np.full((32, 32, 3), 120, np.uint8)
    found = [augmentation.colour(grey, rng(seed), 0.2)[0, 0].astype(float) for seed in range(40)]
    assert max(np.ptp(each) for each in found) > 20
    assert all(abs(each - 120).max() <= 0.2 * 1.2 * 120 + 0.25 * 120 for each in found)


def test_blur_and_jpeg_remove_fine_texture_and_noise_adds_some():
    image = picture()
    assert fine(augmentation.blur(image, rng(1), 3.0)) < 0.7 * fine(image)
    assert fine(augmentation.jpeg(image, rng(1), 5)) != fine(image)
    assert fine(augmentation.noise(image, rng(1), 30.0)) > 1.1 * fine(image)


def test_jpeg_keeps_the_order_of_the_channels():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(augmentation.jpeg(red, rng(), 90).reshape(-1, 3).mean(0), [200, 0, 0], atol=4)


def test_a_cut_out_is_one_grey_rectangle():
    image = picture()
    for seed in range(20):
        found = augmentation.cut_out(image, rng(seed), 0.5)
        changed = (found != image).any(2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        inside = found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (inside == 127).all()
        assert len(rows) <= 21
        assert len(columns) <= 17
