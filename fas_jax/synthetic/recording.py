"""One video: the scene or the attack that a plan asks for, recorded by the domain's camera."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from fas_jax.base.settings import Synthesis
from fas_jax.synthetic import face, instruments
from fas_jax.synthetic.camera import Automatic, capture, distort, distort_mask, set_up
from fas_jax.synthetic.domains import Conditions, Domain, attacker_camera, official_conditions
from fas_jax.synthetic.expression import Expression
from fas_jax.synthetic.face import draw_appearance
from fas_jax.synthetic.instruments import EyeHoles, Holding, Print
from fas_jax.synthetic.motion import Wander, events, wander
from fas_jax.synthetic.pixels import open_grid, spread
from fas_jax.synthetic.plan import PlannedVideo, frame_count, frame_size
from fas_jax.synthetic.room import Light, draw_light, draw_room
from fas_jax.synthetic.scene import Framing, Landmarks, Scene, compose, draw_framing, draw_scene, landmarks
from fas_jax.synthetic.screens import Display, Screen, screen_cover
from fas_jax.synthetic.seeds import generator

Texture = Float32[np.ndarray, "n n 3"]
Image = Float32[np.ndarray, "h w 3"]
# Videos that are shown on a screen were recorded with fewer pixels than the screen covers in the frame.
_VIDEO_DETAIL = (0.55, 0.85)
_PHOTO_DETAIL = (1.0, 1.6)


@dataclass(frozen=True)
class Recording:
    """Frames as they come, and where the face was in each."""

    frames: Iterator[UInt8[np.ndarray, "h w 3"]]
    boxes: Float32[np.ndarray, "t 4"]
    eyes: Float32[np.ndarray, "t 2 2"]
    instrument: Callable[[int], Bool[np.ndarray, "h w"]]
    """From a frame's index to where the attack's instrument is in it; nowhere in bona fide videos."""


@dataclass(frozen=True)
class _Stage:
    """What the second camera sees: radiance and landmarks as functions of the frame."""

    radiance: Callable[[int, float], Image]
    landmarks: Callable[[float], Landmarks]
    cover: Callable[[float], Bool[np.ndarray, "h w"]]
    """Where an instrument is."""


def record(
    video: PlannedVideo, settings: Synthesis, texture: Texture | None, conditions: Conditions | None = None
) -> Recording:
    """Sets up a planned video; frames are rendered while they are read.

    Args:
        video: What is recorded.
        settings: Size, length and seed.
        texture: Of the subject's face; None draws a face from scratch.
        conditions: How it is recorded; None takes those of the video's layout.
    """
    conditions = conditions or official_conditions(settings.seed, video)
    size = frame_size(video, settings.scale)
    key = (settings.seed, video.layout, video.path)
    camera = set_up(conditions.camera, size, key)
    stage = (_bona_fide if video.bona_fide else _attack)(video, settings, texture, size, conditions)
    times = np.arange(frame_count(video, settings)) / video.fps
    marks = [stage.landmarks(float(time)) for time in times]
    boxes = np.stack([mark.box for mark in marks])
    low, high = distort(camera, boxes[:, :2]), distort(camera, boxes[:, :2] + boxes[:, 2:])
    eyes = distort(camera, np.concatenate([mark.eyes for mark in marks])).reshape(-1, 2, 2)

    def frames() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        state = Automatic()
        for index, time in enumerate(times):
            yield capture(camera, state, stage.radiance(index, float(time)), index, float(time))

    def instrument(index: int) -> Bool[np.ndarray, "h w"]:
        return distort_mask(camera, stage.cover(float(times[index])))

    return Recording(frames(), np.concatenate([low, high - low], axis=1), eyes, instrument)


def _bona_fide(
    video: PlannedVideo, settings: Synthesis, texture: Texture | None, size: tuple[int, int], conditions: Conditions
) -> _Stage:
    rng = generator("scene", settings.seed, video.layout, video.path)
    framing = draw_framing(rng, conditions.domain.face_share)
    scene = _person(rng, video, settings, texture, size, framing, conditions)
    nowhere = np.zeros(size[::-1], bool)
    return _Stage(lambda index, time: compose(scene, time), lambda time: landmarks(scene, time), lambda time: nowhere)


def _person(
    rng: np.random.Generator,
    video: PlannedVideo,
    settings: Synthesis,
    texture: Texture | None,
    size: tuple[int, int],
    framing: Framing,
    conditions: Conditions,
) -> Scene:
    domain = conditions.domain
    appearance = draw_appearance(settings.seed, video.layout, f"{video.split}/{video.subject}")
    if texture is not None:
        appearance = face.match_skin(appearance, texture)
    return draw_scene(
        rng,
        appearance,
        texture,
        room=(settings.seed, video.layout, int(rng.integers(domain.rooms))),
        light=_light(rng, video, conditions),
        size=size,
        framing=framing,
        blur=float(rng.uniform(*domain.room_blur)),
    )


def _light(rng: np.random.Generator, video: PlannedVideo, conditions: Conditions) -> Light:
    light = draw_light(rng, adverse=video.session == "adverse" or bool(rng.random() < 0.4))
    return light if conditions.relighting is None else conditions.relighting(light)


def _attack(
    video: PlannedVideo, settings: Synthesis, texture: Texture | None, size: tuple[int, int], conditions: Conditions
) -> _Stage:
    rng = generator("attack", settings.seed, video.layout, video.path)
    domain = conditions.domain
    shown = np.array(size) * rng.uniform(*domain.cover) * rng.uniform(0.97, 1.03, 2)
    holding = _hold(rng, video, domain, size, (float(shown[0]), float(shown[1])))
    moving = video.pai == "replay" and not video.fine.endswith("photo")
    detail = rng.uniform(*(_VIDEO_DETAIL if moving else _PHOTO_DETAIL))
    first_size = (max(64, round(shown[0] * detail)), max(64, round(shown[1] * detail)))
    framing = draw_framing(rng, domain.face_share)
    closer = min(size) / float(min(shown))
    framing = Framing(framing.face_share * closer, framing.liveliness, framing.pose)
    first = _person(rng, video, settings, texture, first_size, framing, conditions)
    pictures = _first_recording(rng, first, first_size, video, moving)
    light = _light(rng, video, conditions)
    room = (settings.seed, video.layout, int(rng.integers(domain.rooms)))
    background = draw_room(room, *size, light, float(rng.uniform(*domain.room_blur)))
    still = 0.0  # time at which a photograph was taken

    def marks(time: float) -> Landmarks:
        mark = landmarks(first, time if moving else still)
        box = np.stack([mark.box[:2], mark.box[:2] + mark.box[2:]])
        points = np.concatenate([mark.eyes, box]) / np.array(first_size, np.float32)
        placed = instruments.to_frame(holding, time, points)
        return Landmarks(np.concatenate([placed[2], placed[3] - placed[2]]), placed[:2])

    def places(time: float) -> tuple[np.ndarray, np.ndarray]:
        return instruments.view(holding, time, size).at(slice(0, size[1]))

    if video.pai == "replay":
        screen = _draw_screen(rng, pictures, domain, size, holding, light, video.layout)
        radiance = _screen_radiance(screen, background, holding, size)
        return _Stage(radiance, marks, lambda time: screen_cover(screen, *places(time)))
    paper = _draw_paper(rng, video, settings, domain, pictures(0), first, first_size, background, holding, light)
    radiance = _print_radiance(paper, holding, size)
    return _Stage(radiance, marks, lambda time: instruments.print_cover(paper, *places(time), time))


def _print_radiance(paper: Print, holding: Holding, size: tuple[int, int]) -> Callable[[int, float], Image]:
    return lambda index, time: instruments.show_print(paper, instruments.view(holding, time, size), time)


def _screen_radiance(
    screen: Screen, background: Image, holding: Holding, size: tuple[int, int]
) -> Callable[[int, float], Image]:
    display = Display(screen, background, holding.still)
    return lambda index, time: display.show(instruments.view(holding, time, size), index, time)


def _first_recording(
    rng: np.random.Generator, scene: Scene, size: tuple[int, int], video: PlannedVideo, moving: bool
) -> Callable[[int], UInt8[np.ndarray, "h w 3"]]:
    """What the attacker recorded of the bona fide scene: a video, or one photograph."""
    camera = set_up(attacker_camera(rng), size, ("first", int(rng.integers(1 << 62))))
    state = Automatic()
    if moving:
        return lambda index: capture(camera, state, compose(scene, index / video.fps), index, index / video.fps)
    photo = capture(camera, state, compose(scene, 0.0), 0, 0.0)
    return lambda index: photo


def _hold(
    rng: np.random.Generator,
    video: PlannedVideo,
    domain: Domain,
    size: tuple[int, int],
    shown: tuple[float, float],
) -> Holding:
    short = min(size)
    shake = domain.handheld if video.support == "hand" else 0.0
    centre = (size[0] * (0.5 + float(rng.normal(0, 0.015))), size[1] * (0.5 + float(rng.normal(0, 0.015))))

    def drift(rest: float, amplitude: float, fastest: float) -> Wander:
        movement = wander(rng, amplitude * shake, fastest)
        return Wander(
            np.append(movement.amplitudes, rest),
            np.append(movement.frequencies, 0.0),
            np.append(movement.phases, np.pi / 2),
        )

    return Holding(
        size=shown,
        centre=centre,
        x=drift(0.0, 0.012 * short, 1.2),
        y=drift(0.0, 0.009 * short, 1.2),
        zoom=drift(0.0, 0.012, 0.7),
        roll=drift(float(rng.normal(0, 0.025)), 0.012, 0.9),
        tilt_x=drift(float(rng.normal(0, 0.05)), 0.03, 0.8),
        tilt_y=drift(float(rng.normal(0, 0.05)), 0.03, 0.8),
        still=shake == 0,
    )


def _draw_paper(
    rng: np.random.Generator,
    video: PlannedVideo,
    settings: Synthesis,
    domain: Domain,
    photo: UInt8[np.ndarray, "h w 3"],
    first: Scene,
    first_size: tuple[int, int],
    background: Image,
    holding: Holding,
    light: Light,
) -> Print:
    margin = (float(rng.uniform(0, 0.06)), float(rng.uniform(0, 0.06)))
    # OULU-NPU's two printers differ in how they place their dots; elsewhere either may have been used.
    amplitude = {"print-1": True, "print-2": False}.get(video.fine, bool(rng.random() < 0.6))
    texture = instruments.draw_print(
        rng,
        photo,
        holding.size,
        margin,
        float(rng.uniform(*domain.print_period)),
        amplitude,
        float(rng.uniform(*domain.print_dots)),
    )
    height, width = background.shape[:2]
    y, x = open_grid(height, width)
    x, y = x / np.float32(width) - np.float32(0.5), y / np.float32(height) - np.float32(0.5)
    ramp = 1 + np.float32(0.35) * (light.direction[0] * x + light.direction[1] * y)
    lighting = cv2.merge([ramp * colour for colour in light.ambient + light.key * light.direction[2]])
    at = rng.uniform(-0.4, 0.4, 2)
    gloss = float(rng.choice([0.0, 0.04, 0.12]))
    sheen = gloss * np.exp(-(((x - at[0]) / 0.35) ** 2) - ((y - at[1]) / 0.25) ** 2)
    warped = video.pai == "warped"
    bend = 0.05 if warped else 0.006
    holes = None
    if video.pai == "cut":
        holes = _cut_eyes(rng, settings, video, texture, margin, first, first_size)
    return Print(
        texture=cv2.cvtColor(texture, cv2.COLOR_RGB2RGBA),
        margin=margin,
        background=background / lighting,
        lighting=lighting,
        sheen=sheen.astype(np.float32) if gloss else None,
        bend_u=wander(rng, bend * 0.5, 0.8),
        bend_v=wander(rng, bend, 0.8),
        holes=holes,
    )


def _cut_eyes(
    rng: np.random.Generator,
    settings: Synthesis,
    video: PlannedVideo,
    texture: Image,
    margin: tuple[float, float],
    first: Scene,
    first_size: tuple[int, int],
) -> EyeHoles:
    rows, columns = texture.shape[:2]
    eyes = landmarks(first, 0.0).eyes / np.array(first_size, np.float32)
    span = np.array([columns / (1 + 2 * margin[0]), rows / (1 + 2 * margin[1])])
    unit = first.unit / np.array(first_size) * span
    half = np.array([0.21, 0.14]) * unit
    holes = []
    for eye in eyes:
        centre = (eye + margin) * span
        left, top = np.maximum(np.rint(centre - half), 0).astype(int)
        right, bottom = np.minimum(np.rint(centre + half), (columns, rows)).astype(int)
        holes.append(instruments.cut_eye(texture, int(left), int(top), int(right), int(bottom)))
    attacker = draw_appearance(settings.seed, video.layout, f"attacker/{int(rng.integers(12))}")
    canvas = max(48, round(float(unit[0]) * (face.RIGHT - face.LEFT)))
    head = face.draw_head(attacker, canvas)
    return EyeHoles(
        attacker=head,
        expression=Expression(head),
        holes=tuple(holes),
        gaze_x=wander(rng, 0.4, 0.8),
        gaze_y=wander(rng, 0.25, 0.8),
        slip=wander(rng, 0.012, 0.5),
        blinks=events(rng, every=2.4, duration=0.28),
    )


def _draw_screen(
    rng: np.random.Generator,
    pictures: Callable[[int], UInt8[np.ndarray, "h w 3"]],
    domain: Domain,
    size: tuple[int, int],
    holding: Holding,
    light: Light,
    layout: str,
) -> Screen:
    pitch = float(rng.uniform(*domain.screen_pitch))
    width, height = size
    # So much out of focus that a quarter of the pixels across shows all of it.
    room = draw_room(("reflected", layout, int(rng.integers(1 << 30))), width // 4, height // 4, light, 0.05)
    room = cv2.resize(room, size, interpolation=cv2.INTER_LINEAR)
    y, x = open_grid(height, width)
    at = rng.uniform(0.1, 0.9, 2) * size
    glare = float(rng.choice([0.0, 0.0, 0.3, 0.8]))
    spot = np.exp(-(((x - at[0]) ** 2 + (y - at[1]) ** 2) / (0.12 * min(size)) ** 2))
    reflection = room * np.float32(rng.uniform(0.01, 0.06)) + spread((glare * spot).astype(np.float32))
    bezel = float(rng.uniform(0.03, 0.1)) * min(holding.size)
    return Screen(
        content=pictures,
        pixels=(holding.size[0] * pitch, holding.size[1] * pitch),
        bezel=(bezel / holding.size[0], bezel / holding.size[1]),
        bezel_colour=np.full(3, float(rng.choice([0.012, 0.03, 0.5])), np.float32),
        white=np.exp(rng.normal((-0.08, 0, 0.12), 0.08)).astype(np.float32),
        black=float(rng.uniform(0.002, 0.02)),
        gamma=float(rng.uniform(2.0, 2.4)),
        grid=float(rng.uniform(*domain.screen_grid)),
        band=(float(rng.uniform(0.0, 0.05)), float(rng.uniform(0.4, 1.6)), float(rng.uniform(-0.9, 0.9))),
        reflection=cv2.blur(reflection, (3, 3)),
    )
