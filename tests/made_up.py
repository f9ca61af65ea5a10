"""Detectors that nobody trained, the batches that they score, and bundles of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fas_jax.base.logits import sigmoid
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Preparation
from fas_jax.datasets.frames import StoredFrames
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.bundle_folder import load_bundle, write_bundle
from fas_jax.deployment.decision import Decision
from fas_jax.evaluation.conformal import Band
from fas_jax.methods.base import Detector, Method
from fas_jax.methods.data import Batch, Scores
from fas_jax.methods.deeppixbis import DeepPixBiS
from fas_jax.methods.end2end import End2End
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.frame_settings import Made
from fas_jax.methods.frame_training import initial
from fas_jax.methods.frames import FrameMethod
from fas_jax.methods.head_training import HeadDetector
from fas_jax.methods.heads import HeadMethod
from fas_jax.methods.inputs import Input
from fas_jax.methods.logistic import Colour, Logistic, MeanFeature, Metadata
from fas_jax.methods.logistic_fitting import LogisticDetector
from fas_jax.methods.motion import Motion
from fas_jax.methods.patches import Patches
from fas_jax.methods.patches_fitting import PatchesDetector
from fas_jax.methods.quality import Quality
from fas_jax.methods.quality_fitting import QualityDetector
from fas_jax.methods.recurrent import BiLstm, Gru, Lstm
from fas_jax.methods.registry import score_inputs
from fas_jax.methods.safas import Safas
from fas_jax.methods.ssdg import Ssdg
from fas_jax.methods.stack import LstmStack
from fas_jax.methods.verdict_fitting import VerdictDetector
from fas_jax.methods.verdict_settings import VerdictSettings
from fas_jax.methods.verdicts import BoostedStack, LogisticStack, MeanStack, Tree
from fas_jax.models import backbones
from tests import tiny_network  # noqa: F401 - it registers the network
from tests.stores import clip_info

WIDTH = 6
EXPERTS = ("mean-feature", "gru")
METHODS: dict[str, Method] = {
    "lstm": Lstm(hidden=5),
    "bilstm": BiLstm(hidden=4),
    "gru": Gru(hidden=3),
    "meta": LstmStack(hidden=6),
    "mean-feature": MeanFeature(),
    "colour": Colour(),
    "metadata": Metadata(),
    "quality": Quality(renditions=("whole",)),
    "tree": Tree(over=EXPERTS),
    "mean-stack": MeanStack(over=EXPERTS),
    "logistic-stack": LogisticStack(over=EXPERTS),
    "boosted-stack": BoostedStack(over=EXPERTS, trees=5),
    "finetune": Finetune(network="tiny", weights="random", score_frames=8),
    "ssdg": Ssdg(network="tiny", weights="random", score_frames=8, width=8),
    "safas": Safas(network="tiny", weights="random", score_frames=8),
    "deeppixbis": DeepPixBiS(network="tiny", weights="random", score_frames=8, stride=4, map_side=8),
    "end2end": End2End(network="tiny", weights="random", score_frames=8, hidden=5),
    "patches": Patches(
        network="tiny", high_network="tiny", weights="random", score_frames=8, rendition="whole", pooling="quantile"
    ),
}
ON_BURSTS: dict[str, Method] = {"motion": Motion(rendition="whole", score_frames=8, hidden=5)}
"""Those whose clips have to be bursts."""


def make_detector(method: Method, width: int = WIDTH, seed: int = 0) -> Detector:
    """A detector with drawn parameters, whose scores spread."""
    if isinstance(method, HeadMethod):
        stacked = len(score_inputs(method))
        own = 2 * stacked or width
        params = method.architecture(own).init(jax.random.key(seed))
        return HeadDetector(method, own, jax.tree.map(lambda leaf: np.asarray(leaf) * 3, params))
    if isinstance(method, Patches):
        parts: dict[str, Any] = {
            name: make_detector(each, width, seed + 7 * place)
            for place, (name, each) in enumerate(method.networks().items())
        }
        return PatchesDetector(method, parts)
    if isinstance(method, FrameMethod):
        objective, made = method.objective(), Made(burst=method.least_burst)
        params = initial(objective, *objective.network.init(seed), seed)
        return method.detector(params | {"head": jax.tree.map(lambda leaf: leaf * 5, params["head"])}, made)
    if isinstance(method, VerdictSettings):
        return _verdict(method, seed)
    if isinstance(method, Quality):
        rng = np.random.default_rng(seed)
        params = {"mean": rng.normal(size=width), "scale": rng.uniform(0.5, 1, width)}
        params |= {"weights": rng.normal(size=(2, width)), "bias": rng.normal(size=2)}
        return QualityDetector(method, params, {"classifier": "species", "auc": {}})
    assert isinstance(method, Logistic)
    numbers = method.numbers(make_batch(method.inputs(), [2, 3], width))
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=numbers.shape[1]) / np.sqrt(numbers.shape[1])
    params = {"mean": numbers.mean(0).astype(float), "scale": 1 + numbers.std(0, dtype=float), "weights": weights}
    return LogisticDetector(method, {**params, "bias": np.float64(0.1)})


def _verdict(method: VerdictSettings, seed: int) -> VerdictDetector:
    rng, count = np.random.default_rng(seed), len(method.experts)
    logits = rng.normal(size=(60, count)).astype(np.float32).astype(np.float64)
    labels = (logits.sum(1) + rng.normal(size=60) > 0).astype(int)
    params: dict[str, Any] = {"usable": np.ones(count)}
    patterns = {}
    for number in range(1, 2**count):
        own = logits[:, [place for place in range(count) if number >> place & 1]]
        params[f"pattern-{number}"] = method.fit_model(own, labels, np.ones(60), seed)
        patterns[str(number)] = {"by": number, "clips": 60, "error": 0.1, "validation_error": None}
    return VerdictDetector(method, params, {"without": {}, "patterns": patterns})


def make_batch(
    inputs: Sequence[Input], lengths: Sequence[int], width: int = WIDTH, frames: int = 0, seed: int = 0
) -> Batch:
    """Clips of these lengths, padded to `frames`; a clip's contents depend on its place and the seed alone."""
    frames = frames or max(lengths)
    data: dict[Input, Any] = {}
    real = np.arange(frames) < np.array(lengths)[:, None]
    absent = ["" if length else "there are no frames" for length in lengths]
    for item in inputs:
        rngs = [np.random.default_rng([seed, place]) for place in range(len(lengths))]
        if item.kind == "facts":
            data[item] = [
                clip_info(length, colour=tuple(rng.uniform(0, 255, 6).tolist()), frame_count=10 + place)
                for place, (length, rng) in enumerate(zip(lengths, rngs, strict=True))
            ]
        elif item.kind == "clip-scores":
            logits = np.array([rng.normal() + sum(map(ord, item.name)) % 3 - 1 for rng in rngs])
            logits = np.where(np.array(lengths) > 0, logits, np.nan)
            data[item] = Scores(sigmoid(logits), None, absent if any(absent) else (), logits)
        elif item.kind == "scores":
            values = np.stack([rng.uniform(size=9) for rng in rngs])[:, :frames].astype(np.float32)
            data[item] = Scores(np.zeros(len(lengths)), values)
        elif item.kind == "frames":
            images = np.stack(
                [rng.integers(0, 60 + 40 * (place % 5), (max(9, frames), 32, 32, 3)) for place, rng in enumerate(rngs)]
            )
            data[item] = (images[:, :frames] * real[..., None, None, None]).astype(np.uint8)
        else:
            values = np.stack([rng.normal(size=(9, width)) for rng in rngs])[:, :frames].astype(np.float32)
            data[item] = values * real[..., None]
    masks = {item: real for item in inputs if item.kind != "facts"}
    masks |= {item: np.ones((len(lengths), 1), bool) for item in inputs if item.kind == "clip-scores"}
    return Batch(data, masks, {item: absent for item in masks if any(absent)})


