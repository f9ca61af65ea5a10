"""Results as tables and as Markdown: the layout of the paper's Table I, what its figures rest on, and the rest."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fas_jax.evaluation.intervals import CONFIDENCE, RESAMPLES, Interval
from fas_jax.evaluation.results import DEFINITIONS, Figures, Results, Summary
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.protocols.presets import OFFICIAL, PRESETS
from fas_jax.reporting.folds import fold_table
from fas_jax.reporting.grid import NOT_SCORED, UNDEFINED, Grid, Strong, markdown
from fas_jax.reporting.published import CITATION, PAPER_PROTOCOLS, PublishedRow

_MODEL_NAMES = {
    "lstm": "LSTM",
    "bilstm": "BiLSTM",
    "gru": "GRU",
    "meta": "Meta-learner",
    "mean-feature": "baseline: mean feature",
    "colour": "baseline: colour",
    "metadata": "baseline: metadata",
}
_MOST_FAILURES = 20
NON_RESPONSES = "Reasons (scores over all protocols, seeds and models):"
ORACLE = (
    "HTER with the threshold from the sources, and what a threshold chosen on the target would have claimed. Figures "
    "in %."
)
RATES = (
    "APCER is given for each coarse PAI species; the largest counts (ISO/IEC 30107-3). Figures in %, means over seeds. "
    "The last four choose their threshold on the target."
)
COMPARISONS = (
    "HTER minus that of the model with the lowest mean HTER, in percentage points, with paired "
    f"{100 * CONFIDENCE:g} % intervals (the same resamples of subjects for both; not corrected for the number of "
    "comparisons). An interval that holds 0 is no evidence of a difference."
)
_CONFIDENCE = f"{100 * CONFIDENCE:g} %"


def model_name(model: str) -> str:
    """The name of a model for people."""
    return _MODEL_NAMES.get(model, model)


def dataset_name(dataset: str) -> str:
    """The name of a dataset for people; a file of somebody else's may give none."""
    return dataset or "(not named)"


def protocol_name(protocol: str) -> str:
    """`O&C&I to M` for `OCI_to_M`; names that are not made like this stay as they are."""
    sources, parted, target = protocol.partition("_to_")
    if not parted:
        return protocol
    letters = list(sources) if set(sources) <= set("OCIM") else sources.split("+")
    return f"{'&'.join(letters)} to {target}"


def ordered_models(results: Results) -> list[str]:
    """Base models, meta-learner, baselines, then all others."""
    known = [model for model in _MODEL_NAMES if model in results.models]
    return known + [model for model in results.models if model not in _MODEL_NAMES]


def ordered_protocols(results: Results) -> list[str]:
    """The paper's columns in its order, then all others."""
    known = [protocol for protocol in PAPER_PROTOCOLS if protocol in results.protocols]
    return known + [protocol for protocol in results.protocols if protocol not in PAPER_PROTOCOLS]


def main_part(
    results: Results,
    scores: ScoreTable,
    provenance: Mapping[str, Any],
    published: Sequence[PublishedRow],
    refusal: str,
) -> str:
    """Warnings, the table in the layout of Table I, and the notes that it needs to be understood."""
    parts = [f"# Results: {provenance.get('name', 'scores')}"]
    parts += [f"> **{warning}**" for warning in warnings(results, scores, provenance)]
    parts += [f"## {table_title(provenance)}", markdown(table_one(results, published))]
    if (by_fold := fold_table(results, _MODEL_NAMES)) is not None:
        parts += ["### Mean ± standard deviation over the folds", markdown(by_fold)]
    parts.append("\n".join(f"- {note}" for note in notes(results, provenance, published, refusal)))
    parts += [
        "### Videos behind the figures",
        videos_note(results),
        markdown(videos_table(results, scores, provenance)),
    ]
    return "\n\n".join(parts) + "\n"


