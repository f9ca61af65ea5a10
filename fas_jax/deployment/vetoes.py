"""What may turn a verdict into one that is not accepted, and never the other way round."""

import math
from collections.abc import Mapping
from dataclasses import replace

from fas_jax.base.record import ClipInfo
from fas_jax.base.rendition import Rendition
from fas_jax.deployment.given_frames import Frames
from fas_jax.deployment.verdict import NO_DECISION, NO_INTERVAL, Verdict
from fas_jax.evaluation.conformal import Band
from fas_jax.pixels.gate.checks import CheckedClip, check_clip
from fas_jax.pixels.gate.frames import gate_rendition
from fas_jax.pixels.gate.settings import Gate

_GATE = "(gate)"  # no rendition of a configuration can be called so


def with_uncertain(verdict: Verdict, band: Band | None) -> Verdict:
    """A verdict with three answers; as it is without a band, or where there is no decision.

    Args:
        verdict: With two answers.
        band: Of its detector.
    """
    if band is None or verdict.decision == NO_DECISION:
        return verdict
    score, threshold = verdict.score, verdict.threshold
    return replace(
        verdict,
        decision=band.answer(score, threshold),
        reason=band.reason(score, threshold),
        alpha=band.alpha,
    )


def gated(verdict: Verdict, found: CheckedClip | None) -> Verdict:
    """A verdict with what the gate says of the frames, which decides nothing unless they pass.

    Args:
        verdict: Without the gate.
        found: What the gate says; None where it was not asked for.
    """
    if found is None or found.passed:
        return replace(verdict, gate=found)
    return replace(
        verdict,
        decision=NO_DECISION,
        score=math.nan,
        reason=f"the gate refuses it: {' '.join(found.advice)}",
        alpha=math.nan,
        interval=NO_INTERVAL,
        interval_note="",
        explanation={},
        gate=found,
    )


def with_gate(renditions: Mapping[str, Rendition], gate: Gate | None) -> dict[str, Rendition]:
    """The renditions of a detector, and the whole frames that the gate checks; without a gate, as they are."""
    own = dict(renditions)
    return own if gate is None else own | {_GATE: gate_rendition(next(iter(own.values())), gate)}


def checked(
    frames: Mapping[str, Frames], info: ClipInfo, gate: Gate | None
) -> tuple[dict[str, Frames], ClipInfo, CheckedClip | None]:
    """What is decoded for a detector, without what is the gate's; and what the gate says of that.

    Args:
        frames: RGB, by the renditions of `with_gate`.
        info: Of the same renditions.
        gate: The limits; without them nothing is checked.
    """
    if gate is None:
        return dict(frames), info, None
    found = check_clip(list(frames.get(_GATE, ())), gate)
    own = {name: each for name, each in info.renditions.items() if name != _GATE}
    return {name: each for name, each in frames.items() if name != _GATE}, replace(info, renditions=own), found
