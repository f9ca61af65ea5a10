"""Whether the reports' intervals hold what they promise where nothing is to be found: scores of one known distribution.

Scores are drawn, given to `evaluate` as any table of scores is, and its intervals compared with the truth. All videos
of a subject have something in common, and those of one class of the subject still more, so that videos are not
independent. Without separation the labels are random: every HTER and AUC is 50 % whatever the threshold, and no model
is better than another, so that bold is wrong wherever it appears.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import expit, logit, ndtr
from scipy.stats import binomtest

from fas_jax.base.errors import UserError
from fas_jax.base.record import ATTACK, BONA_FIDE, Video
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.intervals import CONFIDENCE, Interval
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.reporting.grid import Grid, Strong
from fas_jax.reporting.naming import Models
from fas_jax.reporting.tables import table_one
from fas_jax.runtime.progress import progress_bar

COVERED = (0.92, 0.98)
"""Between which the coverage of 95 % intervals has to lie."""
MOST_BOLD = 0.05
"""Share of tables without any difference in which bold may appear."""


@dataclass(frozen=True)
class Population:
    """Scores before the logistic function: normal with variance 1 in each class."""

    subjects: int = 20
    """Of the test videos; half as many, others, set the threshold."""
    videos: int = 4
    """Of each class of a subject."""
    models: int = 2
    """Their scores are independent of each other."""
    of_subject: float = 0.3
    """Share of the variance that all videos of a subject have in common."""
    of_class: float = 0.3
    """Share that the videos of one class of a subject have in common besides."""
    separation: float = 0.0
    """Mean of the bona fide minus that of the attacks; with 0 the labels are random."""

    def check(self) -> None:
        """Raises `UserError` where there is no such population."""
        if self.subjects < 4 or self.videos < 1 or self.models < 1:
            raise UserError(
                "a simulated table needs at least 4 subjects, 1 video and 1 model, not "
                f"{self.subjects}, {self.videos} and {self.models}"
            )
        if min(self.of_subject, self.of_class) < 0 or self.of_subject + self.of_class > 1:
            raise UserError(
                f"the shares of variance {self.of_subject:g} and {self.of_class:g} must not be negative, and their "
                "sum at most 1"
            )


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth, and bold appeared."""

    population: Population
    repetitions: int
    hter: int
    """Intervals of HTER that held it, of `repetitions` times `models`."""
    auc: int
    difference: int
    """Intervals of differences in HTER that held the true one, of `repetitions` times the pairs of models."""
    bold: int
    """Tables with a cell in bold, of `repetitions`."""


def measure(population: Population, repetitions: int, seed: int) -> Coverage:
    """Evaluates `repetitions` tables of scores drawn from a population.

    Raises:
        UserError: There is no such population, or no repetition.
    """
    population.check()
    if repetitions < 1:
        raise UserError(f"repetitions must be at least 1, not {repetitions}")
    counts = np.zeros(4, int)
    title = f"{population.subjects} subjects, {population.models} models, separation {population.separation:g}"
    with progress_bar(total=repetitions, desc=title, unit="table") as bar:
        for repetition in range(repetitions):
            rng = np.random.default_rng([seed, repetition])
            counts += _counted(evaluate(draw_scores(population, rng)), population)
            bar.update()
    return Coverage(population, repetitions, *counts.tolist())


def draw_scores(population: Population, rng: np.random.Generator) -> ScoreTable:
    """One table of scores: validation and test videos of different subjects, scored by every model."""
    tables = []
    for role, subjects in ((VALIDATION, population.subjects // 2), (TEST, population.subjects)):
        videos = [
            Video(f"{role}-{subject}/{pai}-{take}", "simulated", f"{role}-{subject}", "", label, pai, pai, "", "")
            for subject in range(subjects)
            for label, pai in ((ATTACK, "print"), (BONA_FIDE, "bonafide"))
            for take in range(population.videos)
        ]
        for model in range(population.models):
            scores = expit(_drawn(population, subjects, rng)).ravel()
            tables.append(ScoreTable.from_videos("null", 0, role, f"model {model + 1}", videos, scores))
    return ScoreTable.concatenate(tables)


def true_hter(population: Population, threshold: float) -> float:
    """HTER of the whole population at a threshold of the scores."""
    value = logit(threshold)
    return float(1 - ndtr(value) + ndtr(value - population.separation)) / 2


def true_auc(population: Population) -> float:
    """Expected AUC of a sample: pairs of videos of two subjects, and those of one, which its own share is common to."""
    d, n = population.separation, population.subjects
    different, same = ndtr(d / np.sqrt(2)), ndtr(d / np.sqrt(2 * max(1 - population.of_subject, 1e-12)))
    return float(((n - 1) * different + same) / n)


def table(found: Sequence[Coverage]) -> Grid:
    """Coverage of 95 % intervals and share of tables with bold, in %, with exact intervals of what was counted.

    In bold: outside of what is allowed.
    """
    header = ["subjects", "videos of a class", "models", "separation", "tables", "HTER", "AUC", "difference", "bold"]
    rows = []
    for each in found:
        own, models = each.population, each.population.models
        pairs = models * (models - 1) // 2
        cells = [_cell(count, each.repetitions * models, COVERED) for count in (each.hter, each.auc)]
        cells.append(_cell(each.difference, each.repetitions * pairs, COVERED) if pairs else "n/a")
        null = own.separation == 0
        cells.append(_cell(each.bold, each.repetitions, (0, MOST_BOLD if null else 1)) if pairs else "n/a")
        about = (own.subjects, own.videos, models, f"{own.separation:g}", each.repetitions)
        rows.append([*map(str, about), *cells])
    return Grid(header, rows)


def _counted(results: Results, population: Population) -> np.ndarray:
    """As `Coverage` counts, of one table."""
    truth = {each.model: true_hter(population, each.values["threshold"]) for each in results.figures}
    area = true_auc(population)
    hter = sum(_holds(each.hter_interval, truth[each.model]) for each in results.figures)
    auc = sum(_holds(each.auc_interval, area) for each in results.figures)
    difference = sum(
        _holds(each.interval, truth[each.model] - truth[each.other])
        for each in results.comparisons
        if each.model < each.other
    )
    bold = any(isinstance(cell, Strong) for row in table_one(results, Models(results.models), ()).rows for cell in row)
    return np.array([hter, auc, difference, bold], int)


def _drawn(population: Population, subjects: int, rng: np.random.Generator) -> Float64[np.ndarray, "s 2 v"]:
    """By subject, class (attack, bona fide) and video."""
    shape = (subjects, 2, population.videos)
    left = 1 - population.of_subject - population.of_class
    values = np.sqrt(left) * rng.standard_normal(shape)
    values += np.sqrt(population.of_subject) * rng.standard_normal((subjects, 1, 1))
    values += np.sqrt(population.of_class) * rng.standard_normal((subjects, 2, 1))
    values[:, 1] += population.separation
    return values


def _holds(interval: Interval, truth: float) -> bool:
    # An exact zero is on the border of an interval that rounding has moved by a last bit.
    return interval.low - 1e-12 <= truth <= interval.high + 1e-12


def _cell(count: int, total: int, allowed: tuple[float, float]) -> str:
    exact = binomtest(count, total).proportion_ci(CONFIDENCE)
    text = f"{100 * count / total:.1f}{Interval(exact.low, exact.high)}"
    return text if allowed[0] <= count / total <= allowed[1] else Strong(text)
