"""A trained ensemble as a folder that scores videos by itself: parameters, settings, thresholds, backbone."""

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import read_json, sha256_file, write_json
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.base.settings import Experiment, from_dict, to_dict
from fas_jax.features.extraction import frame_features
from fas_jax.methods.stacking import META, Ensemble, build_architectures, fuse, predict_ensemble
from fas_jax.models import backbones
from fas_jax.models.backbones import Backbone, Params, cast_kernels
from fas_jax.pixels.decoding import Undecoded, decode_files
from fas_jax.pixels.video import unpack_frame
from fas_jax.training.fitting import Clips

FORMAT = 1
NO_DECISION = "no decision"
_ABOUT, _HEADS, _BACKBONE = "bundle.json", "heads.safetensors", "backbone.safetensors"


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle."""

    experiment: Experiment
    about: dict[str, Any]
    """Protocol, seed, data, thresholds by model, weights in words."""
    ensemble: Ensemble
    backbone: Backbone
    backbone_params: Params

    def score(self, frames: UInt8[np.ndarray, "t h w 3"]) -> dict[str, float]:
        """The video's score by every model; at least one frame, RGB, as the experiment's rendition `whole` has them."""
        count = len(frames)
        # A store's batch would be mostly padding; a smaller one changes features by about 1e-7 (rounding).
        settings = self.experiment.features
        rendition = self.experiment.renditions["whole"]
        size = min(rendition.max_frames or 8, settings.batch_size)
        features = frame_features(
            self.backbone, self.backbone_params, frames, size, settings.precision, settings.store_dtype
        )
        # Padded as in training, so that clips of all lengths run the same compiled program.
        length = max(rendition.max_frames, count)
        mask = np.arange(length)[None] < count
        padded = np.pad(features, ((0, length - count), (0, 0)))[None]
        clips = Clips(jnp.asarray(padded), jnp.asarray(mask), jnp.zeros(1, jnp.int32))
        found = predict_ensemble(self.ensemble, clips, [np.zeros(1, np.int64)])
        fusion = self.experiment.evaluation.fusion
        return {model: float(fuse(probabilities[0], mask, fusion)[0]) for model, probabilities in found.items()}

    def threshold(self, model: str = META) -> float:
        """The model's threshold, from the sources' validation videos."""
        if model not in self.about["thresholds"]:
            raise unknown_name("model", model, self.about["thresholds"])
        return float(self.about["thresholds"][model])

    def judge(self, paths: Sequence[Path], model: str = META) -> Iterator[dict[str, Any]]:
        """The verdict on each of some video or image files, JSON-able, in their order.

        `decision` is bona fide, attack, or - with a `reason` - no decision, which is never an acceptance. The
        digest binds the verdict to the file's content.
        """
        threshold = self.threshold(model)
        start = time.monotonic()
        # The others, which no model reads, need not be made.
        renditions = {"whole": self.experiment.renditions["whole"]}
        outcomes = decode_files(paths, self.experiment.preparation, renditions)
        for path, outcome in zip(paths, outcomes, strict=True):
            verdict: dict[str, Any] = {"path": str(path), "model": model, "threshold": threshold}
            if isinstance(outcome, Undecoded):
                verdict |= {"decision": NO_DECISION, "reason": outcome.reason}
            else:
                stored = outcome.frames["whole"]
                score = self.score(np.stack([unpack_frame(png) for png in stored]))[model]
                verdict |= {"score": score, "decision": "bona fide" if score >= threshold else "attack"}
                verdict |= {"frames": list(outcome.info.renditions["whole"].frame_indices), "sha256": sha256_file(path)}
            yield verdict | {"seconds": round(time.monotonic() - start, 3)}
            start = time.monotonic()


def write_bundle(
    folder: Path, experiment: Experiment, ensemble: Ensemble, backbone_params: Params, about: dict[str, Any]
) -> None:
    """Writes a bundle; `bundle.json`, which makes it whole, last.

    Args:
        folder: Made anew.
        experiment: Settings, of which preparation and backbone are needed again.
        ensemble: Of one task.
        backbone_params: As they were used.
        about: `protocol`, `seed`, `thresholds` by model, `backbone`, `weights`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    save_tree(folder / _HEADS, jax.tree.map(np.asarray, ensemble.params), {})
    # Bundles beside each other take the disk for one backbone, if it is the same.
    shared, params = folder.parent / _BACKBONE, jax.tree.map(np.asarray, backbone_params)
    if not _holds(shared, params):
        save_tree(shared, params, {"backbone": about["backbone"]})
    try:
        os.link(shared, folder / _BACKBONE)
    except OSError:
        shutil.copyfile(shared, folder / _BACKBONE)
    files = {name: sha256_file(folder / name) for name in (_HEADS, _BACKBONE)}
    settings = to_dict(dataclasses.replace(experiment, cache="", runs=""))
    write_json(folder / _ABOUT, {"format": FORMAT, **about, "experiment": settings, "files": files})


def _holds(path: Path, params: Params) -> bool:
    """Whether these very parameters are in a file, whole."""
    try:
        found, _ = load_tree(path)
    except UserError:
        return False
    ours, theirs = (jax.tree_util.tree_leaves_with_path(tree) for tree in (params, found))
    return [name for name, _ in ours] == [name for name, _ in theirs] and all(
        np.array_equal(mine, other) for (_, mine), (_, other) in zip(ours, theirs, strict=True)
    )


def load_bundle(folder: Path) -> Bundle:
    """Reads a bundle whose files are what they were when it was written.

    Raises:
        UserError: No bundle, another format, or a damaged file.
    """
    folder = Path(folder)
    if not (folder / _ABOUT).exists():
        raise UserError(f"{folder} is no bundle (no {_ABOUT}); scripts/run.py writes them into the run's folder")
    about = read_json(folder / _ABOUT)
    if about.get("format") != FORMAT:
        raise UserError(f"{folder} has bundle format {about.get('format')}, not {FORMAT}; write it again")
    for name in (_HEADS, _BACKBONE):
        if not (folder / name).exists() or sha256_file(folder / name) != about["files"][name]:
            raise UserError(f"{folder / name} is missing or damaged; copy the bundle again")
    experiment = from_dict(Experiment, about["experiment"], where=str(folder / _ABOUT))
    if experiment.renditions["whole"].crop == "annotation":
        raise UserError(
            f"{folder} was trained on face crops from the datasets' annotations, which other files do not have; "
            "for a bundle that judges files, train with crop = 'detector' or with whole frames"
        )
    backbone = backbones.get(about["backbone"])
    params, _ = load_tree(folder / _HEADS)
    combine = experiment.stacking.combine
    architectures = build_architectures(experiment.models, backbone.dimension, combine)
    for model, architecture in architectures.items():
        expected = jax.tree.map(lambda leaf: (1, *leaf.shape), architecture.shapes())
        if jax.tree.map(np.shape, params.get(model)) != expected:
            raise UserError(f"{folder / _HEADS}: the parameters of {model} do not have the shapes of its settings")
    ensemble = Ensemble(architectures, jax.tree.map(jnp.asarray, params), combine)
    backbone_params, _ = load_tree(folder / _BACKBONE)
    backbone_params = jax.device_put(cast_kernels(backbone_params, experiment.features.precision))
    return Bundle(experiment, about, ensemble, backbone, backbone_params)
