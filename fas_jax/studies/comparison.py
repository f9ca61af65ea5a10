"""Two runs, or two tables of scores, beside each other: paired over the subjects of the test videos. Imports no JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json, write_text
from fas_jax.base.outputs import output_folder
from fas_jax.base.text_column import TextColumn
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.results import Comparison, Summary
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.evaluation.significance import LEVEL, holm
from fas_jax.reporting import grid
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import Grid, Strong
from fas_jax.reporting.markdown_report import section
from fas_jax.reporting.naming import dataset_name, protocol_name
from fas_jax.reporting.page import simple_page
from fas_jax.reporting.tables import with_interval

EXPLANATION = (
    "Differences are first minus second, in points of HTER; below zero the first errs less. Their 95 % intervals are "
    "paired: each resample draws subjects of the target, with all of their videos, for both sides. Those of the last "
    "column also redraw the subjects of each side's sources, hence the thresholds, and the seeds. p: sign-flip test "
    "over subjects, corrected after Holm for the differences of this table. Bold: the interval excludes zero, and p < "
    f"{LEVEL:g}. Subjects of these targets say nothing of other domains: for those the target is the unit."
)

SHORT_EXPLANATION = (
    "Differences in points of HTER, with 95 % intervals paired over the subjects of the target; below zero the first "
    "run errs less. p: sign-flip test over subjects, corrected after Holm for the differences of this table. Bold: the "
    f"interval excludes zero, and p < {LEVEL:g}."
)


@dataclass(frozen=True)
class Side:
    """A run, or a table of scores, that is compared with another."""

    name: str
    """For people; the other side has another."""
    scores: ScoreTable
    provenance: Mapping[str, Any]
    """As the run's report wrote it; empty for a table of scores."""


@dataclass(frozen=True)
class Pair:
    """A model of each side under one protocol."""

    protocol: str
    models: tuple[str, str]
    sides: tuple[Summary, Summary]
    comparison: Comparison
    """First minus second."""


def read_sides(one: Path, other: Path) -> tuple[Side, Side]:
    """The scores and the provenance of two runs' folders or CSV files of scores.

    Raises:
        UserError: A path holds no scores, or both are the same.
    """
    first, second = read_all([one, other])
    return first, second


def read_all(paths: Sequence[Path]) -> list[Side]:
    """As `read_sides`, for two or more."""
    resolved = [Path(path).resolve() for path in paths]
    for number, path in enumerate(resolved):
        if path in resolved[:number]:
            same = paths[resolved.index(path)]
            raise UserError(f"{same} and {paths[number]} are the same; give different runs or tables of scores")
    ways = (lambda path: path.name, lambda path: f"{path.parent.name}/{path.name}", str)
    names = next(found for way in ways if len(set(found := [way(path) for path in resolved])) == len(found))
    return [_read(Path(path), name) for path, name in zip(paths, names, strict=True)]


def beside(sides: Sequence[Side], threshold: str = "pooled") -> str:
    """Markdown of several runs beside each other: settings that differ, and paired differences from the first.

    Args:
        sides: At least two.
        threshold: Rule by which each side's validation videos set its thresholds.

    Raises:
        UserError: No side can be compared with the first; or as `evaluate`.
    """
    first, *others = sides
    found: list[tuple[Side, list[Pair]]] = []
    problems = []
    for other in others:
        try:
            found.append((other, compare(first, other, threshold)))
        except UserError as error:
            problems.append(str(error))
    if not found:
        raise UserError("; ".join(problems))
    # The page holds all these differences.
    corrected = iter(holm(np.array([pair.comparison.p for _, pairs in found for pair in pairs])).tolist())
    rows: list[list[str]] = []
    for other, pairs in found:
        own = [replace(each, comparison=replace(each.comparison, p_holm=next(corrected))) for each in pairs]
        rows += [[other.name, *row[:6]] for row in _table(first, other, own).rows]
    header = ["run", "protocol", "model", f"HTER, {first.name}", "HTER, run", f"{first.name} minus run", "p"]
    settings = differing_settings(*sides)
    parts = [
        f"# {grid.plain(', '.join(each.name for each in others))} beside {grid.plain(first.name)}",
        grid.quoted(dict.fromkeys(caveat for other in others for caveat in caveats_of(first, other))),
        grid.quoted(f"Not compared: {each}." for each in problems),
        grid.markdown(Grid(header, rows)),
        SHORT_EXPLANATION,
        *(["## What differs", grid.markdown(settings)] if settings.rows else []),
    ]
    return "\n\n".join(filter(None, parts))


