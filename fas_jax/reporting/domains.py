"""What so few targets can say of other domains. Imports no JAX."""

from collections.abc import Sequence

import numpy as np

from fas_jax.evaluation.intervals import CONFIDENCE
from fas_jax.evaluation.resolution import hter_differences, smallest_difference
from fas_jax.evaluation.results import Results
from fas_jax.reporting.naming import target_of

_SURE = f"{100 * CONFIDENCE:g} % t-interval over the targets"


def domains_note(results: Results) -> str:
    """That subjects of some targets say nothing of other domains, and how little so few targets say."""
    count = len(results.protocols)
    said = f"even a model that wins all {count} has p = {2.0 ** (1 - count):.2g} by a sign test" if count > 1 else ""
    least = 100 * smallest_difference(hter_differences(results))
    if least <= 100:
        said += f", and a mean difference of HTER would have to exceed about {least:.2g} points ({_SURE})"
    elif not np.isnan(least):
        said += f", and no difference of HTER could be shown ({_SURE})"
    return (
        "Intervals and p-values come from the subjects of these targets and claim nothing about other domains: for "
        f"that the target is the unit, and there {'is' if count == 1 else 'are'} {targets_in_words(results.protocols)}"
        f"{f', where {said}' if said else ''}."
    )


def targets_in_words(protocols: Sequence[str]) -> str:
    """How many there are, as targets where every protocol has another one."""
    targets = {target for protocol in protocols if (target := target_of(protocol))}
    word = "target" if len(targets) == len(protocols) else "protocol"
    return f"{len(protocols)} {word}{'' if len(protocols) == 1 else 's'}"
