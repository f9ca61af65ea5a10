"""Tables of where the errors are, and the long table of all figures for other programs."""

import numpy as np

from fas_jax.evaluation.breakdown import dimension_name
from fas_jax.evaluation.gaps import FEWEST_IN_GROUP
from fas_jax.evaluation.intervals import CONFIDENCE, Interval
from fas_jax.evaluation.results import DEFINITIONS, Results, WorstVideo
from fas_jax.reporting.grid import Grid, markdown, plain
from fas_jax.reporting.naming import Models, ordered_protocols, protocol_name, summaries
from fas_jax.reporting.tables import with_interval

EXPLANATION = (
    f"Rates at the threshold from validation, with {100 * CONFIDENCE:g} % intervals by bootstrap over the group's "
    "subjects (none where there is only one). Of the first model that reads other models' scores, or else of the one "
    "with the highest AUC; all models' groups are in `breakdown.csv`."
)

GAPS = (
    "The gap is the worst group's rate minus the best group's; its interval holds for all pairs of groups at once, so "
    f"that picking these two makes it no narrower. Groups with fewer than {FEWEST_IN_GROUP} subjects of a class, and "
    "videos whose attribute is not given, take no part."
)


def main_model(results: Results, models: Models, protocol: str) -> str | None:
    """The model that breakdowns are printed for: the first that reads others' scores, or else the best by mean AUC."""
    scored = [each for each in summaries(results) if each.protocol == protocol and not np.isnan(each.mean["auc"])]
    for stack in models.stacks:
        if any(each.model == stack for each in scored):
            return stack
    best = max(scored, key=lambda each: each.mean["auc"], default=None)
    return best.model if best else None


def dimensions(results: Results, protocol: str, model: str) -> list[str]:
    """By what a model's errors are broken down: the columns of videos, then the attributes."""
    found = (each.dimension for each in results.groups if (each.protocol, each.model) == (protocol, model))
    return list(dict.fromkeys(found))


def group_table(results: Results, protocol: str, model: str, dimension: str) -> Grid:
    """One model's error rates by the values of one dimension; — where a group has no such video."""
    rows = []
    for each in results.groups:
        if (each.protocol, each.model, each.dimension) == (protocol, model, dimension):
            far, frr = (
                f"n/a: {reason}" if reason else "—" if np.isnan(rate) else with_interval(rate, np.nan, interval)
                for rate, interval, reason in (
                    (each.far, each.far_interval, each.far_reason),
                    (each.frr, each.frr_interval, each.frr_reason),
                )
            )
            counts = (each.attacks, each.bona_fide, each.subjects, each.non_responses)
            rows.append([each.value or "(not given)", far, frr, *map(str, counts)])
    header = [dimension_name(dimension), "FAR %", "FRR %", "attacks", "bona fide", "subjects", "missing scores"]
    return Grid(header, rows)


def gap_table(results: Results, protocol: str, model: str) -> Grid:
    """The worst and the best group of every attribute, and how far they are apart."""
    rows = []
    for each in results.gaps:
        if (each.protocol, each.model) == (protocol, model):
            gap = f"n/a: {each.reason}" if each.reason else with_interval(each.difference, np.nan, each.interval)
            rows.append([dimension_name(each.dimension), each.rate.upper(), each.worst or "—", each.best or "—", gap])
    return Grid(["attribute", "rate", "worst group", "best group", "gap in points"], rows)


def worst_table(results: Results, protocol: str, model: str) -> Grid:
    """The videos that a model decides wrongly, by far."""
    rows = [
        [each.video, worst_class(each), f"{each.score:.4g}", f"{each.margin:+.4g}"]
        for each in results.worst
        if (each.protocol, each.model) == (protocol, model)
    ]
    return Grid(["worst-scored video", "class", "score", "score − threshold"], rows)


def worst_class(each: WorstVideo) -> str:
    """The class of a video, with the dataset's own PAI species where it is known."""
    return "bona fide" if each.label else each.about["pai_fine"] or each.about["pai"] or "attack"


def breakdown_part(results: Results, models: Models) -> str:
    """The groups of every protocol's main model, and its worst videos, as Markdown."""
    parts = []
    for protocol in ordered_protocols(results):
        model = main_model(results, models, protocol)
        if model is None or not any((g.protocol, g.model) == (protocol, model) for g in results.groups):
            continue
        parts.append(f"### {plain(f'{protocol_name(protocol)}: {models.name(model)}')}")
        grids = [group_table(results, protocol, model, each) for each in dimensions(results, protocol, model)]
        gaps = gap_table(results, protocol, model)
        parts += [markdown(grid) for grid in grids]
        parts += [plain(GAPS), markdown(gaps)] if gaps.rows else []
        worst = worst_table(results, protocol, model)
        parts += [markdown(worst)] if worst.rows else []
    return "\n\n".join(parts)


def all_groups(results: Results, models: Models) -> Grid:
    """Every group of every model, as shares of one, for other programs."""
    header = ["protocol", "model", "dimension", "value", "attacks", "bona_fide", "subjects", "non_responses"]
    header += ["far", "far_low", "far_high", "frr", "frr_low", "frr_high"]
    rows = []
    for g in results.groups:
        counts = (g.attacks, g.bona_fide, g.subjects, g.non_responses)
        rates = (g.far, g.far_interval.low, g.far_interval.high, g.frr, g.frr_interval.low, g.frr_interval.high)
        rows.append([g.protocol, g.model, g.dimension, g.value, *map(str, counts), *map(_number, rates)])
    return _with_share(Grid(header, rows), models)


def all_figures(results: Results, models: Models) -> Grid:
    """Every figure of every summary in a row of its own, as shares of one, for other programs."""
    rows = []
    for each in summaries(results):
        none = Interval(np.nan, np.nan)
        bounds = {"hter": (each.hter_interval, each.full_hter_interval), "auc": (each.auc_interval, none)}
        for name in DEFINITIONS:
            interval, full = bounds.get(name, (none, none))
            values = (each.mean[name], each.std[name], interval.low, interval.high)
            wide = (full.low, full.high)
            counted = str(len(each.seeds))
            rows.append([each.protocol, each.model, name, *map(_number, values), counted, *map(_number, wide)])
    header = ["protocol", "model", "figure", "mean", "std", "low", "high", "seeds", "full_low", "full_high"]
    return _with_share(Grid(header, rows), models)


def _with_share(grid: Grid, models: Models) -> Grid:
    """With the share of rendered clips in each model's training, where any model has some."""
    if not any(models.rendered.values()):
        return grid
    rows = [[*row, _number(models.rendered.get(str(row[1]), 0.0))] for row in grid.rows]
    return Grid([*grid.header, "rendered_share"], rows)


def _number(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))