def compare(one: Side, other: Side, threshold: str = "pooled") -> list[Pair]:
    """Every model of one side beside the model of the other that has its name, under every protocol of both.

    Where each side has one model, they are compared whatever their names.

    Args:
        one: First side.
        other: Second side.
        threshold: Rule by which each side's validation videos set its thresholds.

    Raises:
        UserError: The sides share no protocol or no model, or were tested on different videos.
    """
    protocols = [name for name in one.scores.distinct("protocol") if name in other.scores.distinct("protocol")]
    if not protocols:
        raise UserError(f"{one.name} and {other.name} share no protocol: {_both(one, other, 'protocol')}")
    named = _paired_models(one, other)
    tables = []
    for number, side in enumerate((one, other)):
        kept = [pair[number] for pair in named]
        rows = side.scores.rows(side.scores.protocol.isin(tuple(protocols)) & side.scores.model.isin(tuple(kept)))
        tables.append(_marked(rows, number))
    results = evaluate(ScoreTable.concatenate(tables), threshold, same_validation=False)
    summaries = {(each.protocol, each.model): each for each in results.summaries}
    comparisons = {(each.protocol, each.model, each.other): each for each in results.comparisons}
    found = []
    for protocol in results.protocols:
        for models in named:
            first, second = (_mark(model, number) for number, model in enumerate(models))
            # A model need not have been scored under every protocol.
            if comparison := comparisons.get((protocol, first, second)):
                sides = summaries[protocol, first], summaries[protocol, second]
                found.append(Pair(protocol, models, sides, comparison))
    # The table holds these differences only, and not those between the models of one side.
    corrected = holm(np.array([pair.comparison.p for pair in found])).tolist()
    return [
        replace(pair, comparison=replace(pair.comparison, p_holm=p)) for pair, p in zip(found, corrected, strict=True)
    ]


def differing_settings(*sides: Side) -> Grid:
    """The settings, prepared data and versions in which runs differ; empty where a side is a table of scores."""
    found = [_facts(side.provenance) for side in sides] if all(side.provenance for side in sides) else []
    rows = [
        [name, *(each.get(name, "—") for each in found)]
        for name in sorted({name for each in found for name in each})
        if len({each.get(name) for each in found}) > 1
    ]
    return Grid(["setting", *(side.name for side in sides)], rows)


def write_comparison(folder: Path, one: Side, other: Side, pairs: Sequence[Pair], caveats: Sequence[str]) -> str:
    """Writes `comparison.html`, `comparison.md` and `comparison.csv`; gives the Markdown.

    Args:
        folder: Made if needed; an earlier comparison there is replaced, and nothing else.
        one: First side.
        other: Second side.
        pairs: Of `compare`.
        caveats: For the top of the page.
    """
    said = _statements(pairs)
    shown = [ExtraTable("HTER and AUC in per cent", EXPLANATION, _table(one, other, pairs))]
    settings = differing_settings(one, other)
    if settings.rows:
        shown.append(ExtraTable("What differs", "Settings, prepared data and versions of the two runs.", settings))
    title = f"{one.name} beside {other.name}"
    text = "\n\n".join(
        part
        for part in (
            f"# {grid.plain(title)}",
            grid.quoted(caveats),
            grid.bullets(said),
            *(line for each in shown for line in section(each)),
        )
        if part
    )
    with output_folder(folder) as place:
        write_text(place / "comparison.html", simple_page(title, said, shown, caveats=caveats))
        write_text(place / "comparison.csv", grid.to_csv(_figures(one, other, pairs)))
        write_text(place / "comparison.md", text + "\n")
    return text


def caveats_of(one: Side, other: Side) -> list[str]:
    """What a reader must know: rendered data, and what only one of the sides has."""
    found = []
    for column in ("protocol", "model"):
        for side, against in ((one, other), (other, one)):
            lone = [name for name in side.scores.distinct(column) if name not in against.scores.distinct(column)]
            if lone and not (column == "model" and _one_each(one, other)):
                found.append(f"Only {side.name} has {column} {', '.join(map(str, lone))}: not compared.")
    for side in (one, other):
        rendered = [
            dataset_name(each["dataset"]) for each in side.provenance.get("datasets", ()) if each.get("synthetic")
        ]
        if rendered:
            found.append(f"{side.name}: {', '.join(rendered)} are rendered, and say nothing about real faces.")
    presets = {side.provenance.get("preset") for side in (one, other) if side.provenance}
    if len(presets) > 1:
        found.append(f"The runs follow different presets: {', '.join(sorted(map(str, presets)))}.")
    return found


def _read(path: Path, name: str) -> Side:
    if not path.is_dir():
        return Side(name, ScoreTable.read_csv(path), {})
    if not (path / "scores.csv").exists():
        raise UserError(f"{path} holds no scores.csv; run fas-jax evaluate {path} first")
    provenance = path / "provenance.json"
    return Side(name, ScoreTable.read_csv(path / "scores.csv"), read_json(provenance) if provenance.exists() else {})


