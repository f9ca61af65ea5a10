"""A bona fide scene: a person in a room, in linear radiance, frame by frame."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from fas_jax.synthetic import face
from fas_jax.synthetic.expression import Expression
from fas_jax.synthetic.face import Appearance, Head
from fas_jax.synthetic.motion import Events, Wander, events, wander
from fas_jax.synthetic.pixels import each, lay_over, open_grid, strips
from fas_jax.synthetic.room import Light, draw_cloth, draw_room

# Where the neck begins, in canonical units of the head below its centre.
_NECK = 0.3


@dataclass(frozen=True)
class Landmarks:
    """Where the face is in a frame, in pixels."""

    box: Float32[np.ndarray, "4"]
    """x, y, width, height, from brow to chin and cheek to cheek."""
    eyes: Float32[np.ndarray, "2 2"]
    """The subject's right eye (left in the image), then the left; x, y."""


@dataclass(frozen=True)
class Shading:
    """What of a head's shading and turning stays the same over a video."""

    area: tuple[slice, slice]
    """Rows and columns that the head covers."""
    ambient: Float32[np.ndarray, "3 h w"]
    scale: tuple[float, float]
    """Pixels of one canonical unit, across and down."""
    grid_x: Float32[np.ndarray, "h w"]
    grid_y: Float32[np.ndarray, "h w"]
    """Column and row of every pixel."""


@dataclass(frozen=True)
class Scene:
    """Everything that stays the same over a video."""

    head: Head
    expression: Expression
    shading: Shading
    light: Light
    room: Float32[np.ndarray, "h w 3"]
    torso: Float32[np.ndarray, "k w 4"]
    """Premultiplied radiance and coverage, from the row on that `torso_top` names."""
    torso_top: int
    unit: float
    """Pixels of one canonical unit of the head."""
    centre: tuple[float, float]
    yaw: Wander
    pitch: Wander
    roll: Wander
    sway_x: Wander
    sway_y: Wander
    nearer: Wander
    gaze_x: Wander
    gaze_y: Wander
    dimming: Wander
    blinks: Events
    speech: Events


@dataclass(frozen=True)
class Framing:
    """How a person sits in front of the camera."""

    face_share: float
    """Width of the face as a share of the frame's short side."""
    liveliness: float
    """Factor on the amplitude of all movements."""
    pose: tuple[float, float, float]
    """Resting yaw, pitch and roll in radians."""


def draw_framing(rng: np.random.Generator, face_share: tuple[float, float]) -> Framing:
    return Framing(
        face_share=float(rng.uniform(*face_share)),
        liveliness=float(rng.uniform(0.6, 1.4)),
        pose=(float(rng.normal(0, 0.09)), float(rng.normal(0, 0.06)), float(rng.normal(0, 0.04))),
    )


def draw_scene(
    rng: np.random.Generator,
    appearance: Appearance,
    texture: Float32[np.ndarray, "n n 3"] | None,
    room: tuple[object, ...],
    light: Light,
    size: tuple[int, int],
    framing: Framing,
    blur: float,
) -> Scene:
    """Builds what stays the same over a video of `size` (width, height)."""
    width, height = size
    short = min(size)
    unit = framing.face_share * short / (2 * face.HALF_WIDTH)
    canvas = max(48, round(unit * (face.RIGHT - face.LEFT)))
    head = face.draw_head(appearance, canvas, texture)
    centre = (
        width * (0.5 + float(rng.normal(0, 0.02))),
        min(height * 0.47, height - 1.25 * unit) + short * float(rng.normal(0, 0.015)),
    )
    live = framing.liveliness
    yaw, pitch, roll = framing.pose
    torso_top = min(height, max(0, int(centre[1] + _NECK * unit) - 4))
    return Scene(
        head=head,
        expression=Expression(head, photo=texture is not None),
        shading=_prepare_shading(head, light),
        light=light,
        room=draw_room(room, width, height, light, blur),
        torso=_draw_torso(head, light, size, unit, centre, torso_top),
        torso_top=torso_top,
        unit=unit,
        centre=centre,
        yaw=_resting(wander(rng, 0.06 * live), yaw),
        pitch=_resting(wander(rng, 0.035 * live), pitch),
        roll=_resting(wander(rng, 0.018 * live), roll),
        sway_x=wander(rng, 0.012 * short * live, 0.6),
        sway_y=wander(rng, 0.006 * short * live, 0.6),
        nearer=wander(rng, 0.012 * live, 0.4),
        gaze_x=wander(rng, 0.35, 0.7),
        gaze_y=wander(rng, 0.2, 0.7),
        dimming=wander(rng, 0.01, 0.3),
        blinks=events(rng, every=2.4, duration=0.28),
        speech=events(rng, every=2.2, duration=0.6),
    )