def full_report(
    main: str,
    pictures: Sequence[tuple[str, str]],
    results: Results,
    scores: ScoreTable,
    provenance: Mapping[str, Any],
    further: Sequence[tuple[str, str]] = (),
) -> str:
    """The main part, figures, all other tables, definitions, and what is needed to reproduce them."""
    parts = [main.rstrip()]
    parts += ["## ROC curves", *(f"![{title}]({file})" for title, file in pictures)]
    parts += [
        "## Strict beside oracle",
        ORACLE,
        markdown(oracle_table(results)),
        "## Presentation attack detection rates",
        RATES,
        markdown(rates_table(results)),
    ]
    if results.comparisons:
        parts += [
            "## Differences to the best model",
            COMPARISONS,
            markdown(comparison_table(results)),
        ]
    if not scores.answered.all():
        reasons, rates = non_responses(results, scores)
        parts += ["## Non-responses", NON_RESPONSES, bullets(reasons), markdown(rates)]
    if noted := figure_notes(results.figures):
        parts += ["## Notes on single figures", "\n".join(f"- {note}" for note in noted)]
    for title, text in further:
        parts += [f"## {title}", text]
    parts += ["## Definitions", "Polarity: label 1 is bona fide; a higher score means bona fide."]
    parts.append("\n".join(f"- `{name}`: {text}" for name, text in DEFINITIONS.items()))
    parts += ["## What the run was made from", _provenance_part(provenance)]
    return "\n\n".join(parts) + "\n"


def warnings(results: Results, scores: ScoreTable, provenance: Mapping[str, Any]) -> list[str]:
    """What a reader must know before any figure."""
    found = []
    datasets = provenance["datasets"]
    preset = PRESETS.get(provenance["preset"])
    if preset and preset.on_target:
        found.append(
            f"Preset {preset.name}: models and thresholds are chosen on the target's own test videos, as in the "
            "published work. The figures are optimistic; they are no estimate for an unknown target."
        )
    if preset and preset.caveats:
        found.append(f"Preset {preset.name} is not the published protocol in full: {'; '.join(preset.caveats)}.")
    if rendered := [each["dataset"] for each in datasets if each["synthetic"]]:
        found.append(
            f"Rendered data ({', '.join(rendered)}): this report exercises the pipeline and says nothing about real "
            "attacks."
        )
    if "random" in str(provenance.get("weights", "")).lower():
        found.append(f"Backbone weights: {provenance['weights']}. Figures with untrained weights are not the method's.")
    for each in datasets:
        if each["complete"] is False and not each["synthetic"]:
            found.append(f"Dataset {each['dataset']} is only partly there: the figures are not those of the full set.")
        if failed := len(each.get("failures") or ()):
            found.append(f"{failed} videos of {each['dataset']} could not be read; see the list of failures.")
    if silent := int(np.sum(~scores.answered & (scores.role == TEST))):
        found.append(
            f"{silent} test scores are missing (non-responses). HTER and AUC are of the videos with a score; see "
            "the rates with non-responses counted as rejections."
        )
    turned = [each for each in results.summaries if each.auc_interval.high < 0.5]
    if turned:
        names = ", ".join(f"{model_name(each.model)} ({protocol_name(each.protocol)})" for each in turned)
        found.append(
            f"AUC below 0.5, and not by chance: {names}. If a higher score means attack there, negate the scores and "
            "evaluate again; nothing is flipped here."
        )
    return found + [text[0].upper() + text[1:] + "." for text in results.warnings]


def table_title(provenance: Mapping[str, Any]) -> str:
    """What the main table is of."""
    return "Results within one dataset" if provenance["preset"] == OFFICIAL else "Cross-dataset table"


