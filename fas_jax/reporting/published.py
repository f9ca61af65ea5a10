"""What others have published: the rows of the paper's Table I, and figures of releases. Imports no JAX."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fas_jax.base.errors import UserError
from fas_jax.protocols.presets import is_synthetic

CITATION = (
    "Muhammad, Hoque, Oussalah, Laaksonen: Deep Ensemble Learning with Frame Skipping for Face Anti-Spoofing. "
    "IPTA 2023, arXiv 2307.02858, Table I."
)
PAPER_PRESET = "dle2023"
PAPER_PROTOCOLS = ("OCI_to_M", "OMI_to_C", "OCM_to_I", "ICM_to_O")
PAPER_NAMES = {
    ("lstm", "lstm"): "LSTM",
    ("bilstm", "bilstm"): "BiLSTM",
    ("gru", "gru"): "GRU",
    ("meta", "lstm-stack"): "Meta-learner",
}
"""The paper's methods by name and kind, as it writes them."""


@dataclass(frozen=True)
class PublishedRow:
    """One method of Table I."""

    method: str
    values: Mapping[str, tuple[float, float | None]]
    """(HTER %, AUC %) by protocol; the AUC is `None` where the paper gives none."""


def _row(method: str, *cells: tuple[float, float | None]) -> PublishedRow:
    return PublishedRow(method, dict(zip(PAPER_PROTOCOLS, cells, strict=True)))


TABLE_I = (
    _row("MADDG", (17.69, 88.06), (24.50, 84.51), (22.19, 84.99), (27.89, 80.02)),
    _row("DAFL", (14.58, 92.58), (17.41, 90.12), (15.13, 95.76), (14.72, 93.08)),
    _row("SSDG-R", (7.38, 97.17), (10.44, 95.94), (11.71, 96.59), (15.61, 91.54)),
    _row("DR-MD", (17.02, 90.10), (19.68, 87.43), (20.87, 86.72), (25.02, 81.47)),
    _row("MA-Net", (20.80, None), (25.60, None), (24.70, None), (26.30, None)),
    _row("RFMetaFAS", (13.89, 93.98), (20.27, 88.16), (17.30, 90.48), (16.45, 91.16)),
    _row("FAS-DR-BC(MT)", (11.67, 93.09), (18.44, 89.67), (11.93, 94.95), (16.23, 91.18)),
    _row("ASGS", (5.91, 99.88), (10.21, 99.86), (45.84, 76.09), (13.54, 99.73)),
    _row("HFN + MP", (5.24, 97.28), (9.11, 96.09), (15.35, 90.67), (12.40, 94.26)),
    _row("Cross-ADD", (11.64, 95.27), (17.51, 89.98), (15.08, 91.92), (14.27, 93.04)),
    _row("FG + HV", (9.17, 96.92), (12.47, 93.47), (16.29, 90.11), (13.58, 93.55)),
    _row("ADL", (5.00, 97.58), (10.00, 96.85), (12.07, 94.68), (13.45, 94.43)),
    _row("CNN-LSTM", (3.65, 99.71), (18.29, 99.81), (13.99, 88.62), (16.00, 87.36)),
    _row("CNN-BiLSTM", (5.31, 99.40), (20.74, 90.53), (12.01, 90.50), (22.88, 85.33)),
    _row("CNN-GRU", (4.74, 99.02), (36.41, 99.34), (17.41, 87.18), (17.94, 94.93)),
    _row("Meta-Model", (3.12, 99.89), (23.71, 99.66), (11.19, 90.95), (12.23, 97.70)),
)


@dataclass(frozen=True)
class Release:
    """A method that was published with its code."""

    display: str
    preset: str
    """By which its figures were found."""
    values: Mapping[str, tuple[float, float | None]]
    """(HTER %, AUC %) by protocol."""
    source: str
    weights: str
    """How the SHA-256 of the weights that its training begins with begins, as far as their publisher tells it."""
    weights_file: str
    """The name under which they were published."""


RELEASES: dict[str, Release] = {
    "ssdg": Release(
        "SSDG-R",
        "ssdg2020",
        next(row.values for row in TABLE_I if row.method == "SSDG-R"),
        "Jia, Zhang, Shan, Chen: Single-Side Domain Generalization for Face Anti-Spoofing. CVPR 2020.",
        "5c106cde",
        "resnet18-5c106cde.pth",
    ),
    "safas": Release(
        "SA-FAS",
        "safas2023",
        _row("SA-FAS", (5.95, 96.55), (8.78, 95.37), (6.58, 97.54), (10.00, 96.23)).values,
        "Sun, Liu, Liu, Li, Chu: Rethinking Domain Generalization for Face Anti-spoofing. CVPR 2023.",
        "5c106cde",
        "resnet18-5c106cde.pth",
    ),
}
"""By kind of method. The figures are those of the best epoch on the target."""


def published_rows(provenance: Mapping[str, Any], protocols: Iterable[str]) -> tuple[PublishedRow, ...]:
    """The rows of Table I, if the run is of the paper's protocols on the paper's data.

    Args:
        provenance: with `preset`, and `datasets`: dictionaries with `dataset`, `synthetic`, `complete` and
            perhaps `failures`.
        protocols: names of the protocols of the run.

    Raises:
        UserError: says what is different: another preset, other protocols, rendered, missing or incomplete
            datasets, or videos that failed. Beside any of these the published figures would be compared with
            what they cannot be compared with.
    """
    reasons = []
    if provenance["preset"] != PAPER_PRESET:
        reasons.append(f"the preset is {provenance['preset']!r}, the paper's is {PAPER_PRESET!r}")
    if set(protocols) != set(PAPER_PROTOCOLS):
        reasons.append(f"the protocols are {sorted(protocols)}, the paper's are {sorted(PAPER_PROTOCOLS)}")
    if provenance.get("on_target"):
        reasons.append("epochs were chosen on the target")
    datasets = {str(each["dataset"]): each for each in provenance["datasets"]}
    rendered = [name for name, each in datasets.items() if each["synthetic"] or is_synthetic(name)]
    if rendered:
        reasons.append(f"{', '.join(rendered)} are rendered, not the real datasets")
    elif set(datasets) != set("OCIM"):
        reasons.append(f"the datasets are {', '.join(sorted(datasets)) or 'not named'}, the paper's are C, I, M, O")
    for name, each in datasets.items():
        if each["complete"] is not True:
            reasons.append(f"{name or 'a dataset without a name'} is not known to be complete")
        if failed := len(each.get("failures") or ()):
            reasons.append(f"{failed} videos of {name} failed")
    if reasons:
        raise UserError("published rows are refused: " + "; ".join(reasons))
    return TABLE_I
