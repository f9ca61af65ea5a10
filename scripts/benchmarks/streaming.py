"""Measures training on features that stay on disk: memory by the number of clips, and speed; see --help."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fas_jax.base.record import ClipInfo, RenditionInfo, Video
from fas_jax.base.settings import Evaluation, Execution, Folds, Training
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.planning import plan
from fas_jax.experiment.scoring import score
from fas_jax.features.store import FeatureStore, Unit, store_path, unit_name, write_manifest, write_unit
from fas_jax.methods.logistic import Colour, MeanFeature, Metadata
from fas_jax.methods.recurrent import BiLstm, Gru, Lstm
from fas_jax.methods.stack import LstmStack
from fas_jax.models.recurrent import Kind, RecurrentClassifier
from fas_jax.reporting.grid import Grid, markdown
from fas_jax.runtime import cli, devices
from fas_jax.training import streaming
from fas_jax.training.fitting import Clips, Run, Validation, fit
from fas_jax.training.sampling import batched

# Two sources that share what the target leaves.
_SHARES = {"synth-O": 0.45, "synth-C": 0.45, "synth-M": 0.1}
_PER_FILE, _PER_SUBJECT = 64, 16
# What the memory is measured with: every clip of the sources once, by small models, in parts of 16 MB.
_ONCE: Any = {"batch_size": 1024, "max_epochs": 1, "validate_every": 1}
_SETTINGS = Experiment(
    methods={
        "lstm": Lstm(hidden=8, **_ONCE),
        "bilstm": BiLstm(hidden=4, **_ONCE),
        "gru": Gru(hidden=8, **_ONCE),
        "meta": LstmStack(hidden=4, **_ONCE),
        "mean-feature": MeanFeature(),
        "colour": Colour(),
        "metadata": Metadata(),
    },
    training=Execution(resident_mb=1, part_mb=16),
    folds=Folds(count=2),
    evaluation=Evaluation(targets=("M",)),
)


def main(
    counts: tuple[int, ...] = (10_000, 100_000, 1_000_000),
    frames: int = 8,
    dimension: int = 256,
    clips: int = 20_000,
    epochs: int = 5,
    folder: Path | None = None,
    part: Literal["all", "memory", "speed", "write", "train"] = "all",
) -> None:
    """Prints the peak memory of training and scoring by the number of clips, each measured in its own process, and the
    clips a second of a training with 1920-d features on the device and streamed from disk.

    The features are random, float16, in files of 64 clips; they are deleted afterwards.

    Args:
        counts: Clips, for the memory; empty measures none.
        frames: Most frames of a clip.
        dimension: Width of the features, for the memory.
        clips: For the speed; 0 measures none.
        epochs: Of each training whose speed is measured; the first is not counted.
        folder: Where the features are written; default is the system's folder for temporary files.
        part: What is measured. `write` and `train` do one step in `folder`, for the process that measures the memory.
    """
    devices.use_cores()
    if part == "write":
        assert folder is not None
        for number, name in enumerate(_SHARES):
            write_store(folder, name, round(counts[0] * _SHARES[name]), frames, dimension, seed=number)
        return
    if part == "train":
        assert folder is not None
        print(json.dumps(_measure_memory(folder)))
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if part in ("all", "memory"):
            print(markdown(_memory_table(Path(scratch), counts, frames, dimension)), flush=True)
        if part in ("all", "speed"):
            print(markdown(_speed_table(Path(scratch), clips, frames, epochs)), flush=True)


def write_store(out: Path, dataset: str, clips: int, frames: int, dimension: int, seed: int) -> FeatureStore:
    """Writes random features; three quarters of the clips are of the official training split."""
    generator = np.random.default_rng(seed)
    identity = {"dataset": dataset, "clips": clips, "frames": frames, "dimension": dimension, "seed": seed}
    path = store_path(out, dataset, identity)
    noise = generator.normal(size=(_PER_FILE * frames + 999, dimension)).astype(np.float16)
    units: list[Unit] = []
    for start in range(0, clips, _PER_FILE):
        split = ("train", "test", "dev", "train", "train", "train", "train", "train")[len(units) % 8]
        rows = []
        for number in range(start, min(start + _PER_FILE, clips)):
            label, length = number % 2, int(generator.integers(max(1, frames // 2), frames + 1))
            pai = "bonafide" if label else "print"
            name = f"{split}/{number // _PER_SUBJECT:06d}/a_file_of_usual_length_{number:07d}.avi"
            subject = f"{split}-{number // _PER_SUBJECT}"
            video = Video(name, dataset, subject, split, label, pai, pai, "camera", "room")
            colour = tuple(generator.uniform(0, 255, 6).tolist())
            whole = RenditionInfo(tuple(range(29, 30 * length, 30)), colour)
            facts = (30 * length, 25.0, 640, 480, "h264", 100_000 + number, 30 * length)
            rows.append((video, ClipInfo(*facts, renditions={"whole": whole})))
        count = sum(len(info.renditions["whole"].frame_indices) for _, info in rows)
        first = int(generator.integers(999))
        units.append(write_unit(path, unit_name(len(units)), rows, "whole", noise[first : first + count]))
    provenance = {
        "dataset": dataset, "synthetic": True, "complete": False, "dimension": dimension, "prepared": "none",
        "backbone": "noise", "weights": "none", "weights_sha256": "",
    }  # fmt: skip
    return write_manifest(path, identity, provenance, (), units)


def _memory_table(scratch: Path, counts: tuple[int, ...], frames: int, dimension: int) -> Grid:
    rows: list[list[str]] = []
    for count in counts:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            options = ["--folder", folder, "--counts", str(count), "--frames", str(frames), "--dimension"]
            for part in ("write", "train"):
                command = [
                    sys.executable,
                    "-m",
                    "scripts.benchmarks.streaming",
                    "--part",
                    part,
                    *options,
                    str(dimension),
                ]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
        megabytes = [f"{found[name]:,.0f}" for name in ("start", "plan", "train", "score")]
        cells = [f"{count:,}", f"{found['features_mb']:,.0f}", *megabytes]
        rows.append([*cells, *(f"{found[f'{name}_s']:.0f}" for name in ("open", "train", "score"))])
        print(f"{count} clips: {found}", file=sys.stderr, flush=True)
    header = [
        "clips",
        "features, MB",
        "peak at start, MB",
        "plan",
        "train",
        "score",
        "hashing, s",
        "train, s",
        "score, s",
    ]
    return Grid(header, rows)


def _measure_memory(folder: Path) -> dict[str, float]:
    """Peak memory of this process so far, in MB, after each stage; pages of the system's cache are not counted."""
    found: dict[str, float] = {}
    stores = [FeatureStore.open(path) for path in sorted(folder.glob("synth-*"))]
    # Compiles and allocates what does not depend on the clips.
    devices.place(np.zeros(1), devices.one_device())
    found["start"] = _peak()
    corpus = Corpus.of({"whole": stores})
    plans = plan(_SETTINGS, corpus.videos)
    found["plan"] = _peak()
    start = time.perf_counter()
    features, _ = corpus.open().features("whole")
    found["open_s"] = time.perf_counter() - start
    found["features_mb"] = streaming.size(features) / 1e6
    del features
    start = time.perf_counter()
    fitted = fit_methods(_SETTINGS, plans, corpus, folder / "run")
    found["train"], found["train_s"] = _peak(), time.perf_counter() - start
    start = time.perf_counter()
    score(_SETTINGS, plans, corpus, fitted)
    found["score"], found["score_s"] = _peak(), time.perf_counter() - start
    return found


