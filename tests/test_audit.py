"""The audit finds what is planted, and nothing where nothing is."""

import json

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Training
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.metrics import auc
from fas_jax.protocols.assignment import Assignment
from fas_jax.protocols.presets import make_protocol
from fas_jax.studies import frames_curve as cost
from fas_jax.studies.audit import frames, sequence, verdict
from fas_jax.studies.audit.controls import (
    METHOD,
    NOISE,
    ONE_FRAME,
    SHUFFLED,
    middle_frame,
    noise_of_real_lengths,
    run_controls,
    shuffle_frames,
)
from fas_jax.studies.audit.planted import gaussian_features, video_auc
from fas_jax.studies.audit.sequence import Part, Split
from fas_jax.studies.audit.shortcuts import edge_brightness, find_shortcuts
from fas_jax.studies.one_method import baselines, method_of, open_stores
from tests import planted
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
    clips, edges = planted.plant(shortcut, seed)
    return {each.quantity for each in find_shortcuts(clips.videos, clips.facts("whole"), edges) if each.flagged}


@pytest.mark.parametrize("shortcut", planted.SHORTCUTS)
def test_every_planted_shortcut_is_flagged_and_nothing_else(shortcut):
    for seed in range(5):
        assert flags(shortcut, seed) == SHOWS[shortcut]


def test_clean_sets_get_no_flag():
    """At a level of 1 % for any flag of a set, more than two of fifty sets would come once in a hundred times."""
    assert sum(bool(flags("", seed)) for seed in range(50)) <= 2


def test_a_perfect_shortcut_of_few_subjects_is_flagged_though_resamples_agree():
    clips, edges = planted.plant("order", 0, subjects=8)
    found = find_shortcuts(clips.videos, clips.facts("whole"), edges)
    (order,) = [each for each in found if each.quantity == "order in the list"]
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
def clips(tmp_path_factory):
    found, rendition = open_stores(make_stores(tmp_path_factory.mktemp("stores"), strength=1.5))
    assert rendition == "whole"
    return found


def head(**settings):
    """A small recurrent method."""
    own = {"hidden": 6, "learning_rate": 2e-2, "validate_every": 1, "patience": 10, "monitor": "loss", **settings}
    return method_of("gru", [f"{name}={value}" for name, value in own.items()], "whole")


def assign(clips):
    """M left out; the sources' first three subjects of each dataset validate."""
    datasets = np.array([video.dataset[-1] for video in clips.videos])
    first = np.array([int(video.subject[1:]) < 3 for video in clips.videos])
    sources = datasets != "M"
    parts = (np.flatnonzero(sources & ~first), np.flatnonzero(sources & first), np.flatnonzero(datasets == "M"))
    return Assignment(make_protocol("strict", "OCI", "M"), *parts)


def test_a_method_is_given_by_kind_and_settings():
    method = head(fusion="last")
    assert (method.kind, method.hidden, method.learning_rate, method.fusion) == ("gru", 6, 2e-2, "last")
    assert method.rendition == "whole"
    assert method_of("mean-feature", (), "face") == baselines("face")["mean-feature"]
    for kind, settings, message in (
        ("grru", (), "did you mean 'gru'"),
        ("gru", ("hiden=3",), "did you mean 'hidden'"),
        ("gru", ("hidden=many",), "must be of type int"),
        ("gru", ("hidden",), "'hidden' is not NAME=VALUE"),
    ):
        with pytest.raises(UserError, match=message):
            method_of(kind, settings, "whole")


