"""Results of an evaluation: figures with their definitions, summaries over seeds, comparisons. Imports no JAX."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fas_jax.evaluation.calibration import Calibration
from fas_jax.evaluation.intervals import CONFIDENCE, RESAMPLES, Interval
from fas_jax.evaluation.significance import LEVEL

# The definition of every figure; reports print these sentences.
DEFINITIONS = {
    "threshold": "Scores at or above it are accepted as bona fide. Set on source videos alone, by the rule that the "
    "report names; among equals the highest.",
    "threshold_gap": "Width, in logits, of the gap in which `threshold` lies where it separates the source videos; "
    "undefined where their classes overlap.",
    "validation_eer": "(FAR + FRR) / 2 at `threshold` of the source videos that set it.",
    "hter": "(FAR + FRR) / 2 of the test videos at `threshold`.",
    "auc": "Area under the ROC curve of the test videos; ties count half. Needs no threshold.",
    "far": "Share of the test attacks accepted at `threshold`, all species pooled.",
    "frr": "Share of the bona fide test videos rejected at `threshold`; the same as BPCER.",
    "apcer": "Share of the attacks of a PAI species accepted at `threshold`, for the worst coarse species "
    "(print, cut, warped, replay), as ISO/IEC 30107-3 has it.",
    "bpcer": "Share of the bona fide test videos rejected at `threshold`.",
    "acer": "(APCER + BPCER) / 2; usual in the literature, not in ISO/IEC 30107-3.",
    "apnrr": "Share of the test attacks without a decision (non-responses).",
    "bpnrr": "Share of the bona fide test videos without a decision.",
    "hter_rejecting": "HTER with every non-response counted as a rejection.",
    "apcer_rejecting": "APCER with every non-response counted as a rejection.",
    "bpcer_rejecting": "BPCER with every non-response counted as a rejection.",
    "auc_rejecting": "AUC with every non-response ranked below all scores.",
    "oracle_eer": "HTER of the test videos at the threshold of their own equal error rate: the threshold is "
    "chosen on the target, which no deployed system can do.",
    "oracle_threshold": "The threshold of `oracle_eer`.",
    "oracle_min_hter": "The lowest HTER that any threshold reaches on the test videos.",
    "hter_validation": "HTER of the test videos at the threshold that the sources' validation videos set.",
    "hter_cross_source": "HTER of the test videos at the threshold that source videos set which were scored by "
    "detectors that have not seen their dataset.",
    "hter_shifted": "HTER of the test videos at the threshold that the validation videos set when their frames were "
    "shifted.",
    "gap": "HTER - `oracle_eer`: what choosing the threshold on the target would have hidden.",
    "oracle_bpcer10": "BPCER of the test videos at the lowest threshold with APCER <= 10 % on them.",
    "oracle_bpcer20": "BPCER of the test videos at the lowest threshold with APCER <= 5 % on them.",
    "oracle_bpcer100": "BPCER of the test videos at the lowest threshold with APCER <= 1 % on them.",
    "oracle_tpr_at_fpr1": "Largest share of bona fide test videos accepted where at most 1 % of the attacks are "
    "(species pooled).",
}  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """The figures of one model under one protocol with one seed."""

    protocol: str
    seed: int
    model: str
    values: Mapping[str, float]
    """By the names in `DEFINITIONS`; NaN where undefined."""
    apcer_by_species: Mapping[str, float]
    species_counts: Mapping[str, int]
    """Test attacks with a decision, by PAI species."""
    counts: Mapping[str, int]
    """Videos, subjects and non-responses behind the figures."""
    hter_interval: Interval
    """By bootstrap over the test subjects, at the threshold as it is."""
    full_hter_interval: Interval
    """With the subjects of the sources redrawn as well, and the threshold chosen anew on them."""
    auc_interval: Interval
    notes: tuple[str, ...]
    """What a reader has to know about these figures, such as why one is undefined."""


@dataclass(frozen=True)
class Summary:
    """One model under one protocol, over all seeds."""

    protocol: str
    model: str
    seeds: tuple[int, ...]
    mean: Mapping[str, float]
    """NaN where a seed's figure is undefined."""
    std: Mapping[str, float]
    """Sample standard deviation over seeds (n - 1); NaN for a single seed."""
    hter_interval: Interval
    """Of the mean over seeds, by bootstrap over the test subjects; NaN with fewer than two subjects of a class."""
    full_hter_interval: Interval
    """With the subjects of the sources (hence the threshold), the test subjects and the seeds redrawn; NaN with fewer
    than two subjects of a class in test or in a source."""
    auc_interval: Interval


