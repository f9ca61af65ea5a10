"""Random changes of training frames that keep their label; pure functions of an image and a generator.

What tells an attack is often faint: moiré, the dots of a print, a screen's glare, colours that a printer or a screen
cannot show. Each function says what it does to such traces. Changes that make an attack of a bona fide frame (moiré
laid over it, say) are none of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.declarations import what

Image = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Augmentation:
    """How training frames are changed at random; 0 leaves a change out."""

    flip: float = what(0.5, at_least=0, at_most=1)
    """Share of the frames that are mirrored."""
    crop: float = what(0.3, at_least=0, below=1)
    """Most that a crop takes off the frame's side, as a share of it; the crop is resized to the frame's size."""
    rotation: float = what(0.0, at_least=0, at_most=180)
    """Most degrees by which a frame is turned, to either side."""
    light: float = what(0.3, at_least=0, below=1)
    """Most by which brightness and contrast change, as a share of them."""
    colour: float = what(0.2, at_least=0, below=1)
    """Most by which the gain of each channel and the saturation change, as a share of them."""
    blur: float = what(0.2, at_least=0, at_most=1)
    """Share of the frames that are blurred."""
    blur_most: float = what(1.2, above=0)
    """Most standard deviation of the blur, in pixels."""
    noise: float = what(0.3, at_least=0, at_most=1)
    """Share of the frames that get noise."""
    noise_most: float = what(8.0, above=0)
    """Most standard deviation of the noise, in grey levels of 255."""
    jpeg: float = what(0.3, at_least=0, at_most=1)
    """Share of the frames that are compressed as JPEG."""
    jpeg_lowest: int = what(40, at_least=1, at_most=100)
    """Lowest quality of the compression."""
    cut_out: float = what(0.0, at_least=0, at_most=1)
    """Share of the frames of which a rectangle is made grey."""
    cut_out_most: float = what(0.4, above=0, at_most=1)
    """Longest side of that rectangle, as a share of the frame's."""
    crop_by: Literal["side", "area"] = what("side", later=True)
    """Whether `crop` is a share of the frame's side or of its area, as torchvision's RandomResizedCrop counts."""
    turn_first: bool = what(False, later=True)
    """Turns a frame before the crop and leaves its corners black, as torchvision's recipes do; otherwise it is turned
    after the crop, and the corners are mirrored outwards."""


def augment_alike(images: Sequence[Image], rng: np.random.Generator, settings: Augmentation) -> list[Image]:
    """As `augment`, for frames of one clip: all are changed alike, so that what moves in them is the face."""
    state = rng.bit_generator.state
    mean = float(np.mean(images)) if len(images) > 1 else None
    found = []
    for image in images:
        rng.bit_generator.state = state
        found.append(augment(image, rng, settings, mean))
    return found


def augment(image: Image, rng: np.random.Generator, settings: Augmentation, mean: float | None = None) -> Image:
    """All changes in the order in which light, lens, sensor and codec would make them; cut-out last.

    Args:
        image: RGB; it stays as it is.
        rng: Decides everything that is drawn.
        settings: Which changes, and how strong.
        mean: See `light`.

    Returns:
        An image of the same size.
    """
    # Drawn first and all, so that one setting does not change what the others draw here.
    mirrored, blurred, noisy, compressed, cut = rng.random(5)
    if mirrored < settings.flip:
        image = flip(image)
    if settings.rotation and settings.turn_first:
        image = rotate(image, rng, settings.rotation, black=True)
    if settings.crop:
        image = crop(image, rng, settings.crop, settings.crop_by)
    if settings.rotation and not settings.turn_first:
        image = rotate(image, rng, settings.rotation)
    if settings.light:
        image = light(image, rng, settings.light, mean)
    if settings.colour:
        image = colour(image, rng, settings.colour)
    if blurred < settings.blur:
        image = blur(image, rng, settings.blur_most)
    if noisy < settings.noise:
        image = noise(image, rng, settings.noise_most)
    if compressed < settings.jpeg:
        image = jpeg(image, rng, settings.jpeg_lowest)
    if cut < settings.cut_out:
        image = cut_out(image, rng, settings.cut_out_most)
    return image