def test_controls_change_what_they_say_and_nothing_else(clips):
    features, mask = clips.features("whole")
    shuffled, one, noise = (
        each.features("whole")
        for each in (
            shuffle_frames(clips, "whole", 0), middle_frame(clips, "whole"), noise_of_real_lengths(clips, "whole", 0)
        )
    )  # fmt: skip
    for row, length in enumerate(mask.sum(1)):
        real = features[row, :length]
        assert {tuple(frame) for frame in shuffled[0][row, :length]} == {tuple(frame) for frame in real}
        assert not shuffled[0][row, length:].any()
        assert np.array_equal(one[0][row, 0], real[length // 2])
        assert not noise[0][row, length:].any()
    assert not np.array_equal(shuffled[0], features)
    assert np.array_equal(shuffled[1], mask)
    assert np.array_equal(noise[1], mask)
    assert one[1].shape == (len(mask), 1)
    assert one[1].all()
    assert shuffle_frames(clips, "whole", 0).facts("whole") is clips.facts("whole")
    # Noise has nothing of the features' information.
    assert auc(noise[0][:, 0, 0], clips.labels) < 0.7 < 0.9 < auc(features[:, 0, 0], clips.labels)


def test_a_clip_without_frames_has_none_in_any_control(clips):
    features, mask = (each.copy() for each in clips.features("whole"))
    features[3], mask[3] = 0, False
    lacking = clips.with_features("whole", features, mask)
    for changed in (shuffle_frames(lacking, "whole", 0), middle_frame(lacking, "whole")):
        assert not changed.features("whole")[1][3].any()
        assert not changed.features("whole")[0][3].any()


@pytest.mark.slow
def test_controls_and_what_is_said_of_them(clips, tmp_path):
    results = evaluate(run_controls(clips, "whole", assign(clips), [0], head(max_epochs=10)))
    reached = {each.model: each.mean["auc"] for each in results.summaries}
    assert reached[METHOD] > 0.9
    assert reached["mean-feature"] > 0.9
    assert abs(reached[NOISE] - 0.5) < 0.3
    assert {SHUFFLED, ONE_FRAME, *baselines("whole")} < reached.keys()
    said = verdict.statements(results, "whole")
    for words in (
        "No evidence that the lengths of clips give the label away",
        "No evidence that the order of frames matters",
        "No evidence that metadata separates the classes of the target without a look at the face",
        "No evidence that the method beats the baseline mean-feature",
    ):
        assert any(line.startswith(words) for line in said)
    table = verdict.control_table(results, "whole")
    assert all(row[-1] for row in table.grid.rows)
    verdict.write_audit(tmp_path, "<b>", said, [table], {"seeds": 1})
    assert json.loads((tmp_path / "audit.json").read_text())["statements"] == said
    assert "<b></h1>" not in (tmp_path / "audit.html").read_text()


def split(frame_auc, seed, counts=(60, 30, 30), dimension=8):
    generator = np.random.default_rng(seed)
    parts = []
    for count in counts:
        labels = (np.arange(count) % 3 == 0).astype(np.int64)
        parts.append(Part(*gaussian_features(labels, 3, dimension, frame_auc, generator), labels))
    return Split(*parts)


def test_made_up_information_is_what_is_stated():
    labels = np.repeat([0, 1], 20_000)
    features, _ = gaussian_features(labels, 4, 2, 0.65, np.random.default_rng(0))
    assert auc(features[:, 0, 0], labels) == pytest.approx(0.65, abs=0.01)
    assert auc(features[..., 0].mean(1), labels) == pytest.approx(video_auc(0.65, 4), abs=0.01)


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


def test_frames_are_kept_evenly(clips):
    features, mask = clips.features("whole")
    kept = {count: cost.keep_evenly(clips, "whole", count).features("whole") for count in (1, 2, 5, 9)}
    for row, length in enumerate(mask.sum(1).tolist()):
        for count, own in kept.items():
            number = own[1][row].sum()
            assert number == min(count, length)
            places = [
                next(i for i in range(length) if np.array_equal(features[row, i], frame))
                for frame in own[0][row, :number]
            ]
            # In order, none twice, and as far from both ends.
            assert places == sorted(set(places))
            assert abs(places[0] - (length - 1 - places[-1])) <= 1
    assert np.array_equal(kept[5][0], features)


@pytest.mark.slow
def test_the_curve_has_every_count(clips):
    methods = {"gru": head(hidden=3, max_epochs=2), "mean-feature": baselines("whole")["mean-feature"]}
    results = evaluate(cost.curve(clips, "whole", assign(clips), (1, 3), [0], methods))
    table, figure = cost.report(results, (1, 3), {"gru": 0.01, "mean-feature": np.nan})
    assert [row[:2] for row in table.grid.rows] == [
        ["gru", "1"], ["gru", "3"], ["mean-feature", "1"], ["mean-feature", "3"],
    ]  # fmt: skip
    assert [row[-1] for row in table.grid.rows] == ["10.0", "30.0", "not measured", "not measured"]
    assert figure.count("<li>") == 2  # a line of the legend for each method
