"""Learning curves are read back by TensorBoard itself, each validation once, whatever interrupted the training."""

import resource
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fas_jax.base.files import read_json
from fas_jax.base.settings import Training
from fas_jax.training import chunks, events, fitting
from fas_jax.training.events import EventFiles
from fas_jax.training.fitting import Validation
from tests.device_trial import ARCHITECTURE, RUNS, clips


def validate(epoch: int, running: int = 2) -> Validation:
    second = np.nan if running < 2 else epoch / 20
    losses = np.array([epoch / 10, second], np.float32)
    return Validation(epoch, losses, losses + 1, losses / 2, running, 100.0 + epoch)


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_reads_every_curve(tmp_path):
    with EventFiles(tmp_path, "gru", ["A to B seed 0", "../b"]) as files:
        for epoch in (1, 300, 70000):
            files(validate(epoch, running=2 if epoch < 70000 else 1))
    first, second = read(tmp_path / "gru" / "A to B seed 0"), read(tmp_path / "gru" / "%2E%2E%2Fb")
    assert first["loss/train"] == [(epoch, pytest.approx(epoch / 10)) for epoch in (1, 300, 70000)]
    assert first["loss/validation"][0] == (1, pytest.approx(1.1))
    assert first["accuracy/validation"][1] == (300, pytest.approx(15))
    assert [step for step, _ in second["loss/train"]] == [1, 300]
    shared = read(tmp_path / "programs" / "gru")
    assert shared["runs finished"] == [(1, 0), (300, 0), (70000, 1)]
    assert shared["steps per second"][0] == (1, 101)
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")} == {"gru", "programs"}


def test_the_speed_is_kept_with_where_it_was_reached(tmp_path):
    with EventFiles(tmp_path, "gru", ["a", "b"], {"method": "gru"}) as files:
        for epoch in (1, 20, 30, 40):
            files(validate(epoch))
    # Without the first one, which compiles.
    known = read_json(tmp_path / "programs" / "gru" / events.RATE)
    assert known == {"method": "gru", "steps_per_second": 130}


def test_what_a_kill_left_is_cut_off_and_nothing_is_written_twice(tmp_path):
    with EventFiles(tmp_path, "gru", ["a", "b"]) as files:
        for epoch in (1, 2, 3):
            files(validate(epoch))
    (path,) = (tmp_path / "gru" / "a").iterdir()
    whole = path.read_bytes()
    lengths = []
    while sum(lengths) < len(whole):
        lengths.append(struct.unpack_from("<Q", whole, sum(lengths))[0] + 16)
    assert len(lengths) == 4
    for left in range(len(whole) + 1):
        path.write_bytes(whole[:left])
        kept = sum(sum(lengths[: i + 1]) <= left for i in range(len(lengths)))
        assert events._scan(path.read_bytes()) == (sum(lengths[:kept]), kept - 1)
    for left in (0, 5, lengths[0], lengths[0] + 3, sum(lengths[:2]), len(whole) - 1):
        path.write_bytes(whole[:left])
        with EventFiles(tmp_path, "gru", ["a", "b"]) as files:
            for epoch in (1, 2, 3, 4):
                files(validate(epoch))
        for name in "ab":
            assert [step for step, _ in read(tmp_path / "gru" / name)["loss/train"]] == [1, 2, 3, 4]
        path.write_bytes(whole)


def test_many_curves_need_no_threads_and_no_open_files(tmp_path):
    """The files of whole libraries' writers would be open all the while, each with a thread of its own."""
    names = [f"run {number}" for number in range(40)]
    threads, limits = threading.active_count(), resource.getrlimit(resource.RLIMIT_NOFILE)
    losses = np.ones(len(names), np.float32)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 10, limits[1]))
    try:
        with EventFiles(tmp_path, "gru", names) as files:
            for epoch in (1, 2):
                files(Validation(epoch, losses, losses, losses, len(names), 1.0))
                files._write()
            assert threading.active_count() == threads
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [step for step, _ in read(tmp_path / "gru" / names[-1])["loss/train"]] == [1, 2]


@pytest.mark.parametrize("kept", [True, False])
def test_a_training_that_goes_on_continues_its_curves(tmp_path, monkeypatch, kept):
    """Also where the curves were lost: what was seen before comes from the checkpoint."""
    settings = Training(
        batch_size=12, max_epochs=8, validate_every=1, patience=99, learning_rate=1e-2, checkpoint_every=3
    )

    def train(folder: Path) -> None:
        chunks.train_in_chunks("gru", ARCHITECTURE, RUNS, clips(), settings, folder=folder)

    train(tmp_path / "whole")
    write = EventFiles.__call__

    def stop(files: EventFiles, seen: Validation) -> None:
        write(files, seen)
        if seen.epoch == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(EventFiles, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken")
    monkeypatch.setattr(EventFiles, "__call__", write)
    curve = Path("events") / "gru-0000" / RUNS[0].name
    assert [step for step, _ in read(tmp_path / "broken" / curve)["loss/train"]] == [1, 2, 3, 4, 5]
    if not kept:
        for path in (tmp_path / "broken" / "events").rglob("*fas_jax"):
            path.unlink()
    train(tmp_path / "broken")
    assert len(read(tmp_path / "whole" / curve)["loss/train"]) == 8
    assert read(tmp_path / "broken" / curve) == read(tmp_path / "whole" / curve)
    shared = read(tmp_path / "broken" / "events" / "programs" / "gru-0000")
    assert shared["runs finished"] == [(epoch, 0) for epoch in range(1, 8)] + [(8, 2)]


def test_no_curves_where_they_are_not_wanted(tmp_path):
    settings = Training(batch_size=12, max_epochs=1, validate_every=1, events=False)
    chunks.train_in_chunks("gru", ARCHITECTURE, RUNS, clips(), settings, folder=tmp_path)
    assert not (tmp_path / "events").exists()


def test_looks_before_a_resumption_are_told_again(tmp_path):
    settings = Training(batch_size=12, max_epochs=4, validate_every=1, patience=1, learning_rate=1e-2)
    seen: list[Validation] = []
    fitting.fit(ARCHITECTURE, RUNS, clips(), settings, watch=seen.append)
    assert [each.epoch for each in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].running == 0
    assert all(each.steps_per_second > 0 for each in seen)
