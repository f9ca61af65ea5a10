"""The limits of the gate, a setting each. Imports no JAX."""

from dataclasses import dataclass

from fas_jax.base.declarations import what


@dataclass(frozen=True)
class Gate:
    """What a frame must fulfil before a detector is asked; the defaults are lenient, for webcams and phones."""

    frames: int = what(5, at_least=1)
    """Most frames of a clip that are checked, spread evenly over those that the detector reads; the latest ones in a
    session of a stream or page, and in a file of whose frames the detector keeps the first (cap)."""
    share: float = what(0.5, above=0, at_most=1)
    """Least share of the checked frames that must pass every check."""
    face_score: float = what(0.9, above=0, at_most=1)
    """Least score of a face by MTCNN."""
    other_face: float = what(0.4, above=0, at_most=1)
    """A further face counts from this share of the largest one's width on; smaller ones stand in the background."""
    face_pixels: float = what(56.0, at_least=0)
    """Least width of the face in pixels of the frame."""
    face_share: float = what(0.08, at_least=0, at_most=1)
    """Least share of the frame's shorter side that the face is wide."""
    face_share_most: float = what(0.9, above=0)
    """Largest share of the frame's shorter side that the face is wide."""
    border: float = what(-0.08)
    """Least distance between the face and the frame's border, in widths of the face; below 0 the face is cut off."""
    roll: float = what(25.0, at_least=0, at_most=180)
    """Largest angle between the line through the eyes and the horizontal, in degrees."""
    yaw: float = what(0.55, at_least=0, at_most=1)
    """Largest asymmetry of the nose between the eyes: 0 for a frontal face, 1 for a nose below one eye."""
    pitch_up: float = what(0.33)
    """Least place of the nose between the eyes' line (0) and the mouth's (1); the nose of a face that looks up lies
    higher. 0.55 is usual for a face that looks straight ahead."""
    pitch_down: float = what(0.75)
    """Largest place of the nose between the eyes' line (0) and the mouth's (1); that of a face that looks down lies
    lower."""
    sharpness: float = what(0.3, at_least=0, at_most=1)
    """Least sharpness of the face: 1 minus the blur metric of Crete et al. (2007)."""
    motion_blur: float = what(4.0, at_least=1)
    """Largest ratio between fine detail across and along the direction that shows least of it."""
    dark: float = what(45.0, at_least=0, at_most=255)
    """Least brightness of the face's light parts (90th percentile of its luma, of 255)."""
    bright: float = what(0.25, at_least=0, at_most=1)
    """Largest share of the face whose luma is 250 or more."""
    backlight: float = what(5.0, above=0)
    """Largest ratio between the median luma around the face and that of the face."""
    resolution: int = what(200, at_least=1)
    """Least pixels of the frame's shorter side."""
    blockiness: float = what(1.8, at_least=1)
    """Largest ratio between steps at the borders of 8x8 blocks and steps elsewhere."""
    orientation: bool = what(True)
    """Whether frames in which no upright face is sure are searched in three further turns."""
