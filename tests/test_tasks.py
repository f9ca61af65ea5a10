"""Tasks of a job array: numbered, independent, and together what one command gives, bit for bit."""

import dataclasses
import json
import shutil
import tomllib

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.experiment import stages, tasks
from fas_jax.experiment.collecting import collect
from fas_jax.experiment.configuration import experiment_from_dict
from fas_jax.experiment.results import report
from fas_jax.methods.base import Desk, Job
from fas_jax.methods.data import WHOLE, Task
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.recurrent import Gru
from fas_jax.methods.registry import PAPER, method_from_dict
from tests import tiny_network  # noqa: F401 - it registers the network
from tests.commands import DATA, QUICK
from tests.framed_corpus import FramedCorpus
from tests.synthetic_stores import make_stores

# Whole runs and many processes: too long for the default suite.
pytestmark = pytest.mark.slow

TRAINED = """
network = "tiny"
weights = "random"
steps = 2
validate_every = 1
warm_up = 0
per_class = 2
"""
METHODS = f"""
[methods.meta]
kind = "lstm-stack"
over = ["gru", "net"]
hidden = 3
{QUICK}
[methods.gru]
kind = "gru"
hidden = 3
{QUICK}
[methods.net]
kind = "finetune"
{TRAINED}
[methods.mean-feature]
kind = "mean-feature"
"""
# What trains two networks, and one, and what learns from their scores of clips.
EXPERTS = f"""
[renditions.tiles]
segment = 6
max_frames = 1
size = 32
tiles = 4
[renditions.burst]
segment = 6
max_frames = 1
size = 32
burst = 3
bursts = 1
[methods.patches]
kind = "patches"
high_network = "tiny"
low_from = 1
low_to = 1000
high_from = 1
{TRAINED}
[methods.motion]
kind = "motion"
hidden = 2
{TRAINED.replace('network = "tiny"', "")}
[methods.tree]
kind = "tree"
over = ["patches", "motion"]
[methods.tree-by-source]
kind = "tree"
over = ["motion"]
folds_by = "source"
"""
LIGHT = {name: method_from_dict(name, {"kind": name}, "test") for name in ("mean-feature", "metadata")}
CHANGING = ("timings.json", "provenance.json", "report.md", "report.html")  # they hold seconds


def experiment(cache, runs, **changes):
    found = experiment_from_dict(tomllib.loads(DATA + METHODS), "test")
    # Heads one by one, as tasks train them.
    training = dataclasses.replace(found.training, runs_per_program=1)
    return dataclasses.replace(found, cache=str(cache), runs=str(runs), training=training, **changes)


