"""What three answers lose on the targets: coverage, and what uncertain clips cost, by kind and size of the shift.

Bands and thresholds come from the sources' validation videos. On the sources each clip is judged by a band that other
subjects set, so that it shows what the band promises; on the targets it shows what is left of the promise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fas_jax.evaluation.conformal import ALPHA, CLASSES, Coverage, bands, coverage, held_out_coverage, needed_clips
from fas_jax.evaluation.intervals import CONFIDENCE
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import choose_for, source_rows
from fas_jax.protocols.presets import SYNTHETIC
from fas_jax.reporting import charts
from fas_jax.reporting.answers import covered
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.figures import as_image
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.page import legend
from fas_jax.reporting.palette import style
from fas_jax.studies.domain_shift.rules import means_by_size
from fas_jax.synthetic.shifts import KINDS, RandomDomain

_TEXT = (
    "Three answers by conformal prediction at an error rate of {rate:g} %: the share of clips whose set holds their "
    "class should be at least {kept:g} % for either class. Sources: validation videos, each judged by a band that "
    f"other subjects set, with the exact {100 * CONFIDENCE:g} % binomial interval of one seed's number of videos, "
    "which takes them as independent. Targets: means over targets and seeds. Accepted attacks: with two answers, at "
    "today's threshold, and with three. Figures in %. n/a: fewer than {needed} source videos of the class in a band."
)


@dataclass(frozen=True)
class Loss:
    """One model on one target with one seed."""

    covered: Mapping[str, float]
    """By class, share of clips whose set holds it."""
    uncertain: float
    """Share of all clips."""
    accepted: tuple[float, float]
    """Share of attacks that are accepted: with two answers, with three."""


def coverage_table(scores: ScoreTable, domains: Sequence[RandomDomain], alpha: float = ALPHA) -> ExtraTable:
    """Coverage on the sources and on the targets: over all, by kind of shift, and by thirds of the size of the shift.

    Args:
        scores: Of `rendered.score_targets`.
        domains: The targets.
        alpha: The error rate.
    """
    kinds = [kind for kind in KINDS if any(each.kind == kind for each in domains)]
    sizes = np.array([each.size for each in domains])
    edges = np.quantile(sizes, (1 / 3, 2 / 3))
    third = np.digitize(sizes, edges)
    groups = [np.ones(len(domains), bool), *(np.array([each.kind == kind for each in domains]) for kind in kinds)]
    groups += [third == number for number in range(3)]
    rows = []
    for model in scores.distinct("model"):
        sources, losses = _of_model(scores.select(model=model), domains, alpha)
        measures: dict[str, tuple[str, Callable[[Loss], float]]] = {
            f"coverage, {name}": (covered([each[name] for each in sources]), partial(_kept, name))
            for name in CLASSES.values()
        }
        measures["uncertain"] = "", lambda loss: loss.uncertain
        measures["accepted attacks, two answers"] = "", lambda loss: loss.accepted[0]
        measures["accepted attacks, three answers"] = "", lambda loss: loss.accepted[1]
        for name, (on_sources, value) in measures.items():
            by_domain = np.array([np.mean([value(loss) for loss in own]) for own in losses])
            cells = [f"{100 * by_domain[group].mean():.1f}" if group.any() else "n/a" for group in groups]
            rows.append([model, name, on_sources, *cells])
    header = ["model", "figure", "sources, held-out subjects", "all targets"]
    header += [f"{kind} shifted" if kind != "all" else "all shifted" for kind in kinds]
    header += [f"size up to {edges[0]:.2g}", f"to {edges[1]:.2g}", "above"]
    text = _TEXT.format(rate=100 * alpha, kept=100 * (1 - alpha), needed=needed_clips(alpha))
    shortages = {band.shortage for band in bands(scores, alpha).values() if band.shortage}
    text += "".join(f" {note[0].upper()}{note[1:]}." for note in sorted(shortages))
    return ExtraTable("Three answers under shift", text, Grid(header, rows))


def _kept(name: str, loss: Loss) -> float:
    return loss.covered[name]


def _of_model(
    scores: ScoreTable, domains: Sequence[RandomDomain], alpha: float
) -> tuple[list[dict[str, Coverage]], list[list[Loss]]]:
    """By seed, the coverage of source clips; and by target, what is lost with each seed."""
    sources, losses = [], [list[Loss]() for _ in domains]
    for (_, seed, _), band in bands(scores, alpha).items():
        own = scores.select(seed=seed)
        held = source_rows(own, VALIDATION)
        sources.append(held_out_coverage(held, alpha))
        tau = choose_for("pooled", held).value
        tested = own.select(role=TEST)
        tested = tested.rows(tested.answered)
        for place, domain in enumerate(domains):
            rows = tested.select(dataset=f"{SYNTHETIC}{domain.name}")
            attacks = rows.label == 0
            accepted, rejected = band.accepts(rows.score, tau), band.rejects(rows.score)
            losses[place].append(
                Loss(
                    {name: each.share for name, each in coverage(band, rows.score, rows.label).items()},
                    float(np.mean(~(accepted | rejected))),
                    (float(np.mean(rows.score[attacks] >= tau)), float(np.mean(accepted[attacks]))),
                )
            )
    return sources, losses


def coverage_figure(scores: ScoreTable, domains: Sequence[RandomDomain], model: str, alpha: float = ALPHA) -> str:
    """Coverage on the targets and the share of uncertain clips against the size of the shift, as HTML.

    Args:
        scores: Of `rendered.score_targets`.
        domains: The targets.
        model: Whose scores count.
        alpha: The error rate; what it promises is a dashed line.
    """
    _, losses = _of_model(scores.select(model=model), domains, alpha)
    sizes = [each.size for each in domains]
    measures: dict[str, Callable[[Loss], float]] = {
        f"coverage, {name}": partial(_kept, name) for name in CLASSES.values()
    }
    measures["uncertain"] = lambda loss: loss.uncertain
    promised = "promised coverage"
    names, lines = [*measures, promised], list[charts.Line]()
    for name, value in measures.items():
        colour, dashed = style(name, names)
        x, y = means_by_size(sizes, [100 * float(np.mean([value(loss) for loss in own])) for own in losses])
        lines.append(charts.Line(name, colour, x, y, dashed, marks=True))
    lines.append(charts.Line(promised, "#888888", [0.0, max(sizes)], [100 * (1 - alpha)] * 2, dashed=True))
    shown = legend([(line.label, line.colour, line.dashed) for line in lines])
    drawn = charts.lines("size of the shift (units)", "share of clips (%)", lines)
    return shown + as_image(drawn, f"Coverage of three answers against the size of the shift, {model}")
