"""A run behind the gate: refusals are non-responses, and only take away."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.pixels.gate.checks import CheckedClip
from fas_jax.pixels.gate.settings import Gate
from fas_jax.studies import gate_target as study
from fas_jax.studies.gate_table import Judged
from fas_jax.studies.gate_target import REFUSED, behind_gate, rates, species_table
from tests.test_evaluation import table
from tests.test_gate_table import video


def test_rates_by_hand() -> None:
    accepted = np.array([True, True, False, False, True])
    answered = np.array([True, False, True, True, True])
    # Two of four attacks are accepted, and one has no answer.
    assert rates(accepted, answered, 0) == (0.2, 0.5, 0.4, 0.6)
    # Two of four bona fide videos are rejected; no answer is a rejection, and an error.
    assert rates(accepted, answered, 1) == (0.2, 0.5, 0.6, 0.6)
    silent = rates(accepted, np.zeros(5, bool), 0)
    assert (silent.silent, silent.rejecting, silent.as_errors) == (1, 0, 1)
    assert np.isnan(silent.of_answered)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=9))
def test_a_gate_never_adds_an_acceptance(rows: list[tuple[bool, bool, bool]]) -> None:
    accepted, answered, passed = (np.array(each) for each in zip(*rows, strict=True))
    before, after = (rates(accepted, each, 0) for each in (answered, answered & passed))
    assert after.rejecting <= before.rejecting
    assert after.silent >= before.silent
    # What it takes from the attacks' acceptances, it may add to their non-responses, never more.
    assert before.rejecting - after.rejecting <= after.silent - before.silent + 1e-12
    assert rates(accepted, answered & passed, 1).rejecting >= rates(accepted, answered, 1).rejecting


def test_refused_test_videos_lose_their_scores_and_thresholds_stay() -> None:
    scores = table()
    refused = {(str(scores.dataset[row]), str(scores.video[row])) for row in range(0, len(scores), 3)}
    gated = behind_gate(scores, refused)
    gone = np.array([pair in refused for pair in zip(scores.dataset.tolist(), scores.video.tolist(), strict=True)])
    gone &= np.asarray(scores.role == TEST)
    assert 0 < gone.sum() < len(scores)
    np.testing.assert_array_equal(gated.answered, ~gone)
    assert set(gated.reason[gone].tolist()) == {REFUSED}
    assert thresholds(gated, "pooled") == thresholds(scores, "pooled")
    held = np.asarray(scores.role == VALIDATION)
    np.testing.assert_array_equal(gated.score[held], scores.score[held])


def test_the_table_is_what_the_metrics_say() -> None:
    scores = table()
    taus = {tuple(key): each.value for key, each in thresholds(scores, "pooled").items()}
    test = scores.select(role=TEST)
    (tau,) = taus.values()
    attack = next(row for row in range(len(test)) if test.label[row] == 0)
    refused = {(str(test.dataset[row]), str(test.video[row])) for row in range(0, len(test), 4)} | {
        (str(test.dataset[attack]), str(test.video[attack]))
    }
    found = species_table(test, refused, taus, "").grid
    gated = behind_gate(test, refused)
    assert len(found.rows) == 1 + len({str(pai) for pai in test.pai[test.label == 0].tolist()})
    assert found.rows[0][2] == "bona fide"
    rejecting = metrics.decision_rates(gated.score >= tau, gated.label, np.asarray(gated.pai))
    answered = gated.rows(gated.answered)
    left = metrics.rates(answered.score, answered.label, tau, np.asarray(answered.pai))
    for row in found.rows:
        mine = np.asarray(test.label == 1) if row[2] == "bona fide" else np.asarray(test.pai == row[2])
        silent = float(np.mean(~gated.answered[mine]))
        out = left.bpcer if row[2] == "bona fide" else left.apcer_by_species[row[2]]
        all_ = rejecting.bpcer if row[2] == "bona fide" else rejecting.apcer_by_species[row[2]]
        worst = all_ if row[2] == "bona fide" else all_ + silent
        assert row[3] == str(mine.sum())
        assert row[4] == "0.0"
        assert row[5:6] + row[7:] == [f"{100 * value:.1f}" for value in (silent, out, all_, worst)]
    undefined = species_table(test, refused, dict.fromkeys(taus, np.nan), "").grid.rows[0]
    assert undefined[5] == found.rows[0][5]
    assert len(set(undefined[6:])) == 1
    assert undefined[6] not in found.rows[0]


@pytest.mark.usefixtures("no_pictures")
def test_a_run_is_judged_behind_the_gate_by_one_command(monkeypatch, tmp_path) -> None:
    scores = table()
    test = scores.select(role=TEST)
    noted: list[str] = []
    experiment = type("E", (), {"evaluation": type("V", (), {"threshold": "pooled", "threshold_from": VALIDATION})})
    keys = sorted(set(zip(test.dataset.tolist(), test.video.tolist(), strict=True)))
    labels = dict(zip(zip(test.dataset.tolist(), test.video.tolist(), strict=True), test.label.tolist(), strict=True))

    def judged(experiment, place, limits, most, wanted):
        videos = [
            dataclasses.replace(video(0, "bonafide" if labels[key] else "print", key[0]), path=key[1]) for key in keys
        ]
        assert all(map(wanted, videos))
        assert not wanted(video(999, "print"))
        # Of every third nothing was decoded; the last is not read.
        return [
            Judged(each, CheckedClip(1, 1, 0.5, ()) if number % 3 else None) for number, each in enumerate(videos[:-1])
        ]

    monkeypatch.setattr(study, "read_run", lambda run: experiment)
    monkeypatch.setattr(study, "read_inputs", lambda run: {})
    monkeypatch.setattr(study, "stored_scores", lambda run, inputs: scores)
    monkeypatch.setattr(study, "open_inputs", lambda run, cache: type("C", (), {"videos": None}))
    monkeypatch.setattr(study, "plan", lambda experiment, videos: [])
    monkeypatch.setattr(study, "record_readings", lambda *options: noted.append(options[2]))
    monkeypatch.setattr(study, "refusals", judged)
    species, figures = study.tabulate_target(tmp_path, Gate(), cache=tmp_path)
    assert noted == ["study"]
    assert sum(int(row[3]) for row in species.grid.rows) == len(keys) - 1
    (row,) = figures.grid.rows
    silent = [number % 3 == 0 for number in range(len(keys) - 1)]
    for place, label in ((2, 0), (3, 1)):
        own = [each for each, key in zip(silent, keys[:-1], strict=True) if labels[key] == label]
        assert row[place].startswith(f"{100 * np.mean(own):.1f}"[:3])
    assert sorted(path.name for path in (tmp_path / "extras").iterdir()) == [
        "gate-target-1.json",
        "gate-target-2.json",
    ]
    monkeypatch.setattr(study, "refusals", lambda *options: [])
    with pytest.raises(UserError, match="none of the test videos"):
        study.tabulate_target(tmp_path, Gate(), cache=tmp_path)
    monkeypatch.setattr(study, "stored_scores", lambda run, inputs: scores.select(role=VALIDATION))
    with pytest.raises(UserError, match="tests on no target"):
        study.tabulate_target(tmp_path, Gate(), cache=tmp_path)