def compose(scene: Scene, time: float) -> Float32[np.ndarray, "h w 3"]:
    """The scene's linear radiance at `time` seconds."""
    frame = scene.room.copy()
    _add_torso(frame, scene, 0.35 * scene.sway_x.at(time), 0.35 * scene.sway_y.at(time))
    layer, matrix, (left, top, right, bottom) = _head_layer(scene, time)
    height, width = frame.shape[:2]
    left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
    if right > left and bottom > top:
        matrix = matrix.copy()
        matrix[:, 2] -= (left, top)
        layer = cv2.warpAffine(layer, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        lay_over(frame[top:bottom, left:right], layer)
    frame *= np.float32(1 + scene.dimming.at(time) + scene.light.flicker * np.sin(2 * np.pi * 3.1 * time))
    return frame


def landmarks(scene: Scene, time: float) -> Landmarks:
    """Where the face is at `time` seconds."""
    matrix = _pose(scene, time)
    aspect = scene.head.appearance.width
    points = np.array(
        [
            (-face.EYE_X * aspect, face.EYE_Y),
            (face.EYE_X * aspect, face.EYE_Y),
            (-face.HALF_WIDTH * aspect, -0.62),
            (face.HALF_WIDTH * aspect, face.HALF_HEIGHT),
        ]
    )
    shift = np.array([scene.yaw.at(time), scene.pitch.at(time)])
    # The eyes lie in front of the axis of rotation, the face's outline at it.
    depth = np.array([0.6, 0.6, 0.0, 0.0])
    moved = (points + depth[:, None] * shift) @ matrix[:, :2].T + matrix[:, 2]
    low, high = moved[2:].min(axis=0), moved[2:].max(axis=0)
    return Landmarks(np.concatenate([low, high - low]).astype(np.float32), moved[:2].astype(np.float32))


def _resting(movement: Wander, rest: float) -> Wander:
    """The movement around a resting value: one more sinusoid, of frequency 0."""
    return Wander(
        np.append(movement.amplitudes, rest),
        np.append(movement.frequencies, 0.0),
        np.append(movement.phases, np.pi / 2),
    )


def _pose(scene: Scene, time: float) -> Float32[np.ndarray, "2 3"]:
    """Canonical coordinates to pixels: roll, size and position (yaw and pitch are parallax)."""
    size = scene.unit * (1 + scene.nearer.at(time))
    roll = scene.roll.at(time)
    cos, sin = size * np.cos(roll), size * np.sin(roll)
    x = scene.centre[0] + scene.sway_x.at(time)
    y = scene.centre[1] + scene.sway_y.at(time)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def _prepare_shading(head: Head, light: Light) -> Shading:
    rows, columns = head.depth.shape
    scale_x, scale_y = (columns - 1) / (face.RIGHT - face.LEFT), (rows - 1) / (face.BOTTOM - face.TOP)
    covered = head.albedo[..., 3] > 0
    area = tuple(
        slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
        for found in (np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0)))
    )
    # Ambient light is weaker where the surface turns away: creases and the outline.
    openness = 0.55 + 0.45 * head.normals[2]
    return Shading(
        area=(area[0], area[1]),
        ambient=np.stack([openness * ambient for ambient in light.ambient]),
        scale=(scale_x, scale_y),
        grid_x=(head.x * np.float32(head.appearance.width) - np.float32(face.LEFT)) * np.float32(scale_x),
        grid_y=(head.y - np.float32(face.TOP)) * np.float32(scale_y),
    )


def _head_layer(scene: Scene, time: float) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """The shaded and turned head, the matrix to the frame, and the frame's area that it covers."""
    head, shading = scene.head, scene.shading
    rows, columns = head.depth.shape
    yaw, pitch = scene.yaw.at(time), scene.pitch.at(time)
    gaze = (scene.gaze_x.at(time), scene.gaze_y.at(time))
    speech = scene.speech.at(time) * (0.6 + 0.4 * np.sin(2 * np.pi * 3.7 * time))
    layer = scene.expression.draw(gaze, scene.blinks.at(time), max(0.0, speech))
    _shade(layer, scene, yaw, pitch)
    scale_x, scale_y = shading.scale
    map_x = shading.grid_x - head.depth * np.float32(np.sin(yaw) * scale_x)
    map_y = shading.grid_y - head.depth * np.float32(np.sin(pitch) * scale_y)
    layer = cv2.remap(layer, map_x, map_y, cv2.INTER_LINEAR)
    to_canonical = np.array([[1 / scale_x, 0, face.LEFT], [0, 1 / scale_y, face.TOP], [0, 0, 1]])
    matrix = _pose(scene, time) @ to_canonical
    corners = np.array([(0, 0, 1), (columns, 0, 1), (0, rows, 1), (columns, rows, 1)]) @ matrix.T
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    return layer, matrix, (int(left), int(top), int(right), int(bottom))