def table_one(results: Results, published: Sequence[PublishedRow]) -> Grid:
    """HTER and AUC by model and protocol, in the layout of the paper's Table I; published rows first."""
    protocols = ordered_protocols(results)
    header = ["model"]
    for protocol in protocols:
        header += [f"{protocol_name(protocol)}: HTER %", "AUC %"]
    rows = []
    for row in published:
        cells = [f"{row.method} (published)"]
        for protocol in protocols:
            error, area = row.values[protocol]
            cells += [f"{error:.2f}", "—" if area is None else f"{area:.2f}"]
        rows.append(cells)
    for model in ordered_models(results):
        cells = [model_name(model)]
        for protocol in protocols:
            summary = results.summary(protocol, model)
            if summary is None:
                cells += [NOT_SCORED, NOT_SCORED]
                continue
            hter = with_interval(summary.mean["hter"], summary.std["hter"], summary.hter_interval)
            if _clearly_best(results, protocol, model):
                hter = Strong(hter)
            cells += [hter, with_interval(summary.mean["auc"], summary.std["auc"], summary.auc_interval)]
        rows.append(cells)
    return Grid(header, rows)


def _clearly_best(results: Results, protocol: str, model: str) -> bool:
    rivals = [each for each in results.comparisons if (each.protocol, each.model) == (protocol, model)]
    # NaN compares false: where an interval is undefined nothing is clear.
    return bool(rivals) and all(each.interval.high < 0 for each in rivals)


def notes(
    results: Results, provenance: Mapping[str, Any], published: Sequence[PublishedRow], refusal: str
) -> list[str]:
    """What the cross-dataset table needs to be understood."""
    experiment = provenance.get("experiment") or {}
    fusion = experiment.get("evaluation", {}).get("fusion")
    rule = {
        "pooled": "all validation videos pooled, so that large datasets weigh more",
        "balanced": "every source dataset weighing the same",
    }[results.threshold_rule]
    preset = PRESETS.get(provenance["preset"])
    found = [
        f"Preset `{provenance['preset']}`. " + (preset.summary if preset else "Its splits are not known here."),
        "Unit: the video. "
        + (f"A video's score is the {fusion} of its frames' P(bona fide). " if fusion else "")
        + "HTER = (FAR + FRR) / 2; AUC needs no threshold.",
        "Threshold: equal error rate on the target's own test videos, as the preset says."
        if preset and preset.on_target
        else f"Threshold: equal error rate on the validation videos of the sources, {rule}; the target takes no part "
        "in it.",
        f"In brackets: {_CONFIDENCE} interval by bootstrap over the target's subjects ({RESAMPLES} resamples; "
        "threshold, model and seeds are not resampled); exact bounds over subjects where there are no errors.",
        "In bold: HTER lower than that of every other model of the run by a paired interval that excludes 0. "
        "Published rows are not compared."
        if published
        else "In bold: HTER lower than that of every other model of the run by a paired interval that excludes 0.",
    ]
    seeds = ", ".join(map(str, results.seeds))
    if len(results.seeds) > 1:
        found.append(f"Mean ± sample standard deviation over the seeds {seeds}.")
    else:
        found.append(f"One seed ({seeds}): nothing is said of how much training and the validation cut vary.")
    if sizes := experiment.get("models"):
        found.append("Hidden units: " + ", ".join(f"{model_name(name)} {size}" for name, size in sizes.items()) + ".")
    if "weights" in provenance:
        found.append(f"Backbone: {provenance.get('backbone', 'not told')}; weights: {provenance['weights']}.")
    for each in provenance["datasets"]:
        if each["complete"] is None:
            found.append(f"Whether dataset {dataset_name(each['dataset'])} is complete is not known.")
    if published:
        found.append(
            f"Rows marked as published: {CITATION} They score frames, ours videos; the methods above CNN-LSTM are "
            "cited there from their own papers, whose protocols differ."
        )
    else:
        found.append(f"{refusal[0].upper()}{refusal[1:]}.")
    return found


