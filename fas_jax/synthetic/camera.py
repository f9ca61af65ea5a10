"""A camera: from linear radiance to 8-bit frames."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from fas_jax.synthetic.motion import Wander, wander
from fas_jax.synthetic.pixels import open_grid, spread, strips
from fas_jax.synthetic.seeds import generator

# Frames between two measurements of the automatic exposure.
_METER_EVERY = 4
# Rows and columns of the tile of noise.
_TILE = 256
# The weights of a grey value (ITU-R BT.601), for each channel.
_GREY = np.tile((0.299, 0.587, 0.114), (3, 1))


@dataclass(frozen=True)
class CameraModel:
    """What a device's lens, sensor and processing do, in units that do not depend on the frame's size."""

    blur: float
    """Standard deviation of the lens blur in pixels."""
    vignette: float
    """Share of light lost in the corners."""
    distortion: float
    """Radial distortion at the corner, as a share of the radius; negative for barrel."""
    shot_noise: float
    """Variance of the noise at full signal."""
    read_noise: float
    """Standard deviation of the noise in the dark, full signal being 1."""
    sharpening: float
    saturation: float
    lift: float
    """Share of the fourth root in the tone curve, the rest being the square root."""
    target: float
    """Mean that the automatic exposure aims at, as a share of full scale after the tone curve."""
    balance: float
    """Share of a colour cast that the automatic white balance removes."""
    contrast: float
    """Share of the way to full contrast that the automatic tone mapping goes."""


@dataclass(frozen=True)
class Camera:
    """A camera set up for one video."""

    model: CameraModel
    shading: Float32[np.ndarray, "h w 3"]
    maps: tuple[np.ndarray, np.ndarray] | None
    noise: Float32[np.ndarray, "n m 3"]
    """A tile of unit noise, correlated as demosaicing leaves it, repeated as far as a strip of a frame needs it."""
    offsets: np.ndarray
    exposure_drift: Wander
    balance_drift: Wander
    bias: Float32[np.ndarray, "3"]
    """This video's error of white balance."""
    exposure_bias: float
    contrast: float
    """This video's share of the way to full contrast: tone mapping depends on the scene."""


@dataclass
class Automatic:
    """State of the automatic exposure, white balance and contrast over a video."""

    gains: Float32[np.ndarray, "3"] | None = None
    black: float = 0.0
    white: float = 1.0
    amplification: Float32[np.ndarray, "h w 3"] | None = None
    """The gains times the camera's shading."""


def set_up(model: CameraModel, size: tuple[int, int], key: tuple[object, ...]) -> Camera:
    """A camera for frames of `size` (width, height); `key` names the video."""
    width, height = size
    rng = generator("camera", *key)
    y, x = open_grid(height, width)
    centre_x, centre_y = np.float32((width - 1) / 2), np.float32((height - 1) / 2)
    squared = ((x - centre_x) ** 2 + (y - centre_y) ** 2) / (centre_x**2 + centre_y**2)
    maps = None
    if model.distortion:
        factor = 1 + np.float32(model.distortion) * squared
        maps = centre_x + (x - centre_x) * factor, centre_y + (y - centre_y) * factor
    tile = rng.standard_normal((_TILE, _TILE, 3), dtype=np.float32)
    tile = 0.75 * tile + 0.5 * cv2.GaussianBlur(tile, (0, 0), 0.8, borderType=cv2.BORDER_REFLECT)
    tile /= tile.std()
    return Camera(
        model=model,
        shading=spread(1 - np.float32(model.vignette) * squared),
        maps=maps,
        noise=cv2.copyMakeBorder(tile, 0, next(strips(height, width)).stop, 0, width, cv2.BORDER_WRAP),
        offsets=rng.integers(0, _TILE, (4096, 2)),
        exposure_drift=wander(rng, 0.03, 0.4),
        balance_drift=wander(rng, 0.02, 0.3),
        bias=np.exp(rng.normal(0, 0.07, 3)).astype(np.float32),
        exposure_bias=float(np.exp(rng.normal(0, 0.2))),
        contrast=float(np.clip(model.contrast + rng.normal(0, 0.25), 0, 1)),
    )


def capture(
    camera: Camera, state: Automatic, radiance: Float32[np.ndarray, "h w 3"], index: int, time: float
) -> UInt8[np.ndarray, "h w 3"]:
    """One RGB frame of the linear `radiance`; `state` follows the scene from frame to frame."""
    model = camera.model
    # What lies beyond two standard deviations is not worth the time.
    reach = 2 * max(1, math.ceil(2 * model.blur - 0.2)) + 1
    light = cv2.GaussianBlur(radiance, (reach, reach), model.blur) if model.blur > 0.25 else radiance
    if state.gains is None or index % _METER_EVERY == 0:
        state.gains = _adapt(camera, state, light, time)
        state.amplification = camera.shading * np.tile(state.gains, (light.shape[1], 1))
    frame = _expose(camera, state, light, index)
    if camera.maps is not None:
        # OpenCV moves four channels in half the time of three.
        padded = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA)
        moved = cv2.remap(padded, *camera.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        frame = cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB)
    if model.sharpening:
        soft = cv2.GaussianBlur(frame, (3, 3), 1.0)
        frame = cv2.addWeighted(frame, 1 + model.sharpening, soft, -model.sharpening, 0)
    if model.saturation != 1:
        frame = cv2.transform(frame, model.saturation * np.eye(3) + (1 - model.saturation) * _GREY)
    return frame