def _shade(layer: Float32[np.ndarray, "h w 4"], scene: Scene, yaw: float, pitch: float) -> None:
    """Turns albedo into radiance, in place; coverage stays as it is."""
    head, light, shading = scene.head, scene.light, scene.shading
    # Turning the head by yaw turns the light the other way in the head's own coordinates.
    towards = light.direction + np.array([-yaw * light.direction[2], -pitch * light.direction[2], 0], np.float32)
    towards = (towards / np.linalg.norm(towards)).astype(np.float32)
    half = towards + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    area = shading.area
    part, normals, ambient, gloss = layer[area], head.normals[:, *area], shading.ambient[:, *area], head.gloss[area]
    for rows in strips(*part.shape[:2]):
        diffuse, specular = _facing(normals[:, rows], towards), _facing(normals[:, rows], half)
        for _ in range(4):
            specular *= specular
        specular *= gloss[rows]
        one = np.ones_like(diffuse)
        part[rows] *= cv2.merge([*(ambient[c, rows] + diffuse * light.key[c] for c in range(3)), one])
        part[rows] += cv2.merge([*(specular * key for key in light.key), one - one])


def _facing(normals: Float32[np.ndarray, "3 h w"], direction: Float32[np.ndarray, "3"]) -> Float32[np.ndarray, "h w"]:
    """Cosine of the angle between normals and a direction, 0 where they face away."""
    cosine = normals[0] * direction[0]
    cosine += normals[1] * direction[1]
    cosine += normals[2] * direction[2]
    return np.maximum(cosine, 0, out=cosine)


def _draw_torso(
    head: Head, light: Light, size: tuple[int, int], unit: float, centre: tuple[float, float], top: int
) -> Float32[np.ndarray, "k w 4"]:
    """The torso in the rows from `top` on."""
    width, height = size
    if top == height:
        return np.zeros((0, width, 4), np.float32)
    y, x = open_grid(height, width)
    y = y[top:]
    x, y = (x - np.float32(centre[0])) / np.float32(unit), (y - np.float32(centre[1])) / np.float32(unit)
    edge = np.float32(unit * 0.7)
    neck_width = 0.43 + 0.35 * np.clip(y - 1.05, 0, 1) ** 2
    neck = np.clip((neck_width - np.abs(x)) * edge + 0.5, 0, 1) * (y > _NECK)
    shoulder = 1.22 + 0.2 * np.abs(x) + 0.1 * x**2
    collar = np.clip((y - 1.5 + 1.1 * np.abs(x)) * edge + 0.5, 0, 1)
    body = np.clip((y - shoulder) * edge + 0.5, 0, 1) * np.clip((2.0 - np.abs(x)) * edge + 0.5, 0, 1)
    cloth = draw_cloth(head.appearance.shirt, height - top, width, min(size))
    skin = each(head.appearance.skin) * (1 - 0.45 * np.exp(-(((y - 0.95) / 0.3) ** 2)))
    shirt = body * np.maximum(collar, np.abs(x) > 0.5)
    albedo = skin + (cloth - skin) * shirt
    alpha = np.maximum(neck * (1 - shirt), body)
    roundness = np.clip(1 - 0.13 * x**2, 0.2, 1) * np.clip(1 + 0.25 * light.direction[0] * x, 0.4, 1.6)
    shade = each(light.ambient + light.key * np.float32(0.8 * light.direction[2])) * roundness
    return cv2.merge([*(albedo * shade * alpha).astype(np.float32), alpha.astype(np.float32)])


def _add_torso(frame: Float32[np.ndarray, "h w 3"], scene: Scene, shift_x: float, shift_y: float) -> None:
    """Lays the torso, shifted by a fraction of pixels, over the lower part of the frame that it covers."""
    if not len(scene.torso):
        return
    matrix = np.array([[1, 0, shift_x], [0, 1, shift_y]])
    size = (frame.shape[1], len(scene.torso))
    layer = cv2.warpAffine(scene.torso, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lay_over(frame[scene.torso_top :], layer)
