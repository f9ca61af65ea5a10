"""Parts of the renderer against what physics says of them."""

import dataclasses

import numpy as np
import pytest

from fas_jax.base.settings import Synthesis
from fas_jax.synthetic import instruments
from fas_jax.synthetic.camera import Automatic, CameraModel, capture, distort, set_up
from fas_jax.synthetic.face import draw_appearance, draw_head
from fas_jax.synthetic.instruments import Holding, draw_print
from fas_jax.synthetic.motion import Events, Wander
from fas_jax.synthetic.plan import official_videos
from fas_jax.synthetic.recording import record
from fas_jax.synthetic.room import draw_light
from fas_jax.synthetic.scene import compose, draw_framing, draw_scene, landmarks
from fas_jax.synthetic.screens import Screen, pixel_grid
from fas_jax.synthetic.seeds import generator

TURNED = np.array([np.pi / 2])
STILL = Wander(np.zeros(1), np.zeros(1), np.zeros(1))
PLAIN = CameraModel(
    blur=0, vignette=0, distortion=0, shot_noise=0, read_noise=0, sharpening=0, saturation=1, lift=0, target=0.45,
    balance=0.8, contrast=0,
)  # fmt: skip


def test_a_subject_looks_the_same_in_every_video_and_like_no_other():
    first, again, other = (draw_appearance(0, "oulu_npu", name) for name in ("train/1", "train/1", "train/2"))
    assert np.array_equal(draw_head(first, 60).albedo, draw_head(again, 60).albedo)
    assert not np.allclose(draw_head(first, 60).albedo, draw_head(other, 60).albedo)
    assert not np.allclose(first.skin, draw_appearance(0, "msu_mfsd", "train/1").skin)


@pytest.fixture(scope="module")
def scene():
    rng = generator("test")
    return draw_scene(
        rng,
        draw_appearance(0, "test", "1"),
        None,
        room=("test",),
        light=draw_light(rng, adverse=False),
        size=(240, 320),
        framing=draw_framing(rng, (0.5, 0.5)),
        blur=0.01,
    )


def test_eyes_are_annotated_where_a_blink_changes_the_picture(scene):
    """Found without the annotation: the centre of what differs between open and closed eyes."""
    time = 0.4
    open_eyes = compose(dataclasses.replace(scene, blinks=Events(np.array([-9.0]), 0.2)), time)
    closed = compose(dataclasses.replace(scene, blinks=Events(np.array([time]), 0.2)), time)
    change = np.abs(open_eyes - closed).sum(axis=2)
    y, x = np.mgrid[0 : change.shape[0], 0 : change.shape[1]]
    middle = landmarks(scene, time).eyes.mean(axis=0)[0]
    for eye, side in zip(landmarks(scene, time).eyes, (x < middle, x >= middle), strict=True):
        weight = change * side
        centre = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
        assert np.hypot(centre[0] - eye[0], centre[1] - eye[1]) < 3.5


def test_the_face_turns_in_depth(scene):
    """The nose, which is nearer, moves further than the cheek when the head turns."""

    def turned(yaw):
        rest = Wander(np.array([yaw]), np.zeros(1), np.array([np.pi / 2]))
        return landmarks(dataclasses.replace(scene, yaw=rest), 0.0)

    left, right = turned(-0.2), turned(0.2)
    assert (right.eyes[:, 0] - left.eyes[:, 0]).min() > 5
    assert np.allclose(left.box, right.box)


def test_automatic_exposure_and_balance_undo_light_that_is_stronger_or_tinted(scene):
    camera = set_up(PLAIN, (240, 320), ("test",))
    radiance = compose(scene, 0.0)
    frame = capture(camera, Automatic(), radiance, 0, 0.0)
    brighter = capture(camera, Automatic(), radiance * 7, 0, 0.0)
    assert np.abs(frame.astype(int) - brighter).max() <= 1
    tinted = capture(camera, Automatic(), radiance * np.array([1.5, 1, 0.6], np.float32), 0, 0.0)
    cast = tinted.mean(axis=(0, 1)) / frame.mean(axis=(0, 1))
    assert np.all(np.abs(cast / cast[1] - 1) < np.abs(np.array([1.5, 1, 0.6]) ** (1 / 2) - 1) * 0.45 + 0.01)


def test_noise_of_the_sensor_is_shot_noise():
    """Its variance grows linearly with the light."""
    model = dataclasses.replace(PLAIN, shot_noise=0.002, balance=0.0)
    camera = set_up(model, (256, 256), ("test",))
    ramp = np.repeat(np.linspace(0.1, 0.6, 8, dtype=np.float32), 32)
    light = np.broadcast_to(ramp[None, :, None], (256, 256, 3)).copy()
    frame = capture(camera, Automatic(), light, 0, 0.0)
    linear = (frame / 255.0) ** 2
    stripes = linear.reshape(256, 8, 32, 3)
    means, variances = stripes.mean(axis=(0, 2, 3)), stripes.var(axis=(0, 2)).mean(axis=1)
    assert np.corrcoef(means[:6], variances[:6])[0, 1] > 0.99
    ratio = variances[:6] / means[:6]
    assert ratio.max() / ratio.min() < 1.15


def test_points_follow_the_lens_distortion():
    camera = set_up(dataclasses.replace(PLAIN, distortion=-0.05), (200, 160), ("test",))
    light = np.full((160, 200, 3), 0.05, np.float32)
    light[28:33, 38:43] = 1.0
    frame = capture(camera, Automatic(), light, 0, 0.0).astype(float).sum(axis=2)
    frame = np.clip(frame - np.median(frame) - 40, 0, None)
    y, x = np.mgrid[0:160, 0:200]
    found = np.array([(frame * x).sum(), (frame * y).sum()]) / frame.sum()
    told = distort(camera, np.array([[40.0, 30.0]], np.float32))[0]
    assert np.abs(found - told).max() < 0.5
    assert np.abs(told - (40, 30)).max() > 1


