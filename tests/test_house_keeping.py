"""`fas-jax cache` and `fas-jax runs`: what they list, what they remove, and what they leave alone."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.base.locks import locked
from fas_jax.commands import cache as cache_command
from fas_jax.commands import runs as runs_command
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.cache_entries import list_entries, prune
from fas_jax.experiment.configuration import Experiment, experiment_to_dict
from fas_jax.experiment.run_list import list_runs
from fas_jax.studies import comparison

SYNTHESIS = {"subjects": 9, "videos_per_subject": 4, "frames": 12, "scale": 0.05, "seed": 0}


def fill(path: Path, size: int = 1000, days: float = 0.0) -> Path:
    path.mkdir(parents=True)
    (path / "part").write_bytes(bytes(size))
    then = time.time() - 86400 * days
    for each in (path / "part", path):
        os.utime(each, (then, then))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    place = tmp_path / "cache"
    for name, days in (
        ("prepared/M-aaaaaaaaaaaaaaaa", 0),
        ("prepared/O-bbbbbbbbbbbbbbbb", 9),
        ("features/M-cccccccccccccccc", 0),
        ("features/O-dddddddddddddddd", 9),
    ):
        fill(place / name, days=days)
    write_json(
        place / "synthetic" / "eeeeeeeeeeeeeeee" / "msu_mfsd" / "SYNTHETIC.json",
        {"settings": {**SYNTHESIS, "faces": ""}},
    )
    write_json(
        place / "synthetic" / "ffffffffffffffff" / "msu_mfsd" / "SYNTHETIC.json", {"settings": {**SYNTHESIS, "seed": 1}}
    )
    fill(place / "rendered" / "wide-1111111111111111")
    fill(place / "rendered" / "odd-2222222222222222")
    fill(place / "strange" / "ii")
    (place / "targets.jsonl").write_text("{}\n")
    return place


def make_run(folder: Path, cache: Path, trained: bool = True) -> Path:
    """A run on M's entries, with rendered videos and the rendered domain `wide`."""
    tables = {"data": {"synthesize": True}, "synthesis": SYNTHESIS, "rendered": {"wide": {}}}
    write_json(folder / "config.json", {"format": 2, **experiment_to_dict(load_experiment_from(tables))})
    if trained:
        # The cache has been moved since.
        stores = {"whole": [{"path": f"/elsewhere/features/{'M-cccccccccccccccc'}", "fingerprint": "x"}]}
        write_json(folder / "inputs.json", {"stores": stores, "prepared": ["/elsewhere/prepared/M-aaaaaaaaaaaaaaaa"]})
    return folder


def load_experiment_from(tables: dict) -> Experiment:
    from fas_jax.experiment.configuration import experiment_from_dict

    return experiment_from_dict(tables, "a test")


def names(cache: Path) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for kind in cache.iterdir() if kind.is_dir() for path in kind.iterdir()}


NEEDED = {
    "prepared/M-aaaaaaaaaaaaaaaa",
    "features/M-cccccccccccccccc",
    "synthetic/eeeeeeeeeeeeeeee",
    "rendered/wide-1111111111111111",
}
UNUSED = {
    "prepared/O-bbbbbbbbbbbbbbbb",
    "features/O-dddddddddddddddd",
    "synthetic/ffffffffffffffff",
    "rendered/odd-2222222222222222",
}


def test_entries_have_kind_age_size_and_the_runs_that_need_them(cache: Path, tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "runs" / "one", cache)
    entries = {f"{each.kind}/{each.key}": each for each in list_entries(cache, [tmp_path / "runs"])}
    assert entries.keys() == NEEDED | UNUSED
    assert {name for name, each in entries.items() if each.users} == NEEDED
    assert all(each.users == (str(run),) for name, each in entries.items() if name in NEEDED)
    assert entries["prepared/M-aaaaaaaaaaaaaaaa"].bytes == 1000
    assert entries["features/O-dddddddddddddddd"].days == pytest.approx(9, abs=0.1)
    cache_command.main(cache=cache, runs=(tmp_path / "runs",))
    shown = capsys.readouterr().out
    assert "| features | O-dddddddddddddddd | 9.0 | 0.0 MB | no run |" in shown
    assert "8 entries" in shown