@dataclass(frozen=True)
class Comparison:
    """HTER of `model` minus HTER of `other` (means over seeds) under one protocol, and its paired interval."""

    protocol: str
    model: str
    other: str
    difference: float
    interval: Interval
    """By bootstrap over the test subjects, at the thresholds as they are."""
    full_interval: Interval
    """With the subjects of the sources (hence the thresholds), the test subjects and the seeds redrawn."""
    p: float
    """Of a sign-flip test over the test subjects, two-sided; NaN where there is no interval."""
    p_holm: float
    """The same, corrected after Holm for the number of differences in the table."""

    @property
    def clear(self) -> bool:
        """Whether the difference is called one: its interval excludes 0, and the corrected p-value is below 0.05."""
        # NaN compares false: what is undefined is not clear.
        return (self.interval.low > 0 or self.interval.high < 0) and self.p_holm < LEVEL


@dataclass(frozen=True)
class Group:
    """Error rates of one model on one group of test videos under one protocol, means over seeds."""

    protocol: str
    model: str
    dimension: str
    """Column of the score table that the videos are grouped by."""
    value: str
    attacks: int
    bona_fide: int
    subjects: int
    non_responses: int
    """Scores that are missing, over all seeds."""
    far: float
    """Share of the group's attacks accepted; NaN where it has none."""
    far_interval: Interval
    """By bootstrap over the group's subjects; NaN where there is only one."""
    frr: float
    """Share of the group's bona fide rejected; NaN where it has none."""
    frr_interval: Interval
    far_reason: str = ""
    """Why there is no figure although the group has attacks."""
    frr_reason: str = ""


@dataclass(frozen=True)
class Gap:
    """How far the groups of an attribute are apart in one error rate of one model under one protocol."""

    protocol: str
    model: str
    dimension: str
    """`attr.NAME`."""
    rate: str
    """`far`, `frr` or `hter`; means over seeds."""
    worst: str
    """The group with the highest rate, among those with enough subjects."""
    best: str
    difference: float
    """The worst group's rate minus the best group's; NaN with fewer than two groups."""
    interval: Interval
    """By bootstrap over the test subjects, paired, for all pairs of groups at once."""
    reason: str
    """Why there is no gap; empty where there is one."""


@dataclass(frozen=True)
class WorstVideo:
    """A test video that a model decides wrongly and by a wide margin."""

    protocol: str
    model: str
    dataset: str
    video: str
    label: int
    score: float
    """Mean over seeds."""
    margin: float
    """Score minus the threshold, mean over seeds."""
    about: Mapping[str, str]
    """PAI species, device, session, subject."""


@dataclass(frozen=True)
class Results:
    """Everything that reports are written from."""

    threshold_rule: str
    """As `thresholds.Rule.parse` reads it."""
    set_by: str
    """The role of the rows that set the thresholds."""
    protocols: tuple[str, ...]
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    figures: tuple[Figures, ...]
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    """Reasons to doubt the figures, such as a subject in both validation and test."""
    groups: tuple[Group, ...] = ()
    """By PAI species, device, session and subject, and by attribute."""
    gaps: tuple[Gap, ...] = ()
    """Between the groups of each attribute."""
    worst: tuple[WorstVideo, ...] = ()
    """Of every protocol and model: the attacks furthest above the threshold, the bona fide furthest below."""
    calibrations: tuple[Calibration, ...] = ()
    """Of every protocol, seed and model."""

    @classmethod
    def empty(cls, threshold_rule: str, set_by: str = "validation") -> "Results":
        """Of a run in which nothing is tested."""
        return cls(threshold_rule, set_by, (), (), (), (), (), (), ())

    def summary(self, protocol: str, model: str) -> Summary | None:
        """The summary of one model under one protocol, if it was scored there."""
        return next((s for s in self.summaries if (s.protocol, s.model) == (protocol, model)), None)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary with the definitions; undefined figures are null."""
        uncertainty = {
            "method": "bootstrap over subjects of the test videos; threshold, model and seeds are not resampled, but "
            "for full intervals, which redraw the subjects that set the threshold (within each source) and the seeds; "
            "exact (Clopper-Pearson) bounds over subjects where there are no errors; "
            "none with fewer than two subjects of a class",
            "p": "two-sided sign-flip test over subjects of the test videos",
            "p_holm": "corrected after Holm for all pairs of models under all protocols",
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
        }
        content = {"definitions": DEFINITIONS, "uncertainty": uncertainty, **dataclasses.asdict(self)}
        return _nan_to_null(content)


def _nan_to_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _nan_to_null(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_null(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