def videos_table(results: Results, scores: ScoreTable, provenance: Mapping[str, Any]) -> Grid:
    """Videos and subjects by protocol, part and dataset, of the first seed."""
    rows = []
    for protocol in ordered_protocols(results):
        of_protocol = scores.select(protocol=protocol)
        seed = of_protocol.distinct("seed")[0]
        named = protocol_name(protocol)
        for known in provenance.get("assignments") or ():
            if known.get("protocol") == protocol and known.get("seed", seed) == seed:
                for dataset, counts in known["train"].items():
                    counted = [str(counts[name]) for name in ("bona_fide", "attacks", "subjects")]
                    rows.append([named, "train", dataset, *counted])
        of_seed = of_protocol.select(seed=seed, model=of_protocol.distinct("model")[0])
        for role in (VALIDATION, TEST):
            part = of_seed.select(role=role)
            for dataset in sorted(part.distinct("dataset")):
                mine = part.select(dataset=dataset)
                subjects = len(set(mine.subject.tolist()) - {""})
                counted = [str(int(np.sum(mine.label == label))) for label in (1, 0)]
                rows.append([named, role, dataset_name(dataset), *counted, str(subjects) if subjects else "not known"])
    return Grid(["protocol", "part", "dataset", "bona fide", "attacks", "subjects"], rows)


def videos_note(results: Results) -> str:
    """What `videos_table` counts."""
    first = f"Seed {results.seeds[0]}; videos" if len(results.seeds) > 1 else "Videos"
    return f"{first} without a score are counted, too."


def oracle_table(results: Results) -> Grid:
    """HTER beside what a choice on the target would have claimed."""
    names = ("hter", "oracle_eer", "gap", "oracle_min_hter", "validation_eer")
    header = ["protocol", "model", "HTER", "oracle EER (on the target)", "gap"]
    header += ["oracle lowest HTER", "validation EER"]
    rows = []
    for summary in summaries(results):
        cells = [_percent(summary.mean[name], summary.std[name]) for name in names]
        rows.append([protocol_name(summary.protocol), model_name(summary.model), *cells])
    return Grid(header, rows)


def rates_table(results: Results) -> Grid:
    """APCER by species, BPCER, and the rates at fixed APCER."""
    species = sorted({name for each in results.figures for name in each.apcer_by_species})
    names = ("apcer", "bpcer", "acer", "far")
    oracles = ("oracle_bpcer10", "oracle_bpcer20", "oracle_bpcer100", "oracle_tpr_at_fpr1")
    header = ["protocol", "model", "APCER (max)", "BPCER", "ACER", "FAR", *(f"APCER {name}" for name in species)]
    header += ["oracle BPCER10", "oracle BPCER20", "oracle BPCER100", "oracle TPR at FPR 1 %"]
    rows = []
    for summary in summaries(results):
        runs = [each for each in results.figures if (each.protocol, each.model) == (summary.protocol, summary.model)]
        by_species = [float(np.mean([run.apcer_by_species.get(name, np.nan) for run in runs])) for name in species]
        # A target need not have every species; that is no undefined figure.
        shown = ["—" if np.isnan(value) else _percent(value) for value in by_species]
        cells = [_percent(summary.mean[name]) for name in names]
        cells += shown + [_percent(summary.mean[name]) for name in oracles]
        rows.append([protocol_name(summary.protocol), model_name(summary.model), *cells])
    return Grid(header, rows)


def comparison_table(results: Results) -> Grid:
    """Differences in HTER to the best model of each protocol."""
    protocols = ordered_protocols(results)
    best = {}
    for protocol in protocols:
        defined = [s for s in summaries(results) if s.protocol == protocol and not np.isnan(s.mean["hter"])]
        if defined:
            best[protocol] = min(defined, key=lambda summary: summary.mean["hter"]).model
    found = {(each.protocol, each.model, each.other): each for each in results.comparisons}
    rows = []
    for model in ordered_models(results):
        cells = [model_name(model)]
        for protocol in protocols:
            pair = found.get((protocol, model, best.get(protocol, "")))
            if best.get(protocol) == model:
                cells.append("best")
            elif pair is None or np.isnan(pair.difference):
                cells.append(UNDEFINED)
            else:
                low, high = 100 * pair.interval.low, 100 * pair.interval.high
                cells.append(f"{100 * pair.difference:+.2f} [{low:+.1f}, {high:+.1f}]")
        rows.append(cells)
    return Grid(["model", *map(protocol_name, protocols)], rows)


