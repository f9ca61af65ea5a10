"""What waiting is worth: the promises of a sequential rule, and the study of a run."""

import dataclasses
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Evaluation
from fas_jax.deployment.sequential import Sequential, decide, fit_sequential
from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.experiment import planning
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.inputs import describe_inputs
from fas_jax.experiment.ledger import Ledger, stored_cache
from fas_jax.experiment.results import run_scores
from fas_jax.experiment.run import open_run, read_inputs, read_run, write_inputs
from fas_jax.methods.logistic import Colour, MeanFeature
from fas_jax.reporting.extra_figures import read_extra_figures
from fas_jax.reporting.extra_tables import read_extra_tables
from fas_jax.studies.streaming import study as streaming
from fas_jax.studies.streaming.page import Point, over_protocols
from fas_jax.studies.streaming.running import Running, streaming_methods
from tests import stores
from tests.synthetic_stores import make_stores

CAUSAL = {"whole": Rendition(segment=10, position="first", max_frames=6, cap="first", size=48)}


@given(st.integers(2, 30), st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([0.0, 0.2]), st.data())
def test_the_band_keeps_its_promises_over_the_whole_wait(count: int, length: int, far: float, frr: float, data) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    labels = np.arange(count) % 2
    scores = (rng.normal(size=(count, length)) + labels[:, None] * data.draw(st.sampled_from([0.0, 1.0, 9.0]))).round(1)
    scores = np.where(np.arange(length) < rng.integers(1, length + 1, count)[:, None], scores, np.nan)
    rule = fit_sequential(scores, labels, 5.0, far, frr)
    accepted, uncertain, frames = decide(scores, rule)
    rejected = ~accepted & ~uncertain
    assert accepted[labels == 0].mean() <= far
    assert rejected[labels == 1].mean() <= frr
    for row, number in zip(scores, frames.tolist(), strict=True):
        answers = [rule.answer(score) for score in row[:number]]
        assert answers[:-1] == ["uncertain"] * (number - 1)
    # A narrower band breaks a promise, or there is none between the ends.
    if rule.reject < rule.accept:
        inside = np.nextafter(rule.accept, -np.inf)
        assert (np.nanmax(scores[labels == 0], 1) >= inside).mean() > far
        assert (np.nanmin(scores[labels == 1], 1) < np.nextafter(rule.reject, np.inf)).mean() > frr