def _peak() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the parent held into ru_maxrss
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _speed_table(scratch: Path, clips: int, frames: int, epochs: int) -> Grid:
    store = write_store(scratch, "synth-O", clips, frames, 1920, seed=0)
    corpus = Corpus.of({"whole": [store]})
    features, _ = corpus.open().features("whole")
    order = np.random.default_rng(0).permutation(clips)
    rows = []
    for name in ("cached", "from disk"):
        if name == "cached" or _forget(store):
            start = time.perf_counter()
            for row in order[:2000]:
                features[row[None]]
            rows.append([f"one row a call, {name}", "", "", f"{2000 / (time.perf_counter() - start):,.0f}", ""])
    cases: tuple[tuple[Kind, int, int, int], ...] = (
        ("gru", 20, 1, clips),
        ("gru", 20, 8, clips),
        ("lstm", 1000, 1, 640),
    )
    for kind, hidden, runs, count in cases:
        every = [Run(str(i), i, order[64:count], order[:64]) for i in range(runs)]
        resident, streamed = (_speed(corpus, every, kind, hidden, epochs, where) for where in (1 << 20, 1))
        cells = [f"{value:,.0f}" for value in (resident, streamed, _input_rate(corpus, every, Training()))]
        plural = "s" if runs > 1 else ""
        rows.append([f"{kind}-{hidden}, {runs} run{plural}", *cells, f"{100 * (1 - streamed / resident):.0f} %"])
    return Grid(["clips a second, all runs together", "on the device", "streamed", "input alone", "slower by"], rows)


def _speed(corpus: Corpus, runs: list[Run], kind: Kind, hidden: int, epochs: int, resident_mb: int) -> float:
    """Clips a second of the median epoch, over all runs."""
    settings = Training(max_epochs=epochs, validate_every=1, resident_mb=resident_mb)
    seen: list[float] = []

    def watch(validation: Validation) -> None:
        seen.append(validation.steps_per_second)

    clips = corpus.open().sequences("whole", resident_mb)
    fit(RecurrentClassifier(kind, 1920, hidden, "he"), runs, clips, settings, watch=watch)
    return float(np.median(seen[1:])) * settings.batch_size


def _input_rate(corpus: Corpus, runs: list[Run], settings: Training) -> float:
    """Clips a second, over all runs, of an epoch's parts without any training."""
    opened = corpus.open()
    clips = Clips(*opened.features("whole"), opened.labels)
    order = batched([run.train for run in runs], settings.batch_size, 1)
    start = time.perf_counter()
    for part, _ in streaming.parts(clips, order, 0, devices.one_device(), settings.part_mb << 20):
        part.features.block_until_ready()
    return sum(len(run.train) for run in runs) / (time.perf_counter() - start)


def _forget(store: FeatureStore) -> bool:
    """Removes the files from the system's cache; False on systems that cannot."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for unit in store.units:
        with (store.path / unit.name).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


if __name__ == "__main__":
    cli.main(main)
