"""Small feature stores made of numbers, so that what comes after the features is tested without videos."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.record import ATTACK, BONA_FIDE, ClipInfo, Failure, RenditionInfo, Video
from fas_jax.base.settings import Evaluation, Folds
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment import planning, scoring
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import Fitted, fit_methods
from fas_jax.features.store import FeatureStore, store_path, write_manifest, write_unit
from fas_jax.methods.base import Method
from fas_jax.methods.logistic import Colour, MeanFeature, Metadata
from fas_jax.methods.recurrent import BiLstm, Gru, Lstm
from fas_jax.methods.stack import LstmStack

DIMENSION = 6
SPLITS = ("train", "dev", "test")


def methods(**optimisation: Any) -> dict[str, Method]:
    """The default methods, small and quick; all networks with these settings of their optimisation."""
    quick = {"batch_size": 16, "max_epochs": 40, "validate_every": 4, "patience": 40, "monitor": "loss"}
    own = {"learning_rate": 1e-2, **quick, **optimisation}
    return {
        "lstm": Lstm(hidden=6, **own),
        "bilstm": BiLstm(hidden=4, **own),
        "gru": Gru(hidden=5, **own),
        "meta": LstmStack(hidden=4, **own),
        "mean-feature": MeanFeature(),
        "colour": Colour(),
        "metadata": Metadata(),
    }


def experiment(**changes: Any) -> Experiment:
    """Small and quick settings."""
    settings = {"methods": methods(), "folds": Folds(count=2), "evaluation": Evaluation(targets=("M", "C"))}
    return Experiment(**{**settings, **changes})


@dataclass(frozen=True)
class Outcome:
    """What an experiment made of some stores."""

    corpus: Corpus
    plans: tuple[planning.Plan, ...]
    fitted: Fitted
    scores: ScoreTable


def outcome(settings: Experiment, made: Sequence[FeatureStore], folder: Path) -> Outcome:
    """Fits an experiment's methods on the stores of rendition `whole`, in a run's folder, and scores."""
    corpus = Corpus.of({"whole": made})
    plans = planning.plan(settings, corpus.videos)
    fitted = fit_methods(settings, plans, corpus, folder)
    return Outcome(corpus, plans, fitted, scoring.score(settings, plans, corpus, fitted))


def clip_info(
    frames: int,
    *,
    colour: tuple[float, ...] = (0.1, 0.2, 0.3, 1 / 3, 1e-9, 200.5),
    reasons: dict[str, str] | None = None,
    **facts,
) -> ClipInfo:
    """A clip with so many frames in its rendition `whole`, every tenth of its video; `reasons` names renditions that
    could not be made, and why."""
    whole = RenditionInfo(tuple(range(0, 10 * frames, 10)), colour)
    lacking = {name: RenditionInfo(no_face=1, reason=reason) for name, reason in (reasons or {}).items()}
    known = {"frame_count": 10 * frames, "fps": 25.0, "width": 320, "height": 240, "codec": "h264", "file_bytes": 1000}
    known |= {"announced_frames": 10 * frames}
    return ClipInfo(**{**known, **facts}, renditions={"whole": whole, **lacking})


def videos(dataset: str, subjects: int = 4) -> list[Video]:
    """Each split has `subjects` subjects of its own with two bona fide videos and two attacks each."""
    found = []
    for split in SPLITS:
        for subject in range(subjects):
            for number in range(4):
                label = BONA_FIDE if number < 2 else ATTACK
                pai = "bonafide" if label else ("print", "replay")[number % 2]
                who = f"{split}-{subject}"
                path = f"{split}/{who}/{number}.avi"
                found.append(Video(path, dataset, who, split, label, pai, pai, "camera", "room"))
    return found


def make_store(
    out: Path,
    dataset: str,
    shift: float = 1.0,
    seed: int = 0,
    failures: tuple[Failure, ...] = (),
    scramble: bool = False,
) -> FeatureStore:
    """A finished store; `shift` is what bona fide clips have more in each feature. Of `failures` it takes its own.

    `scramble` turns the labels and features of the official test videos into noise.
    """
    rng = np.random.default_rng([seed, *dataset.encode()])
    rows, features = [], []
    failures = tuple(failure for failure in failures if failure.video.dataset == dataset)
    failed = {failure.video.path for failure in failures}
    for video in videos(dataset):
        length = int(rng.integers(1, 5))
        values = rng.normal(size=(length, DIMENSION)) + shift * video.label
        colour = tuple(float(value) for value in rng.uniform(0, 255, 6))
        if scramble and video.split == "test":
            label = int(video.path.endswith(("0.avi", "2.avi")))
            pai = "bonafide" if label else "print"
            video = dataclasses.replace(video, label=label, pai=pai, pai_fine=pai)
            values = rng.normal(size=values.shape) * 50
        if video.path not in failed:
            rows.append((video, clip_info(length, colour=colour, file_bytes=1000 + length)))
            features.append(values.astype(np.float32))
    identity = {"dataset": dataset, "seed": seed, "scramble": scramble, "failures": sorted(failed)}
    path = store_path(out, dataset, identity)
    unit = write_unit(path, "00000.safetensors", rows, "whole", np.concatenate(features))
    provenance = {
        "dataset": dataset,
        "synthetic": dataset.startswith("synth-"),
        "complete": False,
        "dimension": DIMENSION,
        "prepared": "none",
        "rendition": "whole",
        "backbone": "numbers",
        "weights": "numbers",
        "weights_sha256": "",
    }
    return write_manifest(path, identity, provenance, failures, [unit])


def make_stores(out: Path, **changes) -> list[FeatureStore]:
    """Three datasets."""
    return [make_store(out, f"synth-{letter}", **changes) for letter in "MCI"]
