"""Who has read which target, and what is sealed."""

import dataclasses
import multiprocessing
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Evaluation
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.ledger import LEDGER, Before, Ledger, Reading, check_seals, record_readings, record_study
from fas_jax.experiment.planning import plan
from fas_jax.protocols.presets import leave_one_out
from fas_jax.reporting.notes import _read_before
from tests.populations import population

VIDEOS = {"M": (5, 5, 5), "C": (5, 5, 5), "I": (5, 5, 5), "O": (5, 5, 5)}


def reading(target="M", settings="a"):
    return Reading(target, ("OCI_to_M",), "test", "run", settings, "0", "2026-01-01T00:00:00+00:00")


def experiment(tmp_path, **evaluation):
    return Experiment(cache=str(tmp_path), evaluation=dataclasses.replace(Evaluation(), **evaluation))


def test_readings_are_counted_by_target_and_by_settings(tmp_path):
    ledger = Ledger(tmp_path / "cache")
    assert ledger.before("M") == Before("M", 0, 0)
    ledger.record([reading(), reading(), reading(settings="b"), reading("C")])
    assert ledger.before("M") == Before("M", 3, 2)
    assert ledger.before("C") == Before("C", 1, 1)


def append(folder, count):
    for _ in range(count):
        Ledger(folder).record([reading()])


@pytest.mark.slow
def test_lines_of_several_processes_do_not_mix(tmp_path):
    writers = [multiprocessing.get_context("spawn").Process(target=append, args=(tmp_path, 20)) for _ in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
        assert each.exitcode == 0
    assert Ledger(tmp_path).before("M").readings == 60


def test_a_torn_last_line_costs_only_itself_and_damage_elsewhere_is_an_error(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.record([reading(), reading()])
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-9])
    assert ledger.before("M").readings == 1
    ledger.record([reading()])
    assert ledger.before("M").readings == 2
    ledger.path.write_bytes(b"x" + whole)
    with pytest.raises(UserError, match="line 1: not a line"):
        ledger.before("M")


def test_a_sealed_target_is_read_only_by_who_names_it(tmp_path):
    protocols = leave_one_out("strict", ("M", "C"), tuple(VIDEOS))
    check_seals(experiment(tmp_path), protocols)
    with pytest.raises(UserError, match=r"M: sealed in .*--evaluation.open-sealed M"):
        check_seals(experiment(tmp_path, sealed=("M",)), protocols)
    # The seal is the cache's, not the configuration's.
    with pytest.raises(UserError, match=r"--evaluation.open-sealed M"):
        check_seals(experiment(tmp_path), protocols)
    check_seals(experiment(tmp_path), [each for each in protocols if each.target != "M"])
    check_seals(experiment(tmp_path, open_sealed=("M",)), protocols)
    with pytest.raises(UserError, match="--open-sealed M"):
        record_study("audit", [tmp_path / "features" / "M-1"], ["M"], ())
    record_study("audit", [tmp_path / "features" / "M-1", tmp_path / "features" / "C-1"], ["M"], ["M"])
    assert Ledger(tmp_path).before("M").readings == 1


def test_a_run_records_each_target_once_with_all_that_decides_its_results(tmp_path):
    one = experiment(tmp_path, targets=("M", "C"))
    plans = plan(dataclasses.replace(one, seeds=(0, 1)), table())
    assert record_readings(one, plans, "test", tmp_path) == [Before("M", 0, 0), Before("C", 0, 0)]
    assert record_readings(one, plans, "test", tmp_path)[0] == Before("M", 1, 1)
    other = dataclasses.replace(one, seeds=(7,))
    record_readings(other, plans, "oracle", tmp_path)
    assert Ledger(tmp_path).before("M") == Before("M", 3, 2)
    assert len((tmp_path / LEDGER).read_text().splitlines()) == 6


def table():
    from fas_jax.base.video_table import VideoTable

    return VideoTable.of(population(**VIDEOS))


@pytest.mark.parametrize(
    ("readings", "settings", "said"),
    [(0, 0, "no run on this cache had read it before"), (1, 1, "once before, with one setting"),
     (5, 2, "5 times before, with 2 different settings")],
)  # fmt: skip
def test_reports_say_how_often_a_target_had_been_read(readings, settings, said):
    assert said in _read_before({"target": "M", "readings": readings, "settings": settings})


def test_a_ledger_is_found_beside_the_features(tmp_path):
    record_study("audit", [tmp_path / "features" / "M-1"], ["M"], ())
    assert Path(tmp_path / LEDGER).exists()
