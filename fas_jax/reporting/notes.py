"""What a reader must know of a table: warnings at its top, notes below it. Imports no JAX."""

from collections.abc import Mapping, Sequence
from typing import Any

from fas_jax.evaluation.intervals import CONFIDENCE, RESAMPLES
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.evaluation.significance import LEVEL, smallest_p
from fas_jax.evaluation.thresholds import Rule
from fas_jax.protocols.presets import PRESETS
from fas_jax.reporting.domains import domains_note
from fas_jax.reporting.materials import materials_in
from fas_jax.reporting.naming import Models, dataset_name, model_name, protocol_name
from fas_jax.reporting.published import CITATION, PublishedRow
from fas_jax.reporting.tables import silent_videos, videos

NO_ESTIMATE = (
    "There is no estimate of the error on an unknown dataset: no protocol of this run leaves one of these datasets out "
    "and tests on it. For an estimate, run `--evaluation.protocols deploy leave-one-out` under another `--name`."
)
_CONFIDENCE = f"{100 * CONFIDENCE:g} %"


def warnings(results: Results, models: Models, scores: ScoreTable, provenance: Mapping[str, Any]) -> list[str]:
    """What a reader must know before any figure."""
    found = []
    preset = PRESETS.get(provenance["preset"])
    if preset and preset.on_target:
        found.append(
            f"Preset {preset.name}: models and thresholds are chosen on the target's own test videos, as in the "
            "published work. The figures are optimistic; they are no estimate for an unknown target."
        )
    if models.on_target:
        found.append(
            f"The epochs of {', '.join(map(models.name, models.on_target))} were chosen on the target's own test "
            "videos (evaluation.selection = oracle). Their figures are optimistic; they are no estimate for an unknown "
            "target."
        )
    if preset and preset.caveats:
        found.append(f"Preset {preset.name} is not the published protocol in full: {'; '.join(preset.caveats)}.")
    found += materials_in(provenance, models, results.protocols).caveats()
    if joined := provenance.get("rendered"):
        found.append(_joined(joined, models))
    for each in provenance["datasets"]:
        if failed := len(each.get("failures") or ()):
            found.append(f"{videos(failed)} of {each['dataset']} could not be read; see the list of failures.")
    if silent := silent_videos(scores.select(role=TEST)):
        found.append(
            f"{silent} test video{' has' if silent == 1 else 's have'} no score by one model or several "
            "(non-responses). HTER and AUC are of the videos with a score; see the rates with non-responses counted as "
            "rejections."
        )
    turned = [each for each in results.summaries if each.auc_interval.high < 0.5]
    if turned:
        names = ", ".join(f"{models.name(each.model)} ({protocol_name(each.protocol)})" for each in turned)
        found.append(
            f"AUC below 0.5, and not by chance: {names}. If a higher score means attack there, negate the scores and "
            "evaluate again; nothing is flipped here."
        )
    return found + [text[0].upper() + text[1:] + "." for text in results.warnings]