def screen(pixels):
    black = np.zeros((4, 4, 3), np.float32)
    return Screen(
        content=lambda index: np.zeros((4, 4, 3), np.uint8), pixels=pixels, bezel=(0, 0), bezel_colour=black[0, 0],
        white=np.ones(3, np.float32), black=0, gamma=2.2, grid=1.0, band=(0, 1, 0), reflection=black,
    )  # fmt: skip


@pytest.mark.parametrize(("cycles", "expected"), [(0.3, 0.3), (0.8, 0.2), (1.125, 0.125)])
def test_the_pixel_grid_folds_back_as_the_sampling_theorem_says(cycles, expected):
    size = 240
    u, v = np.meshgrid(np.arange(size, dtype=np.float32) / size, np.arange(size, dtype=np.float32) / size)
    grid = pixel_grid(screen((cycles * size, 1.0)), u, v)
    spectrum = np.abs(np.fft.rfft(grid[size // 2, :, 1] - grid[size // 2, :, 1].mean()))
    assert np.argmax(spectrum) / size == pytest.approx(expected, abs=1.5 / size)
    # The three colours' subpixels lie side by side, so that the stripes are coloured.
    assert np.abs(grid[..., 0] - grid[..., 2]).max() > 0.01


def test_a_finer_grid_is_seen_less():
    size = 240
    u, v = np.meshgrid(np.arange(size, dtype=np.float32) / size, np.arange(size, dtype=np.float32) / size)
    depths = [pixel_grid(screen((rate * size, 1.0)), u, v)[..., 1].std() for rate in (0.33, 0.77, 1.13, 1.9)]
    assert depths == sorted(depths, reverse=True)


@pytest.mark.parametrize("amplitude", [True, False])
def test_a_print_keeps_tones_in_order_and_greys_grey(amplitude):
    levels = np.array([60, 100, 140, 180, 220], np.uint8)
    photo = np.repeat(np.repeat(levels, 24)[None, :, None], 60, axis=0).repeat(3, axis=2)
    printed = draw_print(generator("test"), photo, (120.0, 60.0), (0, 0), 2.2, amplitude, 1.0)
    patches = printed.reshape(printed.shape[0], 5, -1, 3).mean(axis=(0, 2))
    assert np.all(np.diff(patches.mean(axis=1)) > 0.02)
    assert (patches.max(axis=1) - patches.min(axis=1)).max() < 0.04
    assert (patches.max(axis=1) / patches.min(axis=1)).max() < 1.4
    # A saturated colour lies outside of the inks' gamut.
    red = np.full((60, 60, 3), (255, 0, 0), np.uint8)
    patch = draw_print(generator("test"), red, (60.0, 60.0), (0, 0), 2.2, amplitude, 1.0).mean(axis=(0, 1))
    assert patch[1] / patch[0] > 0.05


def test_dots_stand_out_from_what_they_print():
    grey = np.full((80, 80, 3), 140, np.uint8)
    with_dots, without = (
        draw_print(generator("test"), grey, (80.0, 80.0), (0, 0), 2.5, True, dots)[10:-10, 10:-10].std()
        for dots in (1.0, 0.0)
    )
    assert with_dots > 3 * without


def test_an_instruments_corners_map_to_where_it_is_held():
    holding = Holding(
        size=(100.0, 60.0), centre=(80.0, 50.0), x=STILL, y=STILL, zoom=STILL,
        roll=Wander(np.array([0.2]), np.zeros(1), TURNED),
        tilt_x=STILL, tilt_y=Wander(np.array([0.1]), np.zeros(1), TURNED), still=True,
    )  # fmt: skip
    points = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    assert np.allclose(instruments.to_frame(holding, 0, points), instruments.corners(holding, 0), atol=1e-3)
    u, v = instruments.view(holding, 0, (160, 100)).at(slice(0, 100))
    x, y = instruments.to_frame(holding, 0, np.array([[u[30, 70], v[30, 70]]]))[0]
    assert (x, y) == (pytest.approx(70, abs=1e-2), pytest.approx(30, abs=1e-2))


@pytest.mark.parametrize("layout", ["oulu_npu", "casia_fasd", "replay_attack", "msu_mfsd"])
def test_every_species_is_a_moving_picture_of_the_planned_size(layout):
    settings = Synthesis(frames=4, scale=0.1)
    seen = set()
    for video in official_videos(layout):
        if video.fine in seen:
            continue
        seen.add(video.fine)
        recording = record(video, settings, None)
        frames = list(recording.frames)
        assert len(frames) == len(recording.boxes) == len(recording.eyes)
        assert all(frame.dtype == np.uint8 and frame.shape == frames[0].shape for frame in frames)
        assert 10 < frames[0].std() < 110
        assert np.any(frames[0] != frames[-1])
        height, width = frames[0].shape[:2]
        assert np.all((recording.eyes > 0) & (recording.eyes < (width, height)))
        assert np.all(recording.eyes[:, 0, 0] < recording.eyes[:, 1, 0])
        x, y, w, h = recording.boxes.T
        assert np.all((x < recording.eyes[:, 0, 0]) & (x + w > recording.eyes[:, 1, 0]))
        assert np.all((y < recording.eyes[:, 0, 1]) & (y + h > recording.eyes[:, 1, 1]))
