"""What may turn a verdict into one that is not accepted, and never the other way round."""

from dataclasses import replace

from fas_jax.deployment.verdict import NO_DECISION, Verdict
from fas_jax.evaluation.conformal import Band


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
