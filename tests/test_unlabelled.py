"""Target-unlabelled: what moves the threshold, which videos may, and that the strict figures stay as they are."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from fas_jax.base.errors import UserError
from fas_jax.base.logits import sigmoid
from fas_jax.base.settings import Evaluation
from fas_jax.evaluation import metrics
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.metrics import MetricError
from fas_jax.evaluation.normalisation import (
    BOUND,
    DEVIATION,
    GUARDED,
    MEDIAN,
    NORMALISATIONS,
    most_rejected,
    moved_threshold,
)
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.evaluation.thresholds import choose_for
from fas_jax.experiment import planning
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.inputs import describe_inputs
from fas_jax.experiment.ledger import Ledger, stored_cache
from fas_jax.experiment.results import run_scores
from fas_jax.experiment.run import open_inputs, open_run, read_inputs, read_run, write_inputs
from fas_jax.methods.logistic import Colour, MeanFeature
from fas_jax.reporting import tables
from fas_jax.reporting.extra_tables import read_extra_tables
from fas_jax.reporting.naming import Models
from fas_jax.studies import unlabelled
from tests import stores
from tests.synthetic_stores import make_stores

logits = st.lists(st.floats(-9, 9), min_size=2, max_size=30).map(np.array).filter(lambda values: np.ptp(values) > 1e-3)


@given(logits, logits, st.floats(-5, 5), st.floats(-5, 5))
def test_a_moved_threshold_decides_as_normalised_scores_would(source, stream, threshold, score):
    centred = (score - np.median(stream)) >= (threshold - np.median(source))
    standard = (score - stream.mean()) / stream.std() >= (threshold - source.mean()) / source.std()
    for name, decided in ((MEDIAN, centred), (DEVIATION, standard)):
        moved = moved_threshold(name, threshold, source, stream)
        assert (score >= moved) == decided or abs(score - moved) < 1e-6


@given(logits, logits, st.floats(-5, 5))
def test_the_guard_rejects_no_more_of_the_stream_than_it_may(source, stream, threshold):
    plain, guarded = (moved_threshold(name, threshold, source, stream) for name in (MEDIAN, GUARDED))
    assert guarded <= plain
    assert np.sum(stream < guarded) <= max(BOUND * len(stream), np.sum(stream < threshold))
    if plain <= threshold:
        assert guarded == plain


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_shift_is_undone_where_the_shares_are_alike_and_equal_scores_are_refused(name):
    source = np.concatenate([np.linspace(-4, -2, 50), np.linspace(2, 4, 50)])
    assert moved_threshold(name, 0.0, source, source - 7) == pytest.approx(-7)
    for sides in ((source, np.full(9, 0.5)), (np.full(9, 0.5), source)):
        with pytest.raises(MetricError, match="all equal"):
            moved_threshold(name, 0.0, *sides)
    with pytest.raises(UserError, match="median"):
        moved_threshold("medain", 0.0, source, source)


def test_the_median_follows_the_share_of_attacks():
    """The reason for a guard: without attacks in the stream, half of the bona fide are rejected."""
    source = np.concatenate([np.linspace(-4, -2, 50), np.linspace(2, 4, 50)])
    bona_fide = np.linspace(2, 4, 200)
    rejected = {name: np.mean(bona_fide < moved_threshold(name, 0.0, source, bona_fide)) for name in (MEDIAN, GUARDED)}
    assert rejected[MEDIAN] == 0.5
    assert rejected[GUARDED] <= BOUND


@given(st.integers(1, 400) | st.integers(10_000, 30_000))
def test_a_rise_needs_a_stream_that_shows_the_bound(count):
    """Against the exact binomial tail; the rule of three begins at 59 videos."""
    most = most_rejected(count)
    assert (most < 0) == (count < 59)
    assert binom.cdf(most, count, BOUND) <= 0.05 < binom.cdf(most + 1, count, BOUND)
    source, stream = np.linspace(-3, 3, 40), np.linspace(1, 9, count)
    if 1 < count < 59:
        assert moved_threshold(GUARDED, 0.0, source, stream) == 0.0


@pytest.mark.parametrize("count", [20, 59, 200, 1000])
def test_without_attacks_the_guard_keeps_to_the_bound_on_other_videos(count):
    """In at least 95 of 100 draws, whatever the stream's size: the rate on all videos, not on the stream, is bound."""
    generator = np.random.default_rng(3)
    source = np.concatenate([generator.normal(-3, 1, 500), generator.normal(3, 1, 500)])
    rises = []
    for _ in range(400):
        stream = generator.normal(4, 1, count)
        rises.append(norm.cdf(moved_threshold(GUARDED, 0.0, source, stream), 4, 1))
    assert np.mean(np.array(rises) > BOUND) <= 0.08


@given(st.integers(0, 60), st.integers(0, 60))
def test_streams_have_their_share_or_are_not_drawn(attacks, bona_fide):
    labels = np.repeat([0, 1], [attacks, bona_fide])
    sizes = unlabelled.stream_sizes(attacks, bona_fide)
    assert len({size for size in sizes.values() if size}) <= 1
    for share, size in sizes.items():
        if not size:
            continue
        rows = unlabelled.draw_stream(labels, share, size, [0, 0])
        assert len(set(rows.tolist())) == size >= unlabelled.FEWEST
        assert np.sum(labels[rows] == 0) == round(share * size)
    enough = bona_fide >= unlabelled.FEWEST
    assert bool(sizes[0.0]) == enough


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run's folder."""
    place = tmp_path_factory.mktemp("unlabelled")
    methods = {"mean": MeanFeature(), "colour": Colour()}
    evaluation = Evaluation(targets=("M",))
    own = stores.experiment(name="run", runs=str(place / "runs"), methods=methods, evaluation=evaluation)
    folder, own = open_run(own)
    corpus = Corpus.of({"whole": make_stores(place / "cache" / "features")})
    plans = planning.plan(own, corpus.videos)
    write_inputs(folder, corpus, describe_inputs(own, [], corpus, plans))
    fit_methods(own, plans, corpus, folder)
    return folder


