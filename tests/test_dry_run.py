"""What a dry run says, and where its rates come from."""

import dataclasses
import tomllib

from fas_jax.base.files import write_json
from fas_jax.experiment.configuration import experiment_from_dict, experiment_to_dict
from fas_jax.experiment.dry_run import describe
from fas_jax.experiment.run import CONFIG, FORMAT
from fas_jax.runtime import devices
from fas_jax.training.events import RATE
from tests import tiny_network  # noqa: F401 - it registers the network
from tests.commands import DATA, QUICK

METHODS = f"""
[methods.gru]
kind = "gru"
hidden = 3
{QUICK}
[methods.meta]
kind = "lstm-stack"
over = ["gru"]
hidden = 3
{QUICK}
[methods.net]
kind = "finetune"
network = "tiny"
weights = "random"
steps = 720
[methods.colour]
kind = "colour"
"""


def experiment(tmp_path, **changes):
    found = experiment_from_dict(tomllib.loads(DATA + METHODS), "test")
    return dataclasses.replace(found, cache=str(tmp_path / "cache"), runs=str(tmp_path / "runs"), **changes)


def test_fittings_and_steps_are_counted_and_rates_are_those_of_earlier_runs(tmp_path):
    wanted = experiment(tmp_path)
    lines = describe(wanted)
    told = {line.partition(":")[0]: line for line in lines}
    # Two protocols, and two folds for what the stack reads.
    assert "gru: 6 fittings, at most" in told["gru"]
    assert "meta: 2 fittings, at most" in told["meta"]
    assert "net: 2 fittings, at most 1,440 steps, hours unknown (no run in" in told["net"]
    assert told["colour"] == "colour: 2 fittings, without steps"
    assert "and 3 methods of unknown rate" in lines[-2]
    assert lines[-1].startswith("disk: some ")
    assert not list(tmp_path.iterdir())
    # An earlier run, of another name for the method.
    before = dataclasses.replace(wanted, name="before", methods={"other": wanted.methods["net"]})
    folder = tmp_path / "runs" / "before"
    write_json(folder / CONFIG, {"format": FORMAT, **experiment_to_dict(before)})
    note = folder / "tasks" / "other" / "OCI_to_M seed 0" / "events" / "programs" / "other" / RATE
    about = {"method": "other", "devices": devices.describe(), "steps_per_second": 0.1}
    write_json(note, about)
    told = next(line for line in describe(wanted) if line.startswith("net:"))
    assert "4.0 h at 0.1 steps/s (as in run before, on" in told
    # Of two networks that a method trains one after the other, the mean time of a step counts.
    write_json(note.parents[1] / "other-high" / RATE, about | {"steps_per_second": 0.3})
    told = next(line for line in describe(wanted) if line.startswith("net:"))
    assert "2.7 h at 0.15 steps/s" in told
    (note.parents[1] / "other-high" / RATE).unlink()
    # On other devices, or with other frames, it says nothing.
    write_json(note, about | {"devices": {"platform": "gpu", "device": "another", "count": 8}})
    assert "hours unknown" in next(line for line in describe(wanted) if line.startswith("net:"))
    write_json(note, about)
    smaller = {"whole": dataclasses.replace(wanted.renditions["whole"], size=32)}
    assert "hours unknown" in next(
        line for line in describe(experiment(tmp_path, renditions=smaller)) if "net:" in line
    )