def flip(image: Image) -> Image:
    """Mirrors left and right.

    It keeps every trace; only the side from which light or a hand comes is lost.
    """
    return np.ascontiguousarray(image[:, ::-1])


def crop(image: Image, rng: np.random.Generator, most: float, by: Literal["side", "area"] = "side") -> Image:
    """A part of the image with its proportions, of 1 - `most` to 1 of its sides or of its area, resized to its size.

    The network comes to depend less on how tight faces are cut, which differs between datasets more than anything
    else. Resizing changes the period of moiré and print dots, and interpolation weakens the finest of them; borders of
    a print or a screen at the frame's edge are cut away.
    """
    height, width = image.shape[:2]
    share = 1 - most * rng.random()
    share = share**0.5 if by == "area" else share
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    part = image[top : top + rows, left : left + columns]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def rotate(image: Image, rng: np.random.Generator, degrees: float, black: bool = False) -> Image:
    """Turns about the middle by up to so many degrees, with corners mirrored outwards or black.

    The direction of moiré and of a screen's lines is lost, and interpolation weakens the finest traces. Attacks that
    are held crooked are no longer told by that.
    """
    height, width = image.shape[:2]
    turned = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(-degrees, degrees), 1.0)
    border = cv2.BORDER_CONSTANT if black else cv2.BORDER_REFLECT_101
    return np.asarray(cv2.warpAffine(image, turned, (width, height), borderMode=border), np.uint8)


def light(image: Image, rng: np.random.Generator, strength: float, mean: float | None = None) -> Image:
    """Another contrast about a mean, which is the image's own where none is given, and another brightness.

    Texture stays, stronger or weaker. That screens are brighter and prints flatter than faces, which is a trace in one
    room and an accident in the next, counts less; highlights that reach white are lost.
    """
    contrast, brightness = 1 + rng.uniform(-strength, strength, 2)
    values = image.astype(np.float32)
    middle = values.mean() if mean is None else np.float32(mean)
    return _pixels((values - middle) * contrast + middle * brightness)


def colour(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Another gain of every channel, and another saturation.

    It hides the white balance of cameras and with it part of what tells the colours of a printer or a screen: choose it
    small where colour is the trace that is looked for.
    """
    *gains, saturation = 1 + rng.uniform(-strength, strength, 4)
    values = image.astype(np.float32) * np.array(gains, np.float32)
    grey = values.mean(2, keepdims=True)
    return _pixels(grey + (values - grey) * np.float32(saturation))


def blur(image: Image, rng: np.random.Generator, most: float) -> Image:
    """A Gaussian blur of up to so many pixels.

    It removes moiré and print dots first: frames out of focus teach what is left without them. Strong blur makes bona
    fide frames and attacks the same.
    """
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(1e-3, most * rng.random())), np.uint8)


def noise(image: Image, rng: np.random.Generator, most: float) -> Image:
    """Independent normal noise of up to so many grey levels.

    It covers the sensor's own noise, by which cameras and with them datasets are told apart, and the finest texture.
    """
    return _pixels(image.astype(np.float32) + rng.normal(0, most * rng.random(), image.shape).astype(np.float32))


def jpeg(image: Image, rng: np.random.Generator, lowest: int) -> Image:
    """JPEG compression of a quality from `lowest` to 95.

    It removes fine texture in steps of 8x8 blocks, and its own blocks cover those of the dataset's codec, which often
    differ between bona fide videos and attacks that were recorded another day.
    """
    quality = int(rng.integers(min(lowest, 95), 96))
    _, packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB), np.uint8)


def cut_out(image: Image, rng: np.random.Generator, most: float) -> Image:
    """A grey rectangle, of a tenth to `most` of the sides, anywhere.

    Traces in the rest have to do: the network cannot rest on one of them, such as glare or the cut eyes of a mask.
    """
    height, width = image.shape[:2]
    shares = rng.uniform(min(0.1, most), most, 2)
    rows, columns = max(1, round(shares[0] * height)), max(1, round(shares[1] * width))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    found = image.copy()
    found[top : top + rows, left : left + columns] = 127
    return found


def _pixels(values: np.ndarray) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