def test_only_what_no_run_needs_is_removed_and_only_if_told_to(cache: Path, tmp_path: Path, capsys) -> None:
    make_run(tmp_path / "runs" / "one", cache)
    before = names(cache)
    cache_command.main(cache=cache, runs=(tmp_path / "runs",), prune_unused=True)
    assert "prepared/O-bbbbbbbbbbbbbbbb (0.0 MB): would be removed" in capsys.readouterr().out
    assert names(cache) == before
    assert cache_command.main(cache=cache, runs=(tmp_path / "runs",), prune_unused=True, yes=True, older_than=5) == 0
    assert names(cache) == before - {"prepared/O-bbbbbbbbbbbbbbbb", "features/O-dddddddddddddddd"}
    cache_command.main(cache=cache, runs=(tmp_path / "runs",), prune_unused=True, yes=True)
    assert names(cache) == NEEDED | {"strange/ii"}
    assert (cache / "targets.jsonl").exists()
    # Asked for by name, and said to be in use.
    cache_command.main(("M-cccccccccccccccc",), cache=cache, runs=(tmp_path / "runs",), prune_unused=True, yes=True)
    assert "needed by" in capsys.readouterr().out
    cache_command.main(
        ("M-cccccccccccccccc",), cache=cache, runs=(tmp_path / "runs",), prune_unused=True, yes=True, in_use=True
    )
    assert names(cache) == NEEDED - {"features/M-cccccccccccccccc"} | {"strange/ii"}
    with pytest.raises(UserError, match="has no entry M-cccccccccccccccc"):
        cache_command.main(("M-cccccccccccccccc",), cache=cache, runs=(tmp_path / "runs",), prune_unused=True)
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        cache_command.main(cache=cache, runs=(tmp_path / "nowhere",), prune_unused=True, yes=True)


def test_an_unfinished_run_keeps_everything(cache: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "begun", cache, trained=False)
    found = prune(list_entries(cache, [tmp_path / "runs"]), dry=False)
    assert all(each.kept.startswith("needed by") for each in found)
    assert len(found) == len(NEEDED | UNUSED)


def test_a_run_at_work_keeps_everything(cache: Path, tmp_path: Path) -> None:
    """It may be taking further methods, whose inputs it has not noted yet."""
    run = make_run(tmp_path / "runs" / "one", cache)
    with locked(run):
        assert all(each.users for each in list_entries(cache, [tmp_path / "runs"]))


def test_folders_without_a_key_are_no_entries(tmp_path: Path) -> None:
    """Such as those of a folder that is no cache."""
    for name in ("features/mine", "prepared/O-copy", "rendered/cafe", f"synthetic/{'e' * 15}"):
        fill(tmp_path / name)
    assert list_entries(tmp_path, []) == []


def test_options_that_make_no_sense_are_refused(cache: Path) -> None:
    for given in ({"yes": True}, {"in_use": True}, {"older_than": 3.0}):
        with pytest.raises(UserError, match="add --prune"):
            cache_command.main(cache=cache, runs=(), **given)
    for days in (-1.0, float("nan")):
        with pytest.raises(UserError, match="at least 0"):
            cache_command.main(cache=cache, runs=(), prune_unused=True, yes=True, older_than=days)


def test_an_entry_in_work_stays(cache: Path) -> None:
    """Whether the listing has seen the lock, or the lock was taken after it."""
    with locked(cache / "features" / "O-dddddddddddddddd"):
        seen = list_entries(cache, [])
        assert {each.key for each in seen if each.busy} == {"O-dddddddddddddddd"}
        found = {each.entry.key: each.kept for each in prune(seen, keys=["O-dddddddddddddddd"], dry=False)}
        assert found == {"O-dddddddddddddddd": "a process is using it"}
    entries = list_entries(cache, [])
    # As another process would hold it: this thread would enter its own lock.
    claim = cache / "features" / "O-dddddddddddddddd" / f".lock-{'0' * 12}-1-1-aaaaaaaa"
    claim.write_text("process 1 elsewhere")
    (each,) = prune(entries, keys=["O-dddddddddddddddd"], dry=False)
    assert "in use by process 1" in each.kept
    assert (cache / "features" / "O-dddddddddddddddd" / "part").exists()
    claim.unlink()
    (each,) = prune(entries, keys=["O-dddddddddddddddd"], dry=False)
    assert not each.kept
    assert {path.name for path in (cache / "features").iterdir()} == {"M-cccccccccccccccc"}