@dataclass(frozen=True, eq=False)
class HeldFrames(StoredFrames):
    """Frames in memory."""

    images: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, images: np.ndarray, mask: np.ndarray, burst: int = 1) -> "HeldFrames":
        """Frames uint8 [n t h w 3], of which the mask says which are real."""
        numbers = np.arange(len(images), dtype=np.int32)
        return cls((), 0 * numbers, numbers, mask, images.shape[2], burst, images)

    def some(self, row: int, numbers: Sequence[int]) -> Sequence[np.ndarray]:
        return [self.images[row, number] for number in numbers]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.images[rows]
        return found


def take(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some clips of a batch."""
    rows = list(rows)
    data = {}
    for item, values in batch.data.items():
        if isinstance(values, Scores) and item.kind == "clip-scores":
            assert values.logit is not None
            reason = [values.reason[row] for row in rows] if values.reason else ()
            data[item] = Scores(values.clip[rows], None, reason, values.logit[rows])
        elif isinstance(values, Scores):
            assert values.frame is not None
            data[item] = Scores(values.clip[rows], values.frame[rows])
        else:
            data[item] = values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
    masks = {item: mask[rows] for item, mask in batch.mask.items()}
    return Batch(data, masks, {item: [why[row] for row in rows] for item, why in batch.absent.items()})


WHOLE = {"whole": Rendition(size=48, max_frames=3)}
FEATURES = Features(backbone="efficientnet_lite0", weights="random", batch_size=4)


def make_bundle(
    folder: Path,
    methods: Mapping[str, Method] = METHODS,
    thresholds: Mapping[str, float] | None = None,
    renditions: Mapping[str, Rendition] = WHOLE,
    features: Features = FEATURES,
    params: Any = None,
    bands: Mapping[str, Band] | None = None,
) -> Bundle:
    """A bundle of drawn detectors; the threshold is 0.5 where none is given. `params` maps a detector's to others."""
    backbone = backbones.get(features.backbone)
    detectors = {name: make_detector(method, backbone.dimension, i) for i, (name, method) in enumerate(methods.items())}
    if params is not None:
        detectors = {
            name: method.rebuild(jax.tree.map(params, detectors[name].params), detectors[name].about)
            for name, method in methods.items()
        }
    write_bundle(
        folder,
        detectors=detectors,
        decisions={name: Decision((thresholds or {}).get(name, 0.5), (bands or {}).get(name)) for name in methods},
        preparation=Preparation(workers=1),
        renditions=renditions,
        features=features,
        backbone=backbone.init(0),
        origin={"backbone": backbone.name, "weights": "random (seed 0)", "weights_sha256": "none"},
        about={"protocol": "test", "seed": 0, "sources": ["A", "B"], "lineage": {"parent": None}},
    )
    return load_bundle(folder)