def notes(
    results: Results,
    models: Models,
    provenance: Mapping[str, Any],
    published: Sequence[PublishedRow],
    refusal: str,
) -> list[str]:
    """What the main table needs to be understood."""
    rule = Rule.parse(results.threshold_rule).describe(results.set_by)
    preset = PRESETS.get(provenance["preset"])
    bold = (
        "In bold: HTER lower than that of every other model of the run by a paired interval that excludes 0, and with "
        f"p < {LEVEL:g} by a sign-flip test over subjects, corrected after Holm for all differences of the table."
        f"{_too_few_for_bold(results)}"
    )
    if models.on_target:
        bold = "Nothing is in bold, because epochs were chosen on the target."
    found = [
        f"Preset `{provenance['preset']}`. " + (preset.summary if preset else "Its splits are not known here."),
        f"Unit: the video. {_fusion(models)}HTER = (FAR + FRR) / 2; AUC needs no threshold.",
        "Threshold: equal error rate on the target's own test videos, as the preset says."
        if preset and preset.on_target
        else f"Threshold: {rule}. The target takes no part in it.",
        f"In brackets: {_CONFIDENCE} interval by bootstrap over the target's subjects ({RESAMPLES} resamples; "
        "threshold, model and seeds are not resampled); exact bounds over subjects where there are no errors. The full "
        "intervals below redraw the sources' subjects, hence the threshold, and the seeds as well.",
        bold + (" Published rows are not compared." if published else ""),
        domains_note(results),
    ]
    if (by := _validation_by(provenance)) != "subject":
        found.append(
            f"Training and validation share neither a subject nor, within a dataset, a {by}; videos of one side's "
            f"subject with the other side's {by} take no part."
        )
    seeds = ", ".join(map(str, results.seeds))
    if len(results.seeds) > 1:
        found.append(f"Mean ± sample standard deviation over the seeds {seeds}.")
    else:
        found.append(f"One seed ({seeds}): nothing is said of how much training and the validation cut vary.")
    if read := _readers(models):
        found.append(f"Renditions: {read}.")
    if "weights" in provenance:
        found.append(f"Backbone: {provenance.get('backbone', 'not told')}; weights: {provenance['weights']}.")
    found += [_read_before(each) for each in provenance.get("read_before", ())]
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


def _joined(joined: Mapping[str, Any], models: Models) -> str:
    """Which rendered videos were in whose training."""
    clips = ", ".join(f"{name}: {videos(count)}" for name, count in joined["clips"].items())
    trained = [
        f"{model_name(model, models.methods)} ({part:.0%} of its clips)"
        for model in models.order
        if (part := joined["share"].get(model, 0.0))
    ]
    others = "" if len(trained) == len(models.order) else " The other models were trained without them."
    return (
        f"Rendered videos ({clips}) were in the training of {', '.join(trained) or 'no model'}.{others} Nothing was "
        "validated or tested on them."
    )


def _too_few_for_bold(results: Results) -> str:
    """That the test subjects are too few for any difference to be called one among so many; empty if they are not."""
    pairs = len(results.comparisons) // 2
    subjects = max((each.counts["test_subjects"] for each in results.figures), default=0)
    if not pairs or (least := pairs * smallest_p(subjects)) < LEVEL:
        return ""
    return (
        f" Nothing can be bold here: for {pairs} difference{'' if pairs == 1 else 's'} and {subjects} test subjects "
        f"the smallest corrected p is {min(1.0, least):.2g}."
    )


def _validation_by(provenance: Mapping[str, Any]) -> str:
    """What validation was cut by."""
    return str(provenance.get("experiment", {}).get("evaluation", {}).get("validation_by", "subject"))


def _read_before(each: Mapping[str, Any]) -> str:
    """How often runs on the same cache had read a target before."""
    name = dataset_name(each["target"])
    if not each["readings"]:
        return f"Target {name}: no run on this cache had read it before."
    times = "once" if each["readings"] == 1 else f"{each['readings']} times"
    kinds = "one setting" if each["settings"] == 1 else f"{each['settings']} different settings"
    return (
        f"Target {name}: runs on this cache had read it {times} before, with {kinds}. Whatever was changed after "
        "such a reading has been chosen on the target."
    )


def _fusion(models: Models) -> str:
    """How the frames' scores become a video's, where methods say so."""
    by_fusion: dict[str, list[str]] = {}
    for model, about in models.methods.items():
        if "fusion" in about:
            by_fusion.setdefault(str(about["fusion"]), []).append(models.name(model))
    return "".join(
        f"A video's score is the {fusion} of its frames' P(bona fide) ({', '.join(names)}). "
        for fusion, names in by_fusion.items()
    )


def _readers(models: Models) -> str:
    """Which models read which rendition."""
    found: dict[str, list[str]] = {}
    for model in models.order:
        for rendition in models.renditions(model):
            found.setdefault(rendition, []).append(models.name(model))
    return "; ".join(f"{rendition} is read by {', '.join(names)}" for rendition, names in found.items())