def test_a_video_is_decided_at_the_first_score_outside_of_the_band() -> None:
    scores = np.array([[0.5, 0.9, 0.1], [0.5, 0.2, 0.9], [0.5, 0.6, np.nan], [np.nan] * 3])
    accepted, uncertain, frames = decide(scores, Sequential(accept=0.8, reject=0.3, seconds=1.0))
    assert accepted.tolist() == [True, False, False, False]
    assert uncertain.tolist() == [False, False, True, True]
    assert frames.tolist() == [2, 2, 2, 0]
    with pytest.raises(UserError, match="lack scores"):
        fit_sequential(scores, np.zeros(4, int), 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run's folder, whose clips are not as long as each other."""
    place = tmp_path_factory.mktemp("streaming")
    methods = {"mean": MeanFeature(), "colour": Colour()}
    evaluation = Evaluation(targets=("M",))
    own = stores.experiment(
        name="run", runs=str(place / "runs"), methods=methods, evaluation=evaluation, renditions=CAUSAL
    )
    folder, own = open_run(own)
    corpus = Corpus.of({"whole": make_stores(place / "cache" / "features")})
    plans = planning.plan(own, corpus.videos)
    write_inputs(folder, corpus, describe_inputs(own, [], corpus, plans))
    fit_methods(own, plans, corpus, folder)
    return folder


def test_a_run_is_judged_after_seconds_and_by_its_rule(run) -> None:
    cache = stored_cache(read_inputs(run))
    before = Ledger(cache).before("M").readings
    table, (path,) = streaming.study(run, far=0.1, frr=0.1)
    assert Ledger(cache).before("M").readings == before + 1
    (extra,) = read_extra_tables(run)
    assert list(extra.grid.rows) == list(table.grid.rows)
    (figure,) = read_extra_figures(run)  # without a bundle, milliseconds are not measured
    assert figure.title == "HTER against seconds of video"
    rule = Sequential.of(read_json(path)["mean"], "rule")
    assert rule.reject <= rule.accept
    rows = [row[2:] for row in table.grid.rows if row[1] == "mean"]
    assert {row[1] for row in table.grid.rows} == {"mean"}
    assert rows[-1][0] == "sequential"
    assert rows[0][0] == "after 0.00 s"
    # With all frames, by another way: the run's own scores.
    scores = run_scores(read_run(run), run, read_inputs(run)).select(model="mean")
    validation, test = scores.select(role=VALIDATION), scores.select(role=TEST)
    threshold = metrics.eer_threshold(validation.score, validation.label)
    far = (test.score[test.label == 0] >= threshold).mean()
    frr = (test.score[test.label == 1] < threshold).mean()
    last = rows[-2]
    assert last[1:4] == [f"{100 * value:.1f}" for value in ((far + frr) / 2, far, frr)]
    # The longest clip has five frames, ten of 30 frames a second apart.
    assert (last[0], last[6]) == ("after 1.33 s", "not measured")
    with pytest.raises(UserError, match="shares below 1"):
        streaming.study(run, far=1.0)


def test_time_cuts_scores_off() -> None:
    scores, seconds = np.array([[0.1, 0.2, 0.3], [0.4, np.nan, np.nan]]), np.array([[0, 0.5, 1.0], [0, np.inf, np.inf]])
    shown = Running(scores, seconds, np.array([0, 1]))
    assert shown.until(0.5).last.tolist() == [0.2, 0.4]
    assert shown.until(0.4).frames.tolist() == [1, 1]
    assert shown.last.tolist() == [0.3, 0.4]


def test_every_video_has_one_more_frame_at_the_next_time() -> None:
    """Two cameras, whose frames lie a little apart, and a video that ends early."""
    seconds = np.array([[0, 0.27, 0.53, 0.8], [0, 0.25, 0.5, np.inf], [0, np.inf, np.inf, np.inf]])
    shown = Running(np.where(np.isfinite(seconds), 0.5, np.nan), seconds, np.array([0, 1, 1]))
    assert streaming.horizons(shown) == [0, 0.27, 0.53, 0.8]
    for count, horizon in enumerate(streaming.horizons(shown)):
        assert shown.until(horizon).frames.tolist() == [min(count + 1, length) for length in (4, 3, 1)]
    many = np.arange(40)[None] / 4
    found = streaming.horizons(Running(np.zeros_like(many), many, np.array([0])))
    assert (len(found), found[0], found[-1]) == (8, 0, 9.75)
    assert streaming.horizons(Running(np.full((1, 2), np.nan), np.full((1, 2), np.inf), np.array([0]))) == []
    for shape in ((0, 4), (0, 0), (2, 0)):
        assert streaming.horizons(Running(np.zeros(shape), np.zeros(shape), np.zeros(shape[0], int))) == []


def test_a_line_of_the_figure_is_a_mean_over_protocols_that_runs_forward() -> None:
    """The targets' cameras differ a little, and one target's videos are longer."""

    def point(protocol: str, horizon: float, step: int, error: float) -> Point:
        return Point(protocol, "gru", horizon, step, error, error, 0.0, 0.4 if step < 0 else horizon, step + 1.0)

    points = [
        *(point("A", horizon, step, 0.1) for step, horizon in enumerate((0.0, 0.25, 0.5))),
        point("A", np.nan, -1, 0.3),
        *(point("B", horizon, step, 0.3) for step, horizon in enumerate((0.0, 0.27, 0.53, 0.8))),
        point("B", np.nan, -1, 0.1),
    ]
    found = over_protocols([*points, *points])
    assert [step for _, step in found] == [0, 1, 2, -1]
    assert [each.seconds for each in found.values()] == pytest.approx([0, 0.25, 0.5, 0.4])
    assert [each.hter for each in found.values()] == pytest.approx([0.2] * 4)


def test_protocols_are_averaged_at_the_same_time_however_long_their_videos_are() -> None:
    """One target has four frames, the other forty, of which eight times are drawn: the same step means other times."""

    def line(protocol: str, horizons: np.ndarray, errors: np.ndarray) -> list[Point]:
        return [
            Point(protocol, "gru", when, step, error, error, 0.0, when, 1 + 4 * when)
            for step, (when, error) in enumerate(zip(horizons.tolist(), errors.tolist(), strict=True))
        ]

    short, long = np.arange(4) / 4, np.linspace(0, 9.75, 8)
    found = [*over_protocols([*line("A", long, 0.5 - long / 20), *line("B", short, 0.1 + 0 * short)]).values()]
    assert [each.seconds for each in found] == pytest.approx(short)
    assert [each.horizon for each in found] == pytest.approx(short)
    assert [each.hter for each in found] == pytest.approx((0.6 - short / 20) / 2)
    assert [each.frames for each in found] == pytest.approx(1 + 4 * short)


def test_a_bundle_that_does_not_load_costs_no_reading_of_the_target(run, tmp_path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    (own / "bundles" / "M").mkdir(parents=True)
    (own / "bundles" / "M" / "bundle.json").write_text("{}")
    cache = stored_cache(read_inputs(run))
    before = Ledger(cache).before("M").readings
    with pytest.raises(UserError, match="format"):
        streaming.study(own)
    assert Ledger(cache).before("M").readings == before


def test_a_detector_that_does_not_load_costs_no_reading_of_the_target(run, tmp_path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    next((own / "detectors" / "mean").iterdir()).unlink()
    cache = stored_cache(read_inputs(run))
    before = Ledger(cache).before("M").readings
    with pytest.raises(UserError, match="safetensors"):
        streaming.study(own)
    assert Ledger(cache).before("M").readings == before


def test_a_run_that_needs_the_future_is_refused_with_the_setting(run) -> None:
    experiment = read_run(run)
    assert streaming_methods(experiment) == {"whole": ["mean"]}
    late = dataclasses.replace(experiment, renditions={"whole": Rendition()})
    with pytest.raises(UserError, match=r'\[renditions.whole\]: position = "last" waits'):
        streaming_methods(late)
    with pytest.raises(UserError, match="or facts of a file"):
        streaming_methods(dataclasses.replace(experiment, methods={"colour": Colour()}))
