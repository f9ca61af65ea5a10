"""Bursts of rendered live faces, and of still pictures of such faces that are moved as these move.

Both are of the same people, rooms, light and cameras, and both are shaken by a hand and interpolated: single frames do
not tell one from the other.
"""

import dataclasses
from functools import lru_cache

import cv2
import numpy as np

from fas_jax.synthetic.camera import Automatic, Camera, capture, set_up
from fas_jax.synthetic.domains import attacker_camera
from fas_jax.synthetic.face import draw_appearance
from fas_jax.synthetic.motion import Wander, wander
from fas_jax.synthetic.room import draw_light
from fas_jax.synthetic.scene import Scene, compose, draw_framing, draw_scene, landmarks
from fas_jax.synthetic.seeds import generator

FRAMES, SIDE, RATE = 8, 64, 25
_SIZE = (120, 150)


@lru_cache
def clips(count: int, bursts: int) -> np.ndarray:
    """So many clips, uint8 [count, bursts * FRAMES, SIDE, SIDE, 3]: odd ones live, even ones moved stills."""
    return np.stack([_clip(row, bursts) for row in range(count)])


def shuffled(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """The frames of every burst in another order."""
    rng = np.random.default_rng(seed)
    parts = images.reshape(-1, FRAMES, *images.shape[2:])
    return np.stack([part[rng.permutation(FRAMES)] for part in parts]).reshape(images.shape)


def repeated(images: np.ndarray) -> np.ndarray:
    """The first frame of every burst in place of all."""
    parts = images.reshape(-1, FRAMES, *images.shape[2:])
    return np.repeat(parts[:, :1], FRAMES, 1).reshape(images.shape)


def moved(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """The first frame of every burst, moved: as a hand moves a picture, by affine maps."""
    rng = np.random.default_rng(seed)
    parts = images.reshape(-1, FRAMES, *images.shape[2:])
    return np.stack([_waved(part[0], rng) for part in parts]).reshape(images.shape)


def _waved(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shifts, maps = [wander(rng, 1.5, 1.5) for _ in range(2)], [wander(rng, 0.02, 1.5) for _ in range(4)]
    found = []
    for at in np.arange(FRAMES) / RATE:
        linear = np.eye(2) + np.reshape([each.at(at) for each in maps], (2, 2))
        middle = np.full(2, (SIDE - 1) / 2)
        shift = middle - linear @ middle + [each.at(at) for each in shifts]
        matrix = np.concatenate([linear, shift[:, None]], 1)
        found.append(cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT))
    return np.stack(found)


def _clip(row: int, bursts: int) -> np.ndarray:
    person, live = row // 2, bool(row % 2)
    rng = generator("moving", row)
    scene = draw_scene(
        rng,
        draw_appearance(0, "moving", str(person)),
        None,
        room=("moving", person),
        light=draw_light(rng, adverse=False),
        size=_SIZE,
        framing=draw_framing(rng, (0.5, 0.6)),
        blur=0.01,
    )
    camera = set_up(dataclasses.replace(attacker_camera(rng), distortion=0.0), _SIZE, ("moving", row))
    hand = [wander(rng, amplitude, 1.5) for amplitude in (1.0, 1.0, 0.006, 0.006)]
    starts = rng.uniform(0, 20, (bursts, 2))
    return np.concatenate([_burst(scene, camera, hand, live, *each) for each in starts.tolist()])


def _burst(scene: Scene, camera: Camera, hand: list[Wander], live: bool, start: float, taken: float) -> np.ndarray:
    """A burst from a time on; of a picture that was taken at another time, moved as the head is from this one on."""
    state, found = Automatic(), []
    taken = start if live else taken
    box = landmarks(scene, start + FRAMES / 2 / RATE).box
    side = max(box[2:])
    corner = box[:2] + box[2:] / 2 - side / 2 + [hand[0].at(start), hand[1].at(start)]
    crop = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]]) * (SIDE / side)
    for i in range(FRAMES):
        time = start + i / RATE
        radiance = compose(scene, time if live else taken)
        motion = _shake(hand, time)
        if not live:
            motion = motion @ _head(scene, time) @ np.linalg.inv(_head(scene, taken))
        radiance = cv2.warpAffine(radiance, motion[:2], _SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        frame = capture(camera, state, np.maximum(radiance, 0), round(start * RATE) + i, time)
        found.append(cv2.warpAffine(frame, crop, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE))
    return np.stack(found)


def _shake(hand: list[Wander], time: float) -> np.ndarray:
    x, y, turn, nearer = (each.at(time) for each in hand)
    middle = np.array([each / 2 for each in _SIZE])
    linear = (1 + nearer) * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return _matrix(linear, middle - linear @ middle + [x, y])


def _head(scene: Scene, time: float) -> np.ndarray:
    """Where a head's places lie in the frame, turns in depth left out."""
    size, turn = scene.unit * (1 + scene.nearer.at(time)), scene.roll.at(time)
    linear = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return _matrix(linear, np.add(scene.centre, (scene.sway_x.at(time), scene.sway_y.at(time))))


def _matrix(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return np.concatenate([np.concatenate([linear, shift[:, None]], 1), [[0, 0, 1]]])
