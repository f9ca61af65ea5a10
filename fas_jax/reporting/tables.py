"""Results as tables: the layout of the paper's Table I, what its figures rest on, and the rest."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fas_jax.evaluation.intervals import CONFIDENCE, Interval
from fas_jax.evaluation.results import Figures, Results, Summary
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import Rule
from fas_jax.protocols.presets import OFFICIAL
from fas_jax.reporting.domains import targets_in_words
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import NOT_SCORED, UNDEFINED, Grid, Strong
from fas_jax.reporting.naming import Models, dataset_name, ordered_protocols, protocol_name, summaries
from fas_jax.reporting.published import PublishedRow

NON_RESPONSES = "Reasons (validation and test videos, each counted once a reason, however many models and seeds):"
ORACLE = (
    "HTER with the threshold from the sources, and what a threshold chosen on the target would have claimed. Figures "
    "in %."
)
PROMISES = (
    "The threshold promises, on source videos, that no PAI species has a higher APCER; here is what it reached on the "
    "target. n/a: fewer attacks of the species than 3 / rate, too few to tell. Figures in %, means over seeds."
)
RATES = (
    "APCER is given for each coarse PAI species; the largest counts (ISO/IEC 30107-3). Figures in %, means over seeds. "
    "The last four choose their threshold on the target."
)
COMPARISONS = (
    "HTER minus that of the model with the lowest mean HTER, in percentage points, with paired "
    f"{100 * CONFIDENCE:g} % intervals (the same resamples of subjects for both). An interval that holds 0 is no "
    "evidence of a difference. p: sign-flip test over subjects, corrected after Holm for all pairs of models under all "
    "protocols of the table. Wins: where a model has a lower HTER than all others."
)
FULL_COMPARISONS = (
    "The same differences, with intervals that redraw the subjects of the sources (hence the thresholds), those of the "
    "target, and the seeds."
)
UNCERTAINTY = (
    f"Two {100 * CONFIDENCE:g} % intervals of HTER in %. The first redraws the target's subjects, at the threshold as "
    "it is. The full one also redraws the subjects of the sources, chooses the threshold anew on them by the same "
    "rule, and redraws the seeds where there are several. n/a: too few subjects; see the notes on single figures."
)


def table_title(provenance: Mapping[str, Any]) -> str:
    """What the main table is of."""
    return "Results within one dataset" if provenance["preset"] == OFFICIAL else "Cross-dataset table"


def table_one(results: Results, models: Models, published: Sequence[PublishedRow]) -> Grid:
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
    for model in results.models:
        cells = [models.row_name(model)]
        for protocol in protocols:
            summary = results.summary(protocol, model)
            if summary is None:
                cells += [NOT_SCORED, NOT_SCORED]
                continue
            hter = with_interval(summary.mean["hter"], summary.std["hter"], summary.hter_interval)
            if not models.on_target and _clearly_best(results, protocol, model):
                hter = Strong(hter)
            cells += [hter, with_interval(summary.mean["auc"], summary.std["auc"], summary.auc_interval)]
        rows.append(cells)
    return Grid(header, rows)


def _clearly_best(results: Results, protocol: str, model: str) -> bool:
    rivals = [each for each in results.comparisons if (each.protocol, each.model) == (protocol, model)]
    return bool(rivals) and all(each.clear and each.difference < 0 for each in rivals)


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


def oracle_table(results: Results, models: Models, further: Iterable[ExtraTable] = ()) -> Grid:
    """HTER beside what a choice on the target would have claimed, with the columns that further tables bring."""
    bridges = [each.bridge for each in further if each.bridge]
    columns = {"hter_validation": "HTER, threshold from validation"}
    for name, source in (("hter_cross_source", "leave-one-source-out"), ("hter_shifted", "shifted validation")):
        if any(not np.isnan(each.values[name]) for each in results.figures):
            columns[name] = f"HTER, threshold from {source}"
    honest = len(columns)
    columns |= {
        "oracle_eer": "oracle EER (on the target)",
        "gap": "gap",
        "oracle_min_hter": "oracle lowest HTER",
        "validation_eer": "validation EER",
    }
    wide = any(not np.isnan(each.values["threshold_gap"]) for each in results.figures)
    rows = []
    for summary in summaries(results):
        cells = [_percent(summary.mean[name], summary.std[name]) for name in columns]
        if wide:
            width = [each.values["threshold_gap"] for each in _runs(results, summary)]
            cells.append("—" if np.isnan(width).all() else f"{np.nanmean(width):.1f}")
        rows.append([protocol_name(summary.protocol), models.row_name(summary.model), *cells])
    header = [*columns.values(), *(["threshold in a gap of logits"] if wide else [])]
    # Each step beside the one that claims less: what the oracle chose stands behind the oracle's threshold.
    for bridge in bridges:
        place = honest + bridge.on_target
        header.insert(place, bridge.title)
        for row, summary in zip(rows, summaries(results), strict=True):
            row.insert(2 + place, bridge.cells.get(summary.protocol, {}).get(summary.model, "—"))
        honest += not bridge.on_target
    return Grid(["protocol", "model", *header], rows)


def promise_table(results: Results, models: Models) -> Grid | None:
    """Promised and reached APCER by species, where the rule promises one; None where it does not.

    A species with fewer attacks than 3 / rate cannot show that the promise is kept (rule of three), and has no figure.
    """
    rule = Rule.parse(results.threshold_rule)
    if rule.name != "apcer":
        return None
    (rate,) = rule.numbers
    species = sorted({name for each in results.figures for name in each.apcer_by_species})
    rows = []
    for summary in summaries(results):
        runs = _runs(results, summary)
        cells = []
        for name in species:
            reached = [run.apcer_by_species[name] for run in runs if name in run.apcer_by_species]
            few = any(run.species_counts.get(name, 0) < 3 / rate for run in runs)
            cells.append("n/a" if few or not reached else _percent(float(np.mean(reached))))
        bpcer = _percent(summary.mean["bpcer"], summary.std["bpcer"])
        rows.append([protocol_name(summary.protocol), models.name(summary.model), _percent(rate), *cells, bpcer])
    return Grid(["protocol", "model", "promised APCER", *(f"reached, {name}" for name in species), "BPCER"], rows)


def _runs(results: Results, summary: Summary) -> list[Figures]:
    return [each for each in results.figures if (each.protocol, each.model) == (summary.protocol, summary.model)]


def rates_table(results: Results, models: Models) -> Grid:
    """APCER by species, BPCER, and the rates at fixed APCER."""
    species = sorted({name for each in results.figures for name in each.apcer_by_species})
    names = ("apcer", "bpcer", "acer", "far")
    oracles = ("oracle_bpcer10", "oracle_bpcer20", "oracle_bpcer100", "oracle_tpr_at_fpr1")
    header = ["protocol", "model", "APCER (max)", "BPCER", "ACER", "FAR", *(f"APCER {name}" for name in species)]
    header += ["oracle BPCER10", "oracle BPCER20", "oracle BPCER100", "oracle TPR at FPR 1 %"]
    rows = []
    for summary in summaries(results):
        runs = _runs(results, summary)
        by_species = [float(np.mean([run.apcer_by_species.get(name, np.nan) for run in runs])) for name in species]
        # A target need not have every species; that is no undefined figure.
        shown = ["—" if np.isnan(value) else _percent(value) for value in by_species]
        cells = [_percent(summary.mean[name]) for name in names]
        cells += shown + [_percent(summary.mean[name]) for name in oracles]
        rows.append([protocol_name(summary.protocol), models.name(summary.model), *cells])
    return Grid(header, rows)


def uncertainty_table(results: Results, models: Models) -> Grid:
    """HTER with the interval of its test subjects beside the one of all that was drawn."""
    rows = []
    for summary in summaries(results):
        bounds = [str(each).strip() or "n/a" for each in (summary.hter_interval, summary.full_hter_interval)]
        error = _percent(summary.mean["hter"], summary.std["hter"])
        rows.append([protocol_name(summary.protocol), models.name(summary.model), error, *bounds])
    return Grid(["protocol", "model", "HTER %", "target's subjects redrawn", "full interval"], rows)


def comparison_table(results: Results, models: Models, full: bool = False) -> Grid:
    """Differences in HTER to the best model of each protocol; with `full`, under their full intervals."""
    protocols = ordered_protocols(results)
    best = {protocol: found[0] for protocol in protocols if (found := _lowest(results, protocol))}
    known = {(each.protocol, each.model, each.other): each for each in results.comparisons}
    rows = []
    for model in results.models:
        cells = [models.name(model)]
        for protocol in protocols:
            pair = known.get((protocol, model, best.get(protocol, "")))
            if best.get(protocol) == model:
                cells.append("best")
            elif pair is None or np.isnan(pair.difference):
                cells.append(UNDEFINED)
            elif full:
                cells.append(f"{100 * pair.difference:+.2f}{pair.full_interval.format('+.1f') or ' n/a'}")
            else:
                p = "" if np.isnan(pair.p_holm) else f", p {pair.p_holm:.2g}"
                cells.append(f"{100 * pair.difference:+.2f}{pair.interval.format('+.1f')}{p}")
        rows.append(cells if full else [*cells, f"{_wins(results, model)} of {targets_in_words(protocols)}"])
    return Grid(["model", *map(protocol_name, protocols), *([] if full else ["wins"])], rows)


def _lowest(results: Results, protocol: str) -> list[str]:
    """The models with the lowest HTER under a protocol."""
    # Equal shares have means that may differ in their last bits.
    found = {s.model: round(s.mean["hter"], 12) for s in summaries(results) if s.protocol == protocol}
    found = {model: value for model, value in found.items() if not np.isnan(value)}
    return [model for model, value in found.items() if value == min(found.values())]


def _wins(results: Results, model: str) -> int:
    """Protocols under which a model alone has the lowest HTER."""
    return sum(_lowest(results, protocol) == [model] for protocol in results.protocols)


def non_responses(results: Results, models: Models, scores: ScoreTable) -> tuple[list[str], Grid]:
    """Why scores are missing, and the rates with and without them."""
    names = ("apnrr", "bpnrr", "hter", "hter_rejecting", "apcer_rejecting", "bpcer_rejecting", "auc_rejecting")
    header = ["protocol", "model", "APNRR", "BPNRR", "HTER", "HTER, rejecting", "APCER, rejecting"]
    header += ["BPCER, rejecting", "AUC, rejecting"]
    rows = [
        [protocol_name(s.protocol), models.name(s.model), *(_percent(s.mean[name]) for name in names)]
        for s in summaries(results)
    ]
    counts = Counter(why for why, *_ in _unanswered(scores))
    return [f"{videos(count)}: {why}" for why, count in sorted(counts.items())], Grid(header, rows)


def silent_videos(scores: ScoreTable) -> int:
    """How many videos lack a score by some model; a video counts once, however many models, seeds and protocols."""
    return len({(dataset, video) for _, dataset, video in _unanswered(scores)})


def _unanswered(scores: ScoreTable) -> set[tuple[str, str, str]]:
    """(Reason, dataset, video) of what has no score."""
    rows = scores.rows(~scores.answered)
    return set(zip(rows.reason.tolist(), rows.dataset.tolist(), rows.video.tolist(), strict=True))


def videos(count: int) -> str:
    """`1 video`, `2 videos`."""
    return f"{count} video{'' if count == 1 else 's'}"


def figure_notes(figures: Iterable[Figures], models: Models) -> list[str]:
    """What has to be known of single figures."""
    return [
        f"{protocol_name(each.protocol)}, {models.name(each.model)}, seed {each.seed}: {note}."
        for each in figures
        for note in each.notes
    ]


def methods_table(models: Models) -> Grid:
    """What every model is and reads, with its settings; of a run's methods."""
    rows = []
    for model, about in models.methods.items():
        read = "; ".join(f"{kind} of {name}" for kind, name in models.reads.get(model, ()))
        settings = ", ".join(
            f"{key} {_setting(value)}" for key, value in about.items() if key not in ("kind", "version")
        )
        rows.append([models.name(model), model, str(about.get("kind", "")), read, settings])
    return Grid(["model", "method", "kind", "reads", "settings"], rows)


def _setting(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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


def failures(provenance: Mapping[str, Any]) -> list[str]:
    """Dataset, name and reason of every video that could not be read."""
    return [
        f"{each['dataset']}: "
        + (f"{one.get('video', '?')}: {one.get('reason', '?')}" if isinstance(one, Mapping) else one)
        for each in provenance["datasets"]
        for one in each.get("failures") or ()
    ]


def _percent(mean: float, std: float = np.nan) -> str:
    if np.isnan(mean):
        return UNDEFINED
    spread = "" if np.isnan(std) else f" ± {100 * std:.2f}"
    # The first rounding drops what binary fractions add to a tie; adding 0 makes a negative zero positive.
    return f"{round(round(100 * mean, 9), 2) + 0:.2f}{spread}"


def with_interval(mean: float, std: float, interval: Interval) -> str:
    """A share as per cent, with its spread over seeds and its interval where there are any."""
    return _percent(mean, std) + ("" if np.isnan(mean) else str(interval))
