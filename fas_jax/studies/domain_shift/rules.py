"""What every threshold rule costs on the targets: HTER minus oracle by size of the shift, and who beats today's rule.

The domain is the unit: a target counts once, by the mean over seeds, and the sign test asks in how many targets a rule
errs less than today's. NumPy and SciPy only, on the table of scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import binom

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import Rule, choose_for, source_rows
from fas_jax.protocols.presets import SYNTHETIC
from fas_jax.reporting import charts
from fas_jax.reporting.figures import as_image
from fas_jax.reporting.grid import Grid, Strong
from fas_jax.reporting.page import legend
from fas_jax.reporting.palette import style
from fas_jax.synthetic.shifts import KINDS, RandomDomain

TODAY = "pooled"
RULES = (
    TODAY,
    "balanced",
    "fixed:0.5",
    "apcer:0.01",
    "apcer:0.05",
    "pooled@leave-one-source-out",
    "balanced@leave-one-source-out",
    "apcer:0.05@leave-one-source-out",
    "pooled@shifted-validation",
)
CHANCE = 0.01
"""How likely a fair coin may be to win as often as a new default has to: 22 of 30 domains."""
MOST_WORSE = 0.02
"""HTER by which a new default may be worse than today's in the mean over the domains of any kind."""
_TIE = 1e-9
_BINS = 4


@dataclass(frozen=True)
class StudyRule:
    """A threshold rule and the scores that it reads."""

    text: str
    rule: str
    """As `Rule.parse` reads it."""
    role: str
    """Role of the rows of the table of scores."""

    @classmethod
    def parse(cls, text: str, roles: Sequence[str]) -> "StudyRule":
        """Reads `RULE` or `RULE@ROLE`, such as `pooled@leave-one-source-out`; without a role validation sets it.

        Args:
            text: The rule.
            roles: Those of the table of scores.

        Raises:
            UserError: No such rule, or the table has no such rows.
        """
        rule, _, role = text.partition("@")
        Rule.parse(rule)
        known = [each for each in roles if each != TEST]
        if (role or VALIDATION) not in known:
            raise UserError(f"rule {text!r}: {unknown_name('role of source scores', role or VALIDATION, known)}")
        return cls(text, rule, role or VALIDATION)


@dataclass(frozen=True)
class Outcome:
    """One model on one target by one rule; means over seeds."""

    model: str
    rule: str
    domain: str
    kind: str
    size: float
    hter: float
    oracle: float
    """HTER at the equal error rate of the target's own scores."""
    auc: float

    @property
    def excess(self) -> float:
        """HTER minus oracle."""
        return self.hter - self.oracle


@dataclass(frozen=True)
class Verdict:
    """One rule beside today's, for one model."""

    model: str
    rule: str
    wins: int
    losses: int
    ties: int
    """Targets in which the rule errs less than today's, more, and as much."""
    needed: int
    """Wins that the sign test takes."""
    difference: float
    """Mean HTER minus that of today's rule."""
    worst: tuple[str, float]
    """The kind of targets in which that difference is largest."""
    p: float
    """One-sided p-value of the sign test without ties."""

    @property
    def passes(self) -> bool:
        """Whether the rule may become the default as far as this model goes."""
        return self.wins >= self.needed and max(self.difference, self.worst[1]) <= MOST_WORSE


def needed_wins(domains: int) -> int:
    """The fewest wins that a fair coin reaches in at most 1 % of cases; one more than `domains` where none are."""
    return next(wins for wins in range(domains + 2) if binom.sf(wins - 1, domains, 0.5) <= CHANCE)


