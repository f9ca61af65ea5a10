"""Measures of image quality against their definitions in float64, and against the reference implementation's values."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.features.quality import measures, niqe
from fas_jax.features.quality.grey import Flavour
from tests import quality_by_definition, quality_statistics_by_definition

# Of float32 arithmetic on the frames below; the counts of pixels among them are exact.
TOLERANCE = 1e-4
# Odd sides and even ones.
SIZES: dict[Flavour, tuple[int, int]] = {"formula": (49, 57), "bob": (44, 52)}
PEER = "FAS_JAX_BOB_QUALITY"
"""Environment variable with the folder of an unpacked bob.ip.qualitymeasure 1.1.8 (GPLv3, of which this is no part)."""


def scenes(height: int, width: int) -> np.ndarray:
    """Frames with what measures react to: shading, edges, texture, noise, highlights, blocks, and grey alone."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width]
    shade = 90 + 60 * np.sin(x / 17) + 50 * np.cos(y / 11)
    face = 70.0 * ((x - width / 2) ** 2 / 4 + (y - height / 2) ** 2 / 6 < (height / 6) ** 2)
    base = np.stack([shade + face, 0.8 * shade + 0.6 * face, 0.7 * shade + 0.4 * face], -1)
    textured = base + rng.normal(0, 12, base.shape)
    bright = base + rng.normal(0, 3, base.shape) + 90 * np.exp(-(((x - 20) ** 2 + (y - 15) ** 2) / 30))[..., None]
    blocks = np.kron(textured[::8, ::8], np.ones((8, 8, 1)))[:height, :width] + rng.normal(0, 2, base.shape)
    grey = np.repeat(textured[..., :1], 3, -1)
    return np.clip(np.stack([textured, bright, blocks, grey]), 0, 255).astype(np.uint8)


def measure(frames: np.ndarray, flavour: Flavour, only_galbally: bool = False) -> np.ndarray:
    """`measures.deviations`, compiled in less time."""
    program = measures.deviations.lower(frames, flavour, only_galbally).compile({"xla_backend_optimization_level": 0})
    return np.asarray(program(frames))


@pytest.fixture(scope="module", params=list(SIZES))
def measured(request: pytest.FixtureRequest) -> tuple[Flavour, np.ndarray, np.ndarray]:
    """A flavour, frames of which the first and the last are the same and the one before the last is flat, measured."""
    flavour: Flavour = request.param
    frames = scenes(*SIZES[flavour])
    frames = np.concatenate([frames, np.full_like(frames[:1], 77), frames[:1]])
    return flavour, frames, measure(frames, flavour)


def test_measures_are_those_of_their_definitions(measured: tuple[Flavour, np.ndarray, np.ndarray]) -> None:
    flavour, frames, values = measured
    names = measures.names(flavour)
    assert len(names) == len(set(names)) == values.shape[1] == {"formula": 145, "bob": 136}[flavour]
    found = measures.published(values, flavour)
    worst = dict.fromkeys(names, 0.0)
    for row, frame in zip(found[:-2], frames, strict=False):
        expected = quality_by_definition.galbally(frame, flavour) | quality_by_definition.wen(frame, flavour)
        assert set(expected) == set(names)
        for name, value in zip(names, row.tolist(), strict=True):
            if name == "ad":
                assert value == 0
                assert abs(expected[name]) < 1e-12
            elif np.isnan(expected[name]):
                assert np.isnan(value), name
            else:
                scale = abs(expected[name]) or 1.0
                worst[name] = max(worst[name], abs(value - expected[name]) / scale)
    if os.environ.get("FAS_JAX_SHOW_ERRORS"):
        print(flavour, {name: f"{value:.1e}" for name, value in worst.items()})
    assert not {name: value for name, value in worst.items() if not value < TOLERANCE}


def test_what_lies_above_one_keeps_its_digits(measured: tuple[Flavour, np.ndarray, np.ndarray]) -> None:
    flavour, frames, values = measured
    names = measures.names(flavour)
    for row, frame in zip(values[:-2], frames, strict=False):
        expected = quality_by_definition.galbally(frame, flavour)
        for name in ("sc", "nxc", "mas", "ssim"):
            if flavour == "bob" or name != "mas" or np.ptp(frame, axis=-1).any():
                # bob's SSIM is a sum of both signs over pixels.
                assert row[names.index(name)] == pytest.approx(expected[name] - 1, rel=2e-4), name


def test_a_flat_frame_has_no_undefined_value_but_nan(measured: tuple[Flavour, np.ndarray, np.ndarray]) -> None:
    flavour, _, values = measured
    flat = dict(zip(measures.names(flavour), values[-2].tolist(), strict=True))
    assert not np.isinf(values).any()
    assert all(np.isnan(flat[name]) for name in ("psnr", "snr", "lmse", "vif", "h-skewness", "v-skewness", "blur"))
    assert (flat["mse"], flat["md"], flat["colour-0"], flat["colour-1"]) == (0, 0, 1, 0)
    if flavour == "formula":
        assert all(
            np.isnan(flat[name])
            for name in ("ted", "tcd", "spe", "rred", "jqi", "hlfi", "niqe", "specular-share", "edge-width")
        )