def files(run):
    """The bytes of all that a run holds, but for its tasks, its curves, which hold times, and what holds seconds."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_file() and path.name not in CHANGING and name.split("/")[0] not in ("tasks", "events"):
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(tiny_cache, tmp_path_factory):
    """What one command gives."""
    (tiny_cache / "targets.jsonl").unlink(missing_ok=True)
    run = stages.train(experiment(tiny_cache, tmp_path_factory.mktemp("whole")))
    return report(run.folder)


def test_tasks_in_any_order_are_one_run(whole, tiny_cache, tmp_path):
    (tiny_cache / "targets.jsonl").unlink(missing_ok=True)
    wanted = experiment(tiny_cache, tmp_path / "runs")
    every, known = tasks.list_tasks(wanted)
    assert not (tmp_path / "runs").exists()
    assert not known
    assert [(each.number, each.method, each.plan, each.after) for each in every] == [
        (0, "gru", "OCI_to_M seed 0", ()),
        (1, "gru", "OCM_to_I seed 0", ()),
        (2, "net", "OCI_to_M seed 0", ()),
        (3, "net", "OCM_to_I seed 0", ()),
        (4, "meta", "OCI_to_M seed 0", (0, 2)),
        (5, "meta", "OCM_to_I seed 0", (1, 3)),
        (6, "mean-feature", "OCI_to_M seed 0", ()),
        (7, "mean-feature", "OCM_to_I seed 0", ()),
    ]
    run = tmp_path / "runs" / "tiny"
    with pytest.raises(UserError, match=r"task 5 \(meta, OCM_to_I seed 0\) reads scores .* not done: 1,3"):
        tasks.run_task(wanted, 5)
    with pytest.raises(UserError, match="there is no task 8: this experiment has the tasks 0 to 7"):
        tasks.run_task(wanted, 8)
    for number in (3, 6, 1, 5, 0):
        assert tasks.run_task(wanted, number) == ""
    with pytest.raises(UserError, match=r"3 of 8 tasks .* not done: 2 net, OCI_to_M seed 0; 4 meta.*for 2,4,7"):
        collect(run)
    assert not (run / "detectors").exists()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}
    for number in (7, 2, 4, 3):
        assert tasks.run_task(wanted, number) == ""
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert tasks.list_tasks(wanted)[1] == dict.fromkeys(range(8), "done")
    collect(run)
    assert_the_same(whole, run)
    # Together they are a run like any other: one command finds everything there.
    shutil.rmtree(run / "tasks")
    models = {path: path.stat().st_mtime_ns for path in (run / "models").iterdir()}
    stages.train(wanted)
    assert {path: path.stat().st_mtime_ns for path in (run / "models").iterdir()} == models


@pytest.mark.parametrize(
    "method",
    [
        Finetune(network="tiny", weights="random", steps=1, validate_every=1, warm_up=0, per_class=2),
        Gru(hidden=2, max_epochs=1, validate_every=1),
    ],
    ids=lambda method: method.kind,
)
def test_the_file_of_a_model_is_the_same_beside_other_clips(method, tmp_path):
    """A task opens the clips of its plan alone, and one command those of all plans."""
    corpus = FramedCorpus.of({"whole": make_stores(tmp_path / "stores")})
    own = np.flatnonzero(np.asarray(corpus.videos.dataset) != "synth-O")
    found = []
    for number, opened in enumerate((None, own)):
        clips = corpus.open(opened)
        train, validation = (clips.find(part) for part in (own[::2], own[1::2]))
        task = Task(0, "CIM_to_O seed 0", "CIM_to_O", 0, WHOLE, train, validation, validation)
        desk = Desk("net", Execution(events=False, run_devices=1), tmp_path / str(number), data="made up")
        method.fit([Job(method, task)], clips, desk)
        (path,) = (tmp_path / str(number) / "models").iterdir()
        found.append(path.read_bytes())
        # Among other clips, they have other places.
        assert train[0] == (0 if opened is not None else 32)
    assert found[0] == found[1]


def test_tasks_without_networks_are_one_run_too(tiny_cache, tmp_path):
    """Quick: methods that compile nothing."""
    wanted = [experiment(tiny_cache, tmp_path / name) for name in ("one", "other")]
    wanted = [dataclasses.replace(each, methods=LIGHT) for each in wanted]
    (tiny_cache / "targets.jsonl").unlink(missing_ok=True)
    whole = report(stages.train(wanted[0]).folder)
    (tiny_cache / "targets.jsonl").unlink()
    for number in (2, 0, 3):
        assert tasks.run_task(wanted[1], number) == ""
    run = tmp_path / "other" / "tiny"
    with pytest.raises(UserError, match=r"1 of 4 tasks .* not done: 1 mean-feature, OCM_to_I seed 0.*for 1"):
        collect(run)
    tasks.run_task(wanted[1], 1)
    collect(run)
    assert_the_same(whole, run)


def test_tasks_of_experts_are_one_run_too(tmp_path):
    """A method may train several networks, under names that no one else knows; verdicts cut folds in two ways."""
    data = DATA.replace("scale = 0.05", "scale = 0.15").replace("subjects = 9", "subjects = 6")
    data = data.replace('"efficientnet_lite0"\nweights = "random"', '"none"')  # nothing reads features
    found = experiment_from_dict(tomllib.loads(data + EXPERTS), "test")
    one, other = (dataclasses.replace(found, cache=str(tmp_path / "cache"), runs=str(tmp_path / n)) for n in "ab")
    whole = report(stages.train(one).folder)
    (tmp_path / "cache" / "targets.jsonl").unlink()
    for each in tasks.list_tasks(other)[0]:
        assert tasks.run_task(other, each.number) == ""
    run = tmp_path / "b" / "tiny"
    collect(run)
    assert_the_same(whole, run)
    models = {path.name.rpartition("-")[0] for path in (run / "models").iterdir()}
    assert models == {"patches-low", "patches-high", "motion"}


def assert_the_same(whole, run):
    """The same files with the same bytes, and curves of the same trainings."""
    one, other = files(whole), files(run)
    one.pop("config.json"), other.pop("config.json")  # they name the folder of runs
    assert one.keys() == other.keys()
    assert not [name for name, content in one.items() if other[name] != content]
    curves = [
        {path.parent.relative_to(each / "events") for path in (each / "events").rglob("events.out*")}
        for each in (whole, run)
    ]
    assert curves[0] == curves[1]


def test_a_task_that_failed_is_marked_and_named(tiny_cache, tmp_path, capsys):
    net = method_from_dict(
        "net", {"kind": "gru", "hidden": 2, "max_epochs": 4, "validate_every": 1, "learning_rate": 3e38}, "test"
    )
    wanted = experiment(tiny_cache, tmp_path, methods={"net": net})
    with pytest.warns(UserWarning, match="no longer finite"):
        reason = tasks.run_task(wanted, 1)
    assert "no longer finite" in reason
    assert tasks.list_tasks(wanted)[1] == {1: reason}
    # The failure stays, and is not tried again.
    assert tasks.run_task(wanted, 1) == reason


def test_methods_that_join_later_get_the_numbers_behind(tiny_cache, tmp_path):
    wanted = experiment(tiny_cache, tmp_path)
    before = tasks.list_tasks(wanted)[0]
    more = dataclasses.replace(wanted, methods={**wanted.methods, "late": method_from_dict("late", PAPER["gru"], "t")})
    after = tasks.list_tasks(more)[0]
    assert after[: len(before)] == before
    assert {each.method for each in after[len(before) :]} == {"late"}


def test_numbers_are_written_as_slurm_reads_them():
    assert tasks.numbers([7, 0, 1, 2, 3]) == "0-3,7"
    assert tasks.numbers([]) == ""


def test_done_is_noted_with_what_it_was_done_from(tiny_cache, tmp_path):
    """A note of other settings is none."""
    wanted = dataclasses.replace(experiment(tiny_cache, tmp_path), methods=LIGHT)
    tasks.run_task(wanted, 0)
    (task, *_), known = tasks.list_tasks(wanted)
    assert known == {0: "done"}
    note = task.folder(tmp_path / "tiny") / tasks.DONE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"key": "another"}))
    assert tasks.list_tasks(wanted)[1] == {}