def distort(camera: Camera, points: Float32[np.ndarray, "k 2"]) -> Float32[np.ndarray, "k 2"]:
    """Where points of the undistorted image land in the frame, to first order in the distortion."""
    height, width = camera.shading.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
    squared = ((points - centre) ** 2).sum(axis=1, keepdims=True) / (centre**2).sum()
    return (centre + (points - centre) * (1 - camera.model.distortion * squared)).astype(np.float32)


def distort_mask(camera: Camera, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where a part of the undistorted image lies in the frame."""
    if camera.maps is None:
        return mask
    shown = cv2.remap(mask.astype(np.uint8) * 255, *camera.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(shown) > 127


def _expose(
    camera: Camera, state: Automatic, light: Float32[np.ndarray, "h w 3"], index: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The sensor and the tone curve."""
    model = camera.model
    assert state.amplification is not None
    height, width = light.shape[:2]
    row, column = camera.offsets[index % len(camera.offsets)]
    scale = 1 / (state.white - state.black)
    frame = np.empty(light.shape, np.uint8)
    for rows in strips(height, width):
        signal = light[rows] * state.amplification[rows]
        noise = cv2.addWeighted(signal, model.shot_noise, signal, 0, model.read_noise**2)
        cv2.sqrt(noise, dst=noise)
        top = (row + rows.start) % _TILE
        noise *= camera.noise[top : top + len(noise), column : column + width]
        # One pass over the pixels does as well for noise, black and white as for each alone.
        cv2.addWeighted(signal, scale, noise, scale, -state.black * scale, dst=signal)
        np.maximum(signal, 0, out=signal)
        root = cv2.sqrt(signal)
        cv2.sqrt(root, dst=signal)
        # As `_tone`, in grey levels.
        lift = 255 * model.lift
        cv2.addWeighted(root, 255 - lift, signal, lift, 0, dst=frame[rows], dtype=cv2.CV_8U)
    return frame


def _adapt(
    camera: Camera, state: Automatic, light: Float32[np.ndarray, "h w 3"], time: float
) -> Float32[np.ndarray, "3"]:
    """Measures some pixels of the unshaded `light` and moves `state` to what they ask for; returns the new gains."""
    model = camera.model
    step = max(1, min(light.shape[:2]) // 40)
    thinned = np.s_[step // 2 :: step, step // 2 :: step]
    sample = np.clip(light[thinned] * camera.shading[thinned], 0, None)
    means = sample.mean(axis=(0, 1)) + np.float32(1e-4)
    grey = means.mean()
    wanted = (grey / means) ** np.float32(model.balance) * camera.bias
    drift = camera.balance_drift.at(time)
    wanted = wanted * np.array([1 + drift, 1, 1 - drift], np.float32)
    # The target is a mean after the tone curve, so the meter averages after it as well.
    exposure = (model.target / _tone(sample.mean(axis=2) / grey, model.lift).mean()) ** 2.2 / grey
    signal = np.sort((sample * (wanted * exposure)).mean(axis=2), axis=None)
    low, high = signal[int(0.02 * len(signal))], signal[int(0.98 * len(signal))]
    black = camera.contrast * float(min(low, 0.15))
    white = float(np.clip(1 + camera.contrast * (high * 1.08 - 1), 0.45, 2.5))
    # The tone mapping changes the mean, so the exposure is adjusted again after it.
    for _ in range(2):
        toned = _tone(np.clip((signal - black) / (white - black), 0, 1).astype(np.float32), model.lift)
        correction = (model.target / toned.mean()) ** 2.2
        exposure *= correction
        signal = signal * correction
    exposure *= camera.exposure_bias * (1 + camera.exposure_drift.at(time))
    wanted = (wanted * exposure).astype(np.float32)
    pace = 1.0 if state.gains is None else 0.25
    state.black += pace * (black - state.black)
    state.white += pace * (white - state.white)
    return wanted if state.gains is None else state.gains + np.float32(pace) * (wanted - state.gains)


def _tone(signal: Float32[np.ndarray, "..."], lift: float) -> Float32[np.ndarray, "..."]:
    """The tone curve. Roots, unlike powers and tables of 8 bits, are the same on every machine and nowhere coarse."""
    root = cv2.sqrt(signal)
    return cv2.addWeighted(root, 1 - lift, cv2.sqrt(root), lift, 0).reshape(signal.shape)