def test_a_frame_is_measured_the_same_whatever_is_beside_it(measured: tuple[Flavour, np.ndarray, np.ndarray]) -> None:
    _, frames, values = measured
    np.testing.assert_array_equal(frames[0], frames[-1])
    np.testing.assert_array_equal(values[0], values[-1])


def test_small_frames_have_what_is_defined_of_them() -> None:
    found = measure(scenes(64, 64)[:1, :5, :7], "formula", only_galbally=True)[0].tolist()
    values = dict(zip(measures.GALBALLY["formula"], found, strict=True))
    assert all(np.isnan(values[name]) for name in ("ssim", "vif", "rred", "jqi", "niqe", "ted", "tcd"))
    assert all(np.isfinite(values[name]) for name in ("mse", "psnr", "spe", "gme", "mas", "hlfi"))
    with pytest.raises(UserError, match=r"a frame of 9x2 pixels is too small"):
        measures.measure(np.zeros((1, 2, 9, 3), np.uint8))


@pytest.fixture(scope="module")
def patched() -> tuple[np.ndarray, np.ndarray]:
    """Grey frames of two patches and some pixels, and how natural they are.

    One is half white, one has a patch without contrast, one is flat, and the last is the first.
    """
    grey = np.stack([quality_by_definition.luma(frame, "formula") for frame in scenes(101, 197)]).astype(np.int32)
    white, blank = grey[0].copy(), grey[1].copy()
    white[:50] = 255
    blank[:, 90:] = 0  # and so are the neighbourhoods of the second patch
    frames = np.stack([*grey, white, blank, np.full_like(white, 77), grey[0]])
    program = jax.jit(lambda all_: jax.lax.map(niqe.naturalness, all_)).lower(frames)
    return frames, np.asarray(program.compile({"xla_backend_optimization_level": 0})(frames))


def test_naturalness_is_that_of_its_definition(patched: tuple[np.ndarray, np.ndarray]) -> None:
    frames, found = patched
    expected = [quality_statistics_by_definition.niqe(frame.astype(np.float64)) for frame in frames]
    assert np.isnan(found).tolist() == [False] * 5 + [True, True, False]
    np.testing.assert_allclose(found, expected, TOLERANCE)
    assert found[0] == found[-1]


@pytest.mark.parametrize("size", [(191, 191), (95, 600)])
def test_naturalness_needs_two_patches(size: tuple[int, int]) -> None:
    levels = quality_by_definition.luma(scenes(*size)[0], "formula").astype(np.int32)
    assert np.isnan(niqe.naturalness(jnp.asarray(levels)))


def test_a_damaged_model_of_naturalness_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert niqe.pristine.__wrapped__().whitening.shape == (36, 36)
    for name in ("none.npz", "niqe.py"):
        monkeypatch.setattr(niqe, "_MODEL", name)
        with pytest.raises(UserError, match=f"{name} is missing or damaged; install the package again"):
            niqe.pristine.__wrapped__()


def test_batches_of_large_frames_are_small() -> None:
    assert measures.batch_size(480, 720) == 8
    assert measures.batch_size(4320, 7680) == 1
    assert measures.measure(np.zeros((0, 4320, 7680, 3), np.uint8)).shape == (0, 145)


@pytest.mark.slow
def test_values_of_the_reference_implementation() -> None:
    """Its own golden file: 18 measures of three frames, and 121 of Wen et al. less the three of specularity."""
    if PEER not in os.environ:
        pytest.skip(f"{PEER} names no folder of bob.ip.qualitymeasure 1.1.8")
    import cv2
    import h5py

    data = Path(os.environ[PEER]) / "bob/ip/qualitymeasure/data"
    capture = cv2.VideoCapture(str(data / "real_client001_android_SD_scene01.mp4"))
    frames = np.stack([capture.read()[1][..., ::-1] for _ in range(3)])
    with h5py.File(data / "real_client001_android_SD_scene01_ref_feats.h5") as file:
        expected = np.concatenate([file["bobiqm"][:], file["msuiqa"][:, 3:]], 1)
    found = measures.published(measures.measure(frames, "bob"), "bob")
    # AD is rounding alone. In GPE, bob's phases jump by a whole turn where a gradient's sign is rounding alone.
    loose = {"ad": (0, 1e-15), "gpe": (1e-2, 0)}
    for place, name in enumerate(measures.names("bob")):
        relative, absolute = loose.get(name, (1e-4, 0))
        np.testing.assert_allclose(found[:, place], expected[:, place], relative, absolute, err_msg=name)
