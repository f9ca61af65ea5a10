"""The audit finds what is planted, and nothing where nothing is."""

import json

import numpy as np
import pytest
from fas_jax.features.corpus import Corpus

from fas_jax.base.settings import Training
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.metrics import auc
from fas_jax.protocols.assignment import Assignment
from fas_jax.protocols.presets import make_protocol
from fas_jax.studies import frames_curve as cost
from fas_jax.studies.audit import frames, planted, sequence, verdict
from fas_jax.studies.audit.controls import (
    MEAN,
    MODEL,
    NOISE,
    ONE_FRAME,
    SHUFFLED,
    middle_frame,
    noise_of_real_lengths,
    run_controls,
    shuffle_frames,
)
from fas_jax.studies.audit.sequence import Part, Split
from fas_jax.studies.audit.shortcuts import edge_brightness, find_shortcuts
from tests.synthetic_stores import make_stores

# Which quantities a planted shortcut shows in; a longer video has more kept frames, too.
SHOWS = {
    "length": {"kept frames", "length (frames)"},
    "fps": {"frame rate"},
    "border": {"border"},
    "codec": {"codec avc1", "codec mp4v"},
    "brightness": {"brightness", "contrast"},
    "order": {"order in the list"},
}


def flags(shortcut, seed):
    pool, edges = planted.plant(shortcut, seed)
    return {each.quantity for each in find_shortcuts(pool.videos, pool.infos, edges) if each.flagged}


@pytest.mark.parametrize("shortcut", planted.SHORTCUTS)
def test_every_planted_shortcut_is_flagged_and_nothing_else(shortcut):
    for seed in range(5):
        assert flags(shortcut, seed) == SHOWS[shortcut]


def test_clean_sets_get_no_flag():
    """At a level of 1 % for any flag of a set, more than two of fifty sets would come once in a hundred times."""
    assert sum(bool(flags("", seed)) for seed in range(50)) <= 2


def test_a_perfect_shortcut_of_few_subjects_is_flagged_though_resamples_agree():
    pool, edges = planted.plant("order", 0, subjects=8)
    (order,) = [s for s in find_shortcuts(pool.videos, pool.infos, edges) if s.quantity == "order in the list"]
    assert order.auc == 0.0
    assert order.flagged
    assert np.isfinite(order.z)


def test_edges_are_those_of_the_frame():
    frame = np.full((100, 200, 3), 90, np.uint8)
    assert edge_brightness(frame) == 0
    frame[:3], frame[-3:], frame[:, :6], frame[:, -6:] = 10, 10, 10, 10
    assert edge_brightness(frame) == pytest.approx(-80)


def test_the_middle_is_masked_and_the_rest_is_not():
    video = np.random.default_rng(0).integers(0, 256, (2, 50, 40, 3), dtype=np.uint8)
    masked = frames.mask_middle(video)
    assert (masked[:, 5:45, 8:32] == 128).all()
    for edge in (np.s_[:, :5], np.s_[:, 45:], np.s_[:, :, :8], np.s_[:, :, 32:]):
        assert np.array_equal(masked[edge], video[edge])


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return Corpus.of(make_stores(tmp_path_factory.mktemp("stores"), strength=1.5)).open().loaded()