def _paired_models(one: Side, other: Side) -> list[tuple[str, str]]:
    first, second = one.scores.distinct("model"), other.scores.distinct("model")
    shared = [(name, name) for name in first if name in second]
    if shared:
        return shared
    if _one_each(one, other):
        return [(first[0], second[0])]
    raise UserError(f"{one.name} and {other.name} share no model: {_both(one, other, 'model')}")


def _one_each(one: Side, other: Side) -> bool:
    return len(one.scores.distinct("model")) == len(other.scores.distinct("model")) == 1


def _both(one: Side, other: Side, column: str) -> str:
    return "; ".join(f"{side.name} has {', '.join(side.scores.distinct(column))}" for side in (one, other))


def _marked(rows: ScoreTable, number: int) -> ScoreTable:
    """The same rows under names of models that no other side has."""
    return replace(rows, model=TextColumn.of([_mark(name, number) for name in rows.model.tolist()]))


def _mark(model: str, number: int) -> str:
    return f"{model} @ {number}"


def _statements(pairs: Sequence[Pair]) -> list[str]:
    """By pair of models, over how many targets each is ahead."""
    found = []
    for models in dict.fromkeys(pair.models for pair in pairs):
        own = [pair.comparison for pair in pairs if pair.models == models]
        own = [each for each in own if not np.isnan(each.difference)]
        if not own:
            found.append(f"{' beside '.join(models)}: HTER is undefined on a side.")
            continue
        ahead = [sum(each.difference < 0 for each in own), sum(each.difference > 0 for each in own)]
        clear = [sum(each.clear and each.difference < 0 for each in own)]
        clear.append(sum(each.clear and each.difference > 0 for each in own))
        name = models[0] if models[0] == models[1] else " beside ".join(models)
        found.append(
            f"{name}: the first errs less in {ahead[0]} of {len(own)} protocols ({clear[0]} of them clearly), "
            f"the second in {ahead[1]} ({clear[1]})."
        )
    return found


def _table(one: Side, other: Side, pairs: Sequence[Pair]) -> Grid:
    header = ["protocol", "model", f"HTER, {one.name}", f"HTER, {other.name}", "difference", "p"]
    header += [f"AUC, {one.name}", f"AUC, {other.name}", "difference, full interval"]
    rows = []
    for pair in pairs:
        each = pair.comparison
        if np.isnan(each.difference):
            difference, p, full = grid.UNDEFINED, grid.UNDEFINED, grid.UNDEFINED
        else:
            difference = f"{100 * each.difference:+.2f}{each.interval.format('+.1f')}"
            p = "n/a" if np.isnan(each.p_holm) else f"{each.p_holm:.2g}"
            full = f"{100 * each.difference:+.2f}{each.full_interval.format('+.1f') or ' n/a'}"
        errors, areas = (
            [with_interval(side.mean[name], side.std[name], getattr(side, f"{name}_interval")) for side in pair.sides]
            for name in ("hter", "auc")
        )
        model = pair.models[0] if pair.models[0] == pair.models[1] else " / ".join(pair.models)
        shown = Strong(difference) if each.clear else difference
        rows.append([protocol_name(pair.protocol), model, *errors, shown, p, *areas, full])
    return Grid(header, rows)


def _figures(one: Side, other: Side, pairs: Sequence[Pair]) -> Grid:
    """All digits, for programs."""
    header = ["protocol", "first", "first_model", "second", "second_model", "first_hter", "second_hter"]
    header += ["difference", "low", "high", "first_auc", "second_auc", "full_low", "full_high", "p", "p_holm"]
    rows = []
    for pair in pairs:
        each = pair.comparison
        numbers = [*(side.mean["hter"] for side in pair.sides), each.difference, each.interval.low, each.interval.high]
        numbers += [side.mean["auc"] for side in pair.sides]
        numbers += [each.full_interval.low, each.full_interval.high, each.p, each.p_holm]
        names = [pair.protocol, one.name, pair.models[0], other.name, pair.models[1]]
        rows.append([*names, *("" if np.isnan(number) else repr(float(number)) for number in numbers)])
    return Grid(header, rows)


def _facts(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Settings and origins of a run as one flat dictionary."""
    found = dict(_flat(provenance.get("experiment", {})))
    for each in provenance.get("datasets", ()):
        found[f"prepared data of {each.get('dataset')}"] = str(each.get("prepared", ""))
    for name in ("weights", "weights_sha256"):
        found[name] = str(provenance.get(name, ""))
    found |= {f"version of {name}": str(value) for name, value in (provenance.get("versions") or {}).items()}
    return found


def _flat(tree: Any, name: str = "") -> list[tuple[str, str]]:
    if not isinstance(tree, Mapping):
        return [(name, str(tree))]
    return [each for key, value in tree.items() for each in _flat(value, f"{name}.{key}" if name else str(key))]
