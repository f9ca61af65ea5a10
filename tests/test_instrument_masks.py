"""Where a rendered attack's instrument is: the renderer's own answer against what changes in its frames."""

import dataclasses

import numpy as np
import pytest

from fas_jax.base.settings import Synthesis
from fas_jax.synthetic import instruments, recording
from fas_jax.synthetic.domains import official_conditions
from fas_jax.synthetic.plan import PlannedVideo, planned_videos
from fas_jax.synthetic.recording import record

SETTINGS = Synthesis(subjects=3, videos_per_subject=4, frames=4, scale=0.1)


def small(video: PlannedVideo):
    """Conditions under which the room shows around the instrument."""
    conditions = official_conditions(SETTINGS.seed, video)
    return dataclasses.replace(conditions, domain=dataclasses.replace(conditions.domain, cover=(0.5, 0.6)))


@pytest.mark.parametrize("pai", ["print", "replay"])
def test_what_changes_with_the_instrument_is_where_it_is(pai: str, monkeypatch: pytest.MonkeyPatch) -> None:
    video = next(each for each in planned_videos("replay_attack", SETTINGS) if each.pai == pai)
    made = record(video, SETTINGS, None, small(video))
    mask = made.instrument(0)
    assert 0.15 < mask.mean() < 0.6
    frame = next(iter(made.frames)).astype(float)
    # The same video whose instrument shows something else: a print without ink, a screen without light.
    if pai == "print":
        drawn = instruments.draw_print
        monkeypatch.setattr(instruments, "draw_print", lambda *args: 0.1 + 0 * drawn(*args))
    else:
        screen = recording._draw_screen

        def dark(*args):
            found = screen(*args)
            return dataclasses.replace(
                found, content=lambda index: 0 * found.content(index), bezel_colour=0 * found.bezel_colour + 1
            )

        monkeypatch.setattr(recording, "_draw_screen", dark)
    other = next(iter(record(video, SETTINGS, None, small(video)).frames)).astype(float)
    # Gains and contrast follow the scene: the rest of the frame changes as one, up to its noise.
    change = np.abs(np.log1p(frame) - np.log1p(other)).max(-1)
    outside = np.median(change[~mask])
    assert np.median(change[mask]) > 2 * outside


def test_bona_fide_videos_have_none() -> None:
    video = next(each for each in planned_videos("replay_attack", SETTINGS) if each.bona_fide)
    made = record(video, SETTINGS, None)
    mask = made.instrument(0)
    assert mask.shape == next(iter(made.frames)).shape[:2]
    assert not mask.any()
