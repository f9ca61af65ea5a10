"""A run behind the gate: refusals are non-responses, and only take away."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.commands.gate_table import main as command
from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.pixels.gate.checks import CheckedClip
from fas_jax.pixels.gate.settings import Gate
from fas_jax.reporting.extra_tables import ExtraTable, read_extra_tables
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.studies import gate_table
from fas_jax.studies import gate_target as study
from fas_jax.studies.gate_table import Judged
from fas_jax.studies.gate_target import NOT_DECODED, REFUSED, behind_gate, figures_table, rates, species_table
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
    refused = {
        (str(scores.dataset[row]), str(scores.video[row])): NOT_DECODED if row % 2 else REFUSED
        for row in range(0, len(scores), 3)
    }
    gated = behind_gate(scores, refused)
    gone = np.array([pair in refused for pair in zip(scores.dataset.tolist(), scores.video.tolist(), strict=True)])
    gone &= np.asarray(scores.role == TEST)
    assert 0 < gone.sum() < len(scores)
    np.testing.assert_array_equal(gated.answered, ~gone)
    expected = [refused[str(scores.dataset[row]), str(scores.video[row])] for row in np.flatnonzero(gone)]
    assert gated.reason[gone].tolist() == expected
    assert set(expected) == {REFUSED, NOT_DECODED}
    assert thresholds(gated, "pooled") == thresholds(scores, "pooled")
    held = np.asarray(scores.role == VALIDATION)
    np.testing.assert_array_equal(gated.score[held], scores.score[held])


def test_the_table_is_what_the_metrics_say() -> None:
    scores = table()
    taus = {tuple(key): each.value for key, each in thresholds(scores, "pooled").items()}
    test = scores.select(role=TEST)
    (tau,) = taus.values()
    attack = next(row for row in range(len(test)) if test.label[row] == 0)
    refused = {(str(test.dataset[row]), str(test.video[row])): REFUSED for row in range(0, len(test), 4)}
    refused[str(test.dataset[attack]), str(test.video[attack])] = NOT_DECODED
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
        assert row[4] == str(int(row[2] == str(test.pai[attack])))
        assert row[5] == "0.0"
        assert row[6:7] + row[8:] == [f"{100 * value:.1f}" for value in (silent, out, all_, worst)]
    undefined = species_table(test, refused, dict.fromkeys(taus, np.nan), "").grid.rows[0]
    assert undefined[6] == found.rows[0][6]
    assert len(set(undefined[7:])) == 1
    assert undefined[7] not in found.rows[0]


@pytest.mark.parametrize("label", [0, 1, None])
def test_where_all_of_a_class_is_refused_the_figures_are_undefined(label: int | None) -> None:
    scores = table()
    test = scores.select(role=TEST)
    gone = {
        (str(test.dataset[row]), str(test.video[row])): REFUSED
        for row in range(len(test))
        if label is None or test.label[row] == label
    }
    found = figures_table(scores, behind_gate(scores, gone), "pooled", VALIDATION, "These.")
    (without, behind) = found.grid.rows
    assert (without[2], behind[2], without[:2]) == ("without", "with", behind[:2])
    assert UNDEFINED not in without[3:6]
    assert set(behind[3:]) == {UNDEFINED}
    assert found.text.startswith("These. With the gate there are none: nothing can be evaluated")
    nothing = figures_table(behind_gate(scores, gone), behind_gate(scores, gone), "pooled", VALIDATION, "")
    assert [row[2:] for row in nothing.grid.rows] == [["without", UNDEFINED], ["with", UNDEFINED]]


class Target:
    """A run whose target's test videos are at hand, but for the last; `found` says what the gate does with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: Callable[[int], CheckedClip | None]) -> None:
        self.scores = table()
        self.test = test = self.scores.select(role=TEST)
        self.done: list[str] = []
        keys = zip(test.dataset.tolist(), test.video.tolist(), strict=True)
        self.labels = dict(sorted(zip(keys, test.label.tolist(), strict=True)))
        self.keys = list(self.labels)[:-1]
        evaluation = type("V", (), {"threshold": "pooled", "threshold_from": VALIDATION})
        experiment = type("E", (), {"evaluation": evaluation})

        def listed(experiment, place, most, wanted):
            self.done.append("listed")
            videos = [
                dataclasses.replace(video(0, "bonafide" if self.labels[key] else "print", key[0]), path=key[1])
                for key in self.keys
            ]
            assert all(map(wanted, videos))
            assert not wanted(video(999, "print"))
            return [(None, videos)]

        def refusals(experiment, limits, chosen):
            self.done.append("read")
            return [Judged(each, found(number)) for number, each in enumerate(chosen[0][1])]

        monkeypatch.setattr(study, "read_run", lambda run: experiment)
        monkeypatch.setattr(study, "read_inputs", lambda run: {})
        monkeypatch.setattr(study, "stored_scores", lambda run, inputs: self.scores)
        monkeypatch.setattr(study, "open_inputs", lambda run, cache: type("C", (), {"videos": None}))
        monkeypatch.setattr(study, "plan", lambda experiment, videos: [])
        monkeypatch.setattr(study, "record_readings", lambda *options: self.done.append(options[2]))
        monkeypatch.setattr(study, "listed", listed)
        monkeypatch.setattr(study, "refusals", refusals)


