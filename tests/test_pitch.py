"""Pitch in the gate: by hand, and on rendered heads whose pitch is known."""

import math

import numpy as np
import pytest

from fas_jax.base.settings import Synthesis
from fas_jax.pixels.gate import checks
from fas_jax.pixels.gate.checks import ADVICE, check_clip, check_frame
from fas_jax.pixels.gate.settings import Gate
from fas_jax.synthetic import recording
from fas_jax.synthetic.plan import planned_videos
from fas_jax.synthetic.scene import Framing
from tests.test_gate import face

FRAME = np.random.default_rng(0).integers(60, 200, (240, 320, 3)).astype(np.uint8)
"""Sharp, and well lit."""


def test_a_nose_near_the_eyes_or_the_mouth_is_told_to_look_ahead() -> None:
    for height, name in ((0.2, "pitch up"), (0.9, "pitch down"), (0.55, "")):
        with pytest.MonkeyPatch.context() as patched:
            found = face(height=height)
            patched.setattr(checks, "faces_in", lambda picture, found=found: [found])
            told = check_clip([FRAME], Gate(sharpness=0))
        assert told.advice == ((ADVICE[name],) if name else ())
    assert "lower your chin" in ADVICE["pitch up"]
    assert "lift your chin" in ADVICE["pitch down"]


def head(degrees: float, subject: int) -> np.ndarray:
    """A rendered head that looks down by so many degrees, RGB."""
    synthesis = Synthesis(subjects=3, videos_per_subject=2, frames=2)
    video = [each for each in planned_videos("replay_attack", synthesis) if each.bona_fide][subject]
    framing = Framing(0.4, 0.0, (0.0, math.radians(degrees), 0.0))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recording, "draw_framing", lambda rng, share: framing)
        return next(recording.record(video, synthesis, None).frames)


@pytest.mark.slow  # fifteen searches for a face
def test_the_nose_of_rendered_heads_follows_their_known_pitch() -> None:
    limits, every = Gate(pitch_up=0.45, pitch_down=0.63), []
    for subject in (0, 1, 2):
        values = []
        for degrees in (-45, -20, 0, 20, 45):
            made = {each.name: each for each in check_frame(head(degrees, subject), limits)}
            values.append(made["pitch up"].value)
            assert made["pitch down"].value == values[-1]
            assert made["pitch up"].passed == (values[-1] >= 0.45)
            assert made["pitch down"].passed == (values[-1] <= 0.63)
            if not degrees:
                assert made["pitch up"].passed
                assert made["pitch down"].passed
        # Five points tell the direction of every head, its size by the mean over several.
        assert max(values[:2]) < values[2] < min(values[3:]), values
        every.append(values)
    low, _, middle, _, high = np.mean(every, axis=0)
    assert low < middle - 0.05 < middle + 0.05 < high