def judge(scores: ScoreTable, domains: Sequence[RandomDomain], rules: Sequence[str]) -> list[Outcome]:
    """Every rule on every target, by model.

    Args:
        scores: Of `rendered.score_targets`, or read from its file.
        domains: The targets.
        rules: As `StudyRule.parse` reads them.

    Raises:
        UserError: A rule that does not exist or lacks its scores, or a target without scores of both classes.
    """
    parsed = [StudyRule.parse(text, scores.distinct("role")) for text in rules]
    found: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    for model in scores.distinct("model"):
        for seed in scores.select(model=model).distinct("seed"):
            own = scores.select(model=model, seed=seed)
            thresholds = {rule: choose_for(rule.rule, source_rows(own, rule.role)).value for rule in parsed}
            tested = own.select(role=TEST)
            tested = tested.rows(tested.answered)
            for domain in domains:
                rows = tested.select(dataset=f"{SYNTHETIC}{domain.name}")
                oracle = metrics.rates(rows.score, rows.label, metrics.eer_threshold(rows.score, rows.label)).hter
                area = metrics.auc(rows.score, rows.label)
                for rule, value in thresholds.items():
                    hter = metrics.rates(rows.score, rows.label, value).hter
                    found.setdefault((model, rule.text, domain.name), []).append((hter, oracle, area))
    known = {domain.name: domain for domain in domains}
    return [
        Outcome(model, rule, name, known[name].kind, known[name].size, *map(float, np.mean(values, axis=0)))
        for (model, rule, name), values in found.items()
    ]


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Every rule but today's, beside today's, by model."""
    found = []
    for model in dict.fromkeys(each.model for each in outcomes):
        today = _by_domain(outcomes, model, TODAY)
        for rule in dict.fromkeys(each.rule for each in outcomes if each.model == model and each.rule != TODAY):
            other = _by_domain(outcomes, model, rule)
            differences = np.array([other[name].hter - today[name].hter for name in today])
            kinds = np.array([each.kind for each in today.values()])
            by_kind = {kind: float(differences[kinds == kind].mean()) for kind in KINDS if kind in kinds}
            wins, losses = int(np.sum(differences < -_TIE)), int(np.sum(differences > _TIE))
            found.append(
                Verdict(
                    model,
                    rule,
                    wins,
                    losses,
                    len(differences) - wins - losses,
                    needed_wins(len(differences)),
                    float(differences.mean()),
                    max(by_kind.items(), key=lambda pair: pair[1]),
                    float(binom.sf(wins - 1, wins + losses, 0.5)),
                )
            )
    return found


def excess_table(outcomes: Sequence[Outcome]) -> Grid:
    """Mean HTER - oracle in %, by model and rule: over all targets, by kind, and by thirds of the size of the shift."""
    kinds = [kind for kind in KINDS if any(each.kind == kind for each in outcomes)]
    edges = np.quantile([each.size for each in outcomes], (1 / 3, 2 / 3))
    thirds = (f"size up to {edges[0]:.2g}", f"to {edges[1]:.2g}", "above")
    rows = []
    for model, rule in dict.fromkeys((each.model, each.rule) for each in outcomes):
        own = [each for each in outcomes if (each.model, each.rule) == (model, rule)]
        excess = np.array([each.excess for each in own])
        third = np.digitize([each.size for each in own], edges)
        groups = [excess, *(excess[[each.kind == kind for each in own]] for kind in kinds)]
        groups += [excess[third == number] for number in range(3)]
        hter, oracle, auc = (np.mean([getattr(each, name) for each in own]) for name in ("hter", "oracle", "auc"))
        figures = [f"{100 * value:.1f}" for value in (auc, oracle, hter)]
        rows.append([model, rule, *figures, *(_mean(group) for group in groups)])
    header = ["model", "threshold", "AUC", "oracle HTER", "HTER", "HTER - oracle, all targets"]
    return Grid([*header, *(f"{kind} shifted" if kind != "all" else "all shifted" for kind in kinds), *thirds], rows)


def verdict_table(found: Sequence[Verdict]) -> Grid:
    """The sign test of every rule against today's; bold where a rule passes."""
    rows = []
    for each in found:
        rule = Strong(each.rule) if each.passes else each.rule
        kind, worst = each.worst
        domains = each.wins + each.losses + each.ties
        rows.append(
            [
                each.model,
                rule,
                str(each.wins),
                str(each.losses),
                str(each.ties),
                str(each.needed) if each.needed <= domains else "more than there are",
                f"{each.p:.4f}",
                f"{100 * each.difference:+.2f}",
                f"{100 * worst:+.2f} ({kind})",
                "yes" if each.passes else "no",
            ]
        )
    header = ["model", "threshold", "better", "worse", "equal", "needed", "p (one-sided)"]
    return Grid([*header, "HTER - today's, points", "worst kind of shift", "passes"], rows)


def domain_table(outcomes: Sequence[Outcome]) -> Grid:
    """HTER of every rule on every target, in %, with AUC and oracle."""
    rules = list(dict.fromkeys(each.rule for each in outcomes))
    found: dict[tuple[str, str], dict[str, Outcome]] = {}
    for each in outcomes:
        found.setdefault((each.model, each.domain), {})[each.rule] = each
    rows = []
    for (model, domain), by_rule in found.items():
        first = next(iter(by_rule.values()))
        cells = [f"{first.size:.2f}", f"{100 * first.auc:.1f}", f"{100 * first.oracle:.1f}"]
        rows.append([model, domain, first.kind, *cells, *(f"{100 * by_rule[rule].hter:.1f}" for rule in rules)])
    return Grid(["model", "target", "shifted", "size", "AUC", "oracle HTER", *rules], rows)


def figure(outcomes: Sequence[Outcome], model: str) -> str:
    """HTER - oracle against the size of the shift as HTML: means over targets of about equal size, a line a rule."""
    rules = list(dict.fromkeys(each.rule for each in outcomes))
    lines = []
    for rule in rules:
        own = _by_domain(outcomes, model, rule).values()
        x, y = means_by_size([each.size for each in own], [100 * each.excess for each in own])
        colour, dashed = style(rule, rules)
        lines.append(charts.Line(rule, colour, x, y, dashed, marks=True))
    shown = legend([(line.label, line.colour, line.dashed) for line in lines])
    drawn = charts.lines("size of the shift (units)", "HTER - oracle (points)", lines)
    return shown + as_image(drawn, f"HTER minus oracle against the size of the shift, {model}")


def means_by_size(sizes: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Mean size and mean value of domains of about equal size: four groups, of as many domains as far as possible."""
    pairs = np.array(sorted(zip(sizes, values, strict=True)))
    parts = np.array_split(pairs, min(_BINS, len(pairs)))
    x, y = np.array([part.mean(axis=0) for part in parts]).T.tolist()
    return x, y


def _by_domain(outcomes: Sequence[Outcome], model: str, rule: str) -> Mapping[str, Outcome]:
    return {each.domain: each for each in outcomes if (each.model, each.rule) == (model, rule)}


def _mean(values: Float64[np.ndarray, " n"]) -> str:
    # Adding 0 makes a negative zero positive.
    return f"{round(100 * values.mean(), 1) + 0:.1f}" if len(values) else "n/a"
