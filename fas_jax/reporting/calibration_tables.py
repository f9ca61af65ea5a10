"""How far scores are probabilities on the target: a table, its notes and reliability diagrams. Imports no JAX."""

import numpy as np
from matplotlib.figure import Figure

from fas_jax.evaluation.calibration import BINS, ISOTONIC, KINDS, RAW, TEMPERATURE, Calibration
from fas_jax.evaluation.results import Results
from fas_jax.reporting import charts
from fas_jax.reporting.breakdown_tables import main_model
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.naming import Models, ordered_protocols, protocol_name, summaries

TEXT = (
    "Whether a score of 0.8 means that 8 of 10 such videos are bona fide. Of the test videos' scores as they are, and "
    "after calibration on the source videos that set the threshold: by a temperature, which divides all logits, and by "
    f"isotonic regression. ECE in %, over {BINS} bins of equal width in P(bona fide); Brier score; log loss in nats; "
    "means over seeds. All depend on the share of attacks. Scores in `scores.csv`, thresholds and error rates stay as "
    "they are."
)
DIAGRAMS = (
    "Reliability diagrams: the share of bona fide among test videos against their mean P(bona fide), by bin. Of the "
    "model that breakdowns are printed for, first seed; on the diagonal the scores are probabilities."
)
NAMES = {RAW: "as they are", TEMPERATURE: "temperature", ISOTONIC: "isotonic"}
COLOURS = dict(zip(KINDS, ("#000000", "#0072B2", "#D55E00"), strict=True))


def calibration_table(results: Results, models: Models) -> Grid:
    """ECE, Brier score and log loss before and after; — where a calibration could not be fitted for every seed."""
    measures = {"ece": "ECE %", "brier": "Brier", "log_loss": "log loss"}
    header = [f"{measure}, {NAMES[kind]}" for measure in measures.values() for kind in KINDS]
    rows = []
    for summary in summaries(results):
        own = _of(results, summary.protocol, summary.model)
        cells = []
        for measure in measures:
            for kind in KINDS:
                values = [getattr(each.quality[kind], measure) for each in own if kind in each.quality]
                shown = f"{100 * np.mean(values):.2f}" if measure == "ece" and values else ""
                cells.append("—" if not values or len(values) < len(own) else shown or f"{np.mean(values):.4f}")
        fitted = [each.temperature for each in own]
        cells.append("—" if np.isnan(fitted).any() else f"{np.mean(fitted):.3g}")
        rows.append([protocol_name(summary.protocol), models.name(summary.model), *cells])
    return Grid(["protocol", "model", *header, "temperature"], rows)


def calibration_notes(results: Results, models: Models) -> list[str]:
    """Why something was not fitted, of each protocol and model."""
    told: dict[tuple[str, str, str], list[int]] = {}
    for each in results.calibrations:
        for note in each.notes:
            told.setdefault((each.protocol, each.model, note), []).append(each.seed)
    several = len(results.seeds) > 1
    return [
        f"{protocol_name(protocol)}, {models.name(model)}"
        + (f", seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if several else "")
        + f": {note}."
        for (protocol, model, note), seeds in told.items()
    ]


def diagrams(results: Results, models: Models) -> list[tuple[str, Figure]]:
    """Titles and reliability diagrams, one for each protocol."""
    found = []
    for protocol in ordered_protocols(results):
        model = main_model(results, models, protocol)
        own = _of(results, protocol, model) if model else []
        if not own or not own[0].quality:
            continue
        lines = [
            charts.Line(
                NAMES[kind],
                COLOURS[kind],
                [100 * mean for mean, _, _ in own[0].quality[kind].bins],
                [100 * share for _, share, _ in own[0].quality[kind].bins],
                dashed=kind == RAW,
                marks=True,
            )
            for kind in KINDS
            if kind in own[0].quality
        ]
        name = f"{protocol_name(protocol)}, {models.name(own[0].model)}"
        found.append((f"Reliability, {name}", charts.reliability(lines)))
    return found


def _of(results: Results, protocol: str, model: str) -> list[Calibration]:
    return [each for each in results.calibrations if (each.protocol, each.model) == (protocol, model)]