PASSED, FAILED = CheckedClip(1, 1, 0.5, ()), CheckedClip(1, 0, 0.5, ())


@pytest.mark.usefixtures("no_pictures")
def test_a_run_is_judged_behind_the_gate_by_one_command(monkeypatch, tmp_path) -> None:
    # Of every third nothing was decoded; the last is not at hand.
    target = Target(monkeypatch, lambda number: PASSED if number % 3 else None)
    keys = target.keys
    held: list[bool] = []
    written = study.write_extra_table

    def write(run, name, made) -> None:
        # As another process would see it.
        held.append(any(path.name.startswith(".lock") for path in run.iterdir()))
        written(run, name, made)

    monkeypatch.setattr(study, "write_extra_table", write)
    species, figures = study.tabulate_target(tmp_path, Gate(), cache=tmp_path)
    assert held == [True, True]
    assert target.done == ["listed", "study", "read"]
    assert sum(int(row[3]) for row in species.grid.rows) == len(keys)
    silent = [number % 3 == 0 for number in range(len(keys))]
    assert sum(int(row[4]) for row in species.grid.rows) == sum(silent)
    assert species.text.startswith(f"{len(keys)} of the {len(keys) + 1} test videos of the targets, judged")
    without, behind = figures.grid.rows
    assert (without[2], behind[2]) == ("without", "with")
    for place, label in ((3, 0), (4, 1)):
        own = [each for each, key in zip(silent, keys, strict=True) if target.labels[key] == label]
        assert behind[place].startswith(f"{100 * np.mean(own):.1f}"[:3])
        assert without[place].startswith("0.0")
    # The report shows the rates by species first, to whose videos the other table refers.
    assert [each.grid.header[2] for each in read_extra_tables(tmp_path)] == ["species", "gate"]
    sampled, _ = study.tabulate_target(tmp_path, Gate(), most=5, cache=tmp_path)
    assert "targets (a sample: at most 5 of each dataset and PAI species), judged" in sampled.text


@pytest.mark.usefixtures("no_pictures")
def test_what_was_read_is_written_where_nothing_passes(monkeypatch, tmp_path) -> None:
    Target(monkeypatch, lambda number: FAILED)
    study.tabulate_target(tmp_path, Gate(), cache=tmp_path)
    species, figures = read_extra_tables(tmp_path)
    assert {row[6] for row in species.grid.rows} == {"100.0"}
    assert "nothing can be evaluated" in figures.text


@pytest.mark.usefixtures("no_pictures")
def test_what_cannot_be_read_is_not_noted_as_read(monkeypatch, tmp_path) -> None:
    target = Target(monkeypatch, lambda number: PASSED)
    monkeypatch.setattr(study, "listed", lambda *options: [])
    with pytest.raises(UserError, match="none of the test videos"):
        study.tabulate_target(tmp_path, Gate(), cache=tmp_path)

    def moved(*options):
        raise UserError("no such folder")

    monkeypatch.setattr(study, "listed", moved)
    with pytest.raises(UserError, match="no such folder"):
        study.tabulate_target(tmp_path, Gate(), cache=tmp_path)
    monkeypatch.setattr(study, "stored_scores", lambda run, inputs: target.scores.select(role=VALIDATION))
    with pytest.raises(UserError, match="tests on no target"):
        study.tabulate_target(tmp_path, Gate(), cache=tmp_path)
    assert target.done == []


def test_the_command_judges_all_videos_of_a_target_and_some_of_training(monkeypatch, tmp_path) -> None:
    asked: list[int] = []
    made = ExtraTable("", "", Grid(["a"], [["b"]]))
    monkeypatch.setattr(study, "tabulate_target", lambda run, limits, most, cache: asked.append(most) or (made, made))
    monkeypatch.setattr(gate_table, "tabulate", lambda run, limits, most, cache: asked.append(most) or made)
    command(tmp_path, target=True)
    command(tmp_path)
    command(tmp_path, target=True, most=7)
    command(tmp_path, most=0)
    assert asked == [0, 20, 7, 0]
    with pytest.raises(UserError, match="most"):
        command(tmp_path, most=-1)