def non_responses(results: Results, scores: ScoreTable) -> tuple[list[str], Grid]:
    """Why scores are missing, and the rates with and without them."""
    names = ("apnrr", "bpnrr", "hter", "hter_rejecting", "apcer_rejecting", "bpcer_rejecting", "auc_rejecting")
    header = ["protocol", "model", "APNRR", "BPNRR", "HTER", "HTER, rejecting", "APCER, rejecting"]
    header += ["BPCER, rejecting", "AUC, rejecting"]
    rows = [
        [protocol_name(s.protocol), model_name(s.model), *(_percent(s.mean[name]) for name in names)]
        for s in summaries(results)
    ]
    reasons, counts = np.unique(scores.reason[~scores.answered], return_counts=True)
    return [f"{count} scores: {why}" for why, count in zip(reasons.tolist(), counts.tolist(), strict=True)], Grid(
        header, rows
    )


def figure_notes(figures: Iterable[Figures]) -> list[str]:
    """What has to be known of single figures."""
    return [
        f"{protocol_name(each.protocol)}, {model_name(each.model)}, seed {each.seed}: {note}."
        for each in figures
        for note in each.notes
    ]


def datasets_table(provenance: Mapping[str, Any]) -> Grid:
    """What is known of the datasets."""
    rows = [
        [
            dataset_name(each["dataset"]),
            "yes" if each["synthetic"] else "no",
            {True: "yes", False: "no", None: "not known"}[each["complete"]],
            str(each.get("clips", "")),
            str(len(each.get("failures") or ())),
            str(each.get("prepared", "")),
        ]
        for each in provenance["datasets"]
    ]
    return Grid(["dataset", "rendered", "complete", "clips", "failures", "prepared"], rows)


def _provenance_part(provenance: Mapping[str, Any]) -> str:
    parts = ["All settings are in `provenance.json`, all scores in `scores.csv`, all figures in `results.json`."]
    parts.append(markdown(datasets_table(provenance)))
    failures = [
        f"- {each['dataset']}: {failure_text(failure)}"
        for each in provenance["datasets"]
        for failure in each.get("failures") or ()
    ]
    if failures:
        parts.append("Failures:\n\n" + "\n".join(failures[:_MOST_FAILURES]))
        if len(failures) > _MOST_FAILURES:
            parts.append(f"and {len(failures) - _MOST_FAILURES} more in `provenance.json`.")
    for name, title in (("versions", "Versions"), ("seconds", "Seconds by stage")):
        if found := provenance.get(name):
            shown = (
                f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}" for key, value in found.items()
            )
            parts.append(f"{title}: " + ", ".join(shown) + ".")
    return "\n\n".join(parts)


def failure_text(failure: Any) -> str:
    """A video that could not be read, and why."""
    if isinstance(failure, Mapping):
        return f"{failure.get('video', '?')}: {failure.get('reason', '?')}"
    return str(failure)


def summaries(results: Results) -> list[Summary]:
    """All summaries in the order of the tables."""
    found = (results.summary(p, m) for p in ordered_protocols(results) for m in ordered_models(results))
    return [summary for summary in found if summary is not None]


def _percent(mean: float, std: float = np.nan) -> str:
    if np.isnan(mean):
        return UNDEFINED
    spread = "" if np.isnan(std) else f" ± {100 * std:.2f}"
    # The first rounding drops what binary fractions add to a tie; adding 0 makes a negative zero positive.
    return f"{round(round(100 * mean, 9), 2) + 0:.2f}{spread}"


def with_interval(mean: float, std: float, interval: Interval) -> str:
    """A share as per cent, with its spread over seeds and its interval where there are any."""
    text = _percent(mean, std)
    if np.isnan(mean) or np.isnan(interval.low):
        return text
    return f"{text} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)