@pytest.fixture(scope="module")
def table(run):
    return unlabelled.adapt_to_unlabelled(run)


def test_streams_hold_no_person_of_the_plan(run, table):
    corpus = open_inputs(run)
    within = dataclasses.replace(read_run(run), evaluation=Evaluation(protocols=("intra-synth-C",)))
    for each in [plan for own in (read_run(run), within) for plan in planning.plan(own, corpus.videos)]:
        numbers = unlabelled.unlabelled_videos(each, corpus.videos)
        parts = (each.assignment.train, each.assignment.validation, each.assignment.test)
        people = [{(v.dataset, v.subject) for v in corpus.videos[part]} for part in (numbers, np.concatenate(parts))]
        assert not people[0] & people[1]
        if each.protocol.name.startswith("intra"):
            assert not len(numbers)
        else:
            assert {v.dataset for v in corpus.videos[numbers]} == {"synth-M"}
            assert {v.split for v in corpus.videos[numbers]} <= {"train", "dev"}


def test_the_table_is_marked_and_has_the_strict_row_first(run, table):
    scores = run_scores(read_run(run), run, read_inputs(run))
    found = json.loads((run / "unlabelled.json").read_text())
    results = evaluate(scores)
    (protocol,) = results.protocols
    for model in ("mean", "colour"):
        (figures,) = (each for each in results.figures if (each.protocol, each.model) == (protocol, model))
        strict = next(each for each in found if (each["model"], each["normalisation"]) == (model, ""))
        for name, other in (("hter", "hter"), ("far", "far"), ("bpcer", "frr")):
            assert strict[name] == figures.values[other]
    assert "not the strict protocol" in table.text
    assert len(table.grid.rows) == 2 * (1 + len(NORMALISATIONS))
    assert {row[2] for row in table.grid.rows} == {"none (strict)", *NORMALISATIONS}
    assert {row[3] for row in table.grid.rows} == {"—", "16"}
    (read,) = read_extra_tables(run)
    assert read == table
    header = tables.oracle_table(results, Models.of(results, {}), [read]).header
    at = header.index("HTER, target-unlabelled (guarded median, 0 to 90 % attacks)")
    assert header[at - 1].startswith("HTER, threshold from")
    assert header[at + 1].startswith("oracle")
    cells = {row[1]: row[at] for row in tables.oracle_table(results, Models.of(results, {}), [read]).rows}
    assert cells.keys() >= {"mean"}


def test_the_strict_scores_stay_and_the_ledger_has_a_line_of_its_own(run, table):
    before = (run / "scores.csv").read_bytes()
    ledger = Ledger(stored_cache(read_inputs(run)))
    count = ledger.before("M").readings
    assert unlabelled.adapt_to_unlabelled(run) == table
    assert (run / "scores.csv").read_bytes() == before
    assert ledger.before("M").readings == count + 1
    assert json.loads(ledger.path.read_text().splitlines()[-1])["purpose"] == "target-unlabelled"


def test_labels_of_the_stream_only_draw_the_share(run, table, monkeypatch):
    """With one class only in the stream nothing but that share is drawn, and a sentence says so."""
    validation = np.array([-3.0, 2.0, -2.0, 1.0, 0.5, -0.5])
    target = np.array([-6.0, -1.0, -5.0, -2.0, -2.5, 0.5])
    rows = ScoreTable.concatenate([
        _scored(role, values) for role, values in (("validation", validation), ("test", target))
    ])  # fmt: skip
    stream = _scored("test", np.linspace(-3, 1, 40))
    alone = stream.rows(stream.label == 1)
    found = {(each.normalisation, each.share): each for each in unlabelled.adapt(rows, alone, "pooled", "validation")}
    assert "too few unlabelled videos for a share of attacks of 50 %" in found[MEDIAN, 0.5].note
    threshold = choose_for("pooled", rows.select(role="validation")).value
    moved = np.log(threshold / (1 - threshold)) + np.median(alone.logit) - np.median(validation)
    assert found[MEDIAN, 0.0].hter == pytest.approx(metrics.rates(target, np.arange(6) % 2, moved).hter)
    equal = unlabelled.adapt(rows, _scored("test", np.full(40, 0.3)), "pooled", "validation")
    assert all("scores are all equal" in each.note for each in equal if each.normalisation)


def test_a_rise_above_the_bound_is_flagged():
    def row(name, share, bpcer):
        return unlabelled.Adapted("OCI_to_M", 0, "gru", name, share, 20, 0.2, 0.1, bpcer)

    found = [row("", np.nan, 0.1)]
    for name, clean in ((MEDIAN, 0.5), (DEVIATION, 0.15), (GUARDED, np.nan)):
        found += [row(name, share, 0.3 if share else clean) for share in unlabelled.SHARES]
    table = unlabelled.unlabelled_table(found, ["intra-C"])
    assert "intra-C has no unlabelled videos of its target" in table.text
    assert [cells[-1] for cells in table.grid.rows] == ["—", "no: +40.00", "yes", "undefined"]


def _scored(role, values):
    from tests.test_scores import table

    return table(np.zeros(len(values)), role=role).scored_by("gru", sigmoid(values), logits=values)