def test_controls_change_what_they_say_and_nothing_else(pool):
    shuffled, one, noise = shuffle_frames(pool, 0), middle_frame(pool), noise_of_real_lengths(pool, 0)
    for row, length in enumerate(pool.mask.sum(1)):
        real = pool.features[row, :length]
        assert {tuple(frame) for frame in shuffled.features[row, :length]} == {tuple(frame) for frame in real}
        assert not shuffled.features[row, length:].any()
        assert np.array_equal(one.features[row, 0], real[length // 2])
        assert not noise.features[row, length:].any()
    assert not np.array_equal(shuffled.features, pool.features)
    assert np.array_equal(noise.mask, pool.mask)
    # Noise has nothing of the features' information.
    labels = np.array([video.label for video in pool.videos])
    assert auc(noise.features[:, 0, 0], labels) < 0.7 < 0.9 < auc(pool.features[:, 0, 0], labels)


def test_controls_and_what_is_said_of_them(pool, tmp_path):
    datasets = np.array([video.dataset[-1] for video in pool.videos])
    first = np.array([int(video.subject[1:]) < 3 for video in pool.videos])
    target = np.flatnonzero(datasets == "M")
    sources = datasets != "M"
    parts = (np.flatnonzero(sources & ~first), np.flatnonzero(sources & first), target)
    assignment = Assignment(make_protocol("strict", "OCI", "M"), *parts)
    settings = Training(learning_rate=2e-2, max_epochs=10, validate_every=1, patience=10, monitor="loss")
    results = evaluate(run_controls(pool, assignment, [0], "gru", 6, settings))
    reached = {each.model: each.mean["auc"] for each in results.summaries}
    assert reached[MODEL] > 0.9
    assert reached[MEAN] > 0.9
    assert abs(reached[NOISE] - 0.5) < 0.3
    assert {SHUFFLED, ONE_FRAME} < reached.keys()
    said = verdict.statements(results)
    assert any(line.startswith("No evidence that the lengths of clips give the label away") for line in said)
    assert any(line.startswith("No evidence that the order of frames matters") for line in said)
    verdict.write_audit(tmp_path, "<b>", said, [verdict.control_table(results)], {"seeds": 1})
    assert json.loads((tmp_path / "audit.json").read_text())["statements"] == said
    assert "<b></h1>" not in (tmp_path / "audit.html").read_text()


def split(frame_auc, seed, counts=(60, 30, 30), dimension=8):
    generator = np.random.default_rng(seed)
    parts = []
    for count in counts:
        labels = (np.arange(count) % 3 == 0).astype(np.int64)
        parts.append(Part(*planted.gaussian_features(labels, 3, dimension, frame_auc, generator), labels))
    return Split(*parts)


def test_made_up_information_is_what_is_stated():
    labels = np.repeat([0, 1], 20_000)
    features, _ = planted.gaussian_features(labels, 4, 2, 0.65, np.random.default_rng(0))
    assert auc(features[:, 0, 0], labels) == pytest.approx(0.65, abs=0.01)
    assert auc(features[..., 0].mean(1), labels) == pytest.approx(planted.video_auc(0.65, 4), abs=0.01)


def test_the_published_variant_uses_its_neighbours_and_ours_cannot():
    """With some information, sorting lifts it over the same videos shuffled; every score of ours is its video's own."""
    settings = Training(learning_rate=1e-2, max_epochs=60, validate_every=10, patience=60)
    seeds = [0, 1, 2]
    splits = [split(0.75, seed) for seed in seeds]
    found = [outcome for _, outcome in sequence.published(splits, seeds, 8, settings)]
    by_variant = {}
    for outcome in found:
        if outcome.unit == "frames":
            by_variant.setdefault(outcome.variant.removeprefix(sequence.PRESET), []).append(outcome.auc)
    by_sorted = np.mean(by_variant[", trained sorted by label, tested sorted by label"])
    assert by_sorted > np.mean(by_variant[", trained sorted by label, tested shuffled"]) + 0.1
    assert {len(values) for values in by_variant.values()} == {3}


def test_frames_are_joined_as_the_published_code_does():
    part = split(0.6, 0).train
    part = Part(part.features, part.mask & (np.arange(3) < 2 + np.arange(60)[:, None] % 2), part.labels)
    features, labels, whose = sequence._joined(part, sequence.SORTED, np.random.default_rng(0))
    assert (np.diff(labels) <= 0).all()
    order = [i for label in (1, 0) for i in range(60) if part.labels[i] == label]
    expected = np.concatenate([part.features[i][part.mask[i]] for i in order])
    assert np.array_equal(features, expected)
    assert (np.diff(whose) >= 0).all()
    assert len(set(whose.tolist())) == 60


def test_frames_are_kept_evenly(pool):
    kept = {count: cost.keep_evenly(pool, count) for count in (1, 2, 5, 9)}
    for row, length in enumerate(pool.mask.sum(1).tolist()):
        for count, own in kept.items():
            number = own.mask[row].sum()
            assert number == min(count, length)
            places = [
                next(i for i in range(length) if np.array_equal(pool.features[row, i], frame))
                for frame in own.features[row, :number]
            ]
            # In order, none twice, and as far from both ends.
            assert places == sorted(set(places))
            assert abs(places[0] - (length - 1 - places[-1])) <= 1
    assert np.array_equal(kept[5].features, pool.features)


@pytest.mark.slow
def test_the_curve_has_every_count(pool):
    datasets = np.array([video.dataset[-1] for video in pool.videos])
    first = np.array([int(video.subject[1:]) < 3 for video in pool.videos])
    parts = (np.flatnonzero((datasets != "M") & ~first), np.flatnonzero((datasets != "M") & first))
    assignment = Assignment(make_protocol("strict", "OCI", "M"), *parts, np.flatnonzero(datasets == "M"))
    settings = Training(learning_rate=2e-2, max_epochs=2, validate_every=1, patience=10, monitor="loss")
    results = evaluate(cost.curve(pool, assignment, (1, 3), [0], "gru", 3, settings))
    table, figure = cost.report(results, (1, 3), 0.01)
    assert [row[:2] for row in table.grid.rows] == [
        ["gru", "1"], ["gru", "3"], ["mean-feature", "1"], ["mean-feature", "3"],
    ]  # fmt: skip
    assert [row[-1] for row in table.grid.rows] == ["10.0", "30.0"] * 2
    assert figure.count("<polyline") >= 2