def scores(shift: float, seed: int) -> ScoreTable:
    rng = np.random.default_rng(seed)
    count = 60
    label = np.arange(count) % 2
    text = [""] * count
    return ScoreTable(
        protocol=["OCI_to_M"] * count,
        seed=np.zeros(count, int),
        role=["validation" if number < 20 else "test" for number in range(count)],
        model=["gru"] * count,
        video=[f"v{number}" for number in range(count)],
        dataset=["O" if number < 20 else "M" for number in range(count)],
        subject=[f"s{number // 4}" for number in range(count)],
        label=label,
        pai=["bonafide" if each else "print" for each in label],
        pai_fine=text,
        device=text,
        session=text,
        split=text,
        score=1 / (1 + np.exp(-shift * (label - 0.5) - rng.normal(size=count))),
        reason=text,
    )


def evaluated(folder: Path, shift: float, seed: int, hidden: int) -> Path:
    table = scores(shift, seed)
    folder.mkdir(parents=True)
    table.write_csv(folder / "scores.csv")
    write_json(folder / "results.json", evaluate(table).to_json())
    settings = {"methods": {"gru": {"kind": "gru", "hidden": hidden}}}
    write_json(folder / "config.json", {"format": 2, **experiment_to_dict(load_experiment_from(settings))})
    write_json(folder / "inputs.json", {})
    write_json(folder / "provenance.json", {"preset": "strict", "datasets": [], "experiment": settings})
    return folder


def test_runs_are_listed_and_compared(tmp_path: Path, capsys) -> None:
    runs = tmp_path / "runs"
    for name, shift, hidden in (("good", 6, 8), ("bad", 0.5, 16), ("fair", 2, 32)):
        evaluated(runs / name, shift, len(name), hidden)
    write_json(runs / "begun" / "config.json", {"methods": {}, "seeds": [0]})
    found = {each.folder.name: each for each in list_runs(runs)}
    assert {name: each.state for name, each in found.items()} == {
        "bad": "evaluated",
        "begun": "begun",
        "fair": "evaluated",
        "good": "evaluated",
    }
    hter = json.loads((runs / "good" / "results.json").read_text())["summaries"][0]["mean"]["hter"]
    assert found["good"].hter == {"OCI_to_M": ("gru", hter)}
    provenance = json.loads((runs / "fair" / "provenance.json").read_text())
    write_json(runs / "fair" / "provenance.json", {**provenance, "on_target": ["gru"]})
    # What was chosen on the target is nobody's lowest error.
    assert {each.folder.name: each.hter for each in list_runs(runs)}["fair"] == {}
    runs_command.main(runs=runs)
    assert re.search(rf"\| good \| evaluated .* {100 * hter:.1f} \(gru\)", capsys.readouterr().out)
    runs_command.main((Path("good"), Path("bad"), Path("fair")), runs=runs)
    shown = capsys.readouterr().out
    assert "| methods.gru.hidden | 8 | 16 | 32 |" in shown
    # Each difference is that of the two runs alone, whatever else is shown.
    sides = comparison.read_sides(runs / "good", runs / "bad")
    (pair,) = comparison.compare(*sides)
    assert pair.comparison.difference < 0
    (row,) = [line for line in shown.splitlines() if line.startswith("| bad |")]
    assert f"{100 * pair.comparison.difference:+.2f}{pair.comparison.interval.format('+.1f')}" in row
    with pytest.raises(UserError, match="two runs or more"):
        runs_command.main((Path("good"),), runs=runs)
