"""A trained run's detectors as a folder that scores files by itself, with thresholds and what makes their inputs."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import inside, plain_name, read_json, sha256_file, write_json
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.base.record import ClipInfo
from fas_jax.base.settings import Features, Preparation, Rendition, from_dict, to_dict
from fas_jax.features.stage import frame_features
from fas_jax.methods.base import Batch, Detector, Input, Method, Scores, identity, method_to_dict
from fas_jax.methods.registry import check_installed, in_order, method_from_dict, package_of, score_inputs
from fas_jax.models import backbones
from fas_jax.models.backbones import Backbone, Params, cast_kernels
from fas_jax.pixels.decoding import Undecoded, decode_files
from fas_jax.pixels.renditions import rendition_key
from fas_jax.pixels.video import unpack_frame

FORMAT = 2
NO_DECISION = "no decision"
ABOUT = "bundle.json"
_BACKBONE, _DETECTORS = "backbone.safetensors", "detectors"


class Decision(NamedTuple):
    """From a score to a verdict; fitted on the sources."""

    threshold: float
    """Bona fide from it on."""

    def accepts(self, score: float) -> bool:
        """Whether a score means bona fide; compared in float64, and never for NaN."""
        return float(np.float64(score)) >= float(np.float64(self.threshold))


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle."""

    about: dict[str, Any]
    """Protocol, seed, sources, lineage, and what the inputs were made with."""
    detectors: Mapping[str, Detector]
    decisions: Mapping[str, Decision]
    preparation: Preparation
    renditions: Mapping[str, Rendition]
    """Those that its detectors read."""
    features: Features
    backbone: Backbone
    backbone_params: Params

    @property
    def default(self) -> str:
        """The detector that decides if none is named: the first that reads others' scores, else the first."""
        stacks = [name for name in self.decisions if score_inputs(self.detectors[name].method)]
        return next(iter([*stacks, *self.decisions]))

    def decision(self, name: str) -> Decision:
        """How a detector's score becomes a verdict.

        Raises:
            UserError: The bundle has no such detector, or it has no threshold.
        """
        if name not in self.decisions:
            raise unknown_name("detector", name, self.decisions)
        return self.decisions[name]

    def methods_for(self, name: str) -> dict[str, Method]:
        """A detector's method and those whose scores it reads, in the order in which they have to score.

        Raises:
            UserError: The bundle has no such detector.
        """
        methods = {each: detector.method for each, detector in self.detectors.items()}
        if name not in methods:
            raise unknown_name("detector", name, methods)
        wanted = [name]
        for each in wanted:
            wanted += [item.name for item in score_inputs(methods[each])]
        return {each: methods[each] for each in in_order(methods) if each in wanted}

    def renditions_for(self, name: str) -> dict[str, Rendition]:
        """The renditions that have to be made of a file for a detector."""
        read = [item.name for each in self.methods_for(name).values() for item in each.inputs()]
        return {each: rendition for each, rendition in self.renditions.items() if each in read}

    def score(
        self, frames: Mapping[str, UInt8[np.ndarray, "t h w 3"]], info: ClipInfo | None = None, name: str = ""
    ) -> Scores:
        """The score of one clip by one detector.

        Args:
            frames: RGB, by rendition, as `renditions` says; one without frames is absent.
            info: What decoding found; needed by detectors that read facts.
            name: The detector; `default` if empty.

        Raises:
            UserError: Frames of another size or type, no frame at all, or facts that are needed and not given.
        """
        name = name or self.default
        methods = self.methods_for(name)
        items = {item for method in methods.values() for item in method.inputs()}
        batch = self._batch(frames, info, [item for item in items if item.kind != "scores"])
        found: dict[str, Scores] = {}
        for each, method in methods.items():
            read = {item: found[item.name] for item in score_inputs(method)}
            found[each] = self.detectors[each].score(
                Batch(
                    {**batch.data, **read},
                    {**batch.mask, **{item: self._frame_mask(item.name, batch, methods) for item in read}},
                    {**batch.absent, **{item: scores.reason for item, scores in read.items() if any(scores.reason)}},
                )
            )
        return found[name]

    def judge(self, paths: Sequence[Path], name: str = "") -> Iterator[dict[str, Any]]:
        """The verdict on each of some video or image files, JSON-able, in their order.

        `decision` is bona fide, attack, or - with a `reason` - no decision, which is never an acceptance. The digest
        binds the verdict to the file's content.
        """
        name = name or self.default
        decision, renditions = self.decision(name), self.renditions_for(name)
        start = time.monotonic()
        for path, outcome in zip(paths, decode_files(paths, self.preparation, renditions), strict=True):
            verdict: dict[str, Any] = {"path": str(path), "detector": name, "threshold": decision.threshold}
            if isinstance(outcome, Undecoded):
                verdict |= {"decision": NO_DECISION, "reason": outcome.reason}
            else:
                frames = {
                    each: np.stack([unpack_frame(packed) for packed in stored])
                    for each, stored in outcome.frames.items()
                    if stored
                }
                scores = self.score(frames, outcome.info, name) if frames else Scores.none(1, "no frame")
                verdict |= _verdict(scores, decision)
                kept = {each: list(info.frame_indices) for each, info in outcome.info.renditions.items()}
                verdict |= {"frames": kept, "sha256": sha256_file(path)}
            yield verdict | {"seconds": round(time.monotonic() - start, 3)}
            start = time.monotonic()

    def _batch(self, frames: Mapping[str, np.ndarray], info: ClipInfo | None, items: Sequence[Input]) -> Batch:
        data: dict[Input, Any] = {}
        mask: dict[Input, Any] = {}
        absent: dict[Input, list[str]] = {}
        for item in items:
            if item.kind == "facts":
                if info is None:
                    raise UserError(f"a detector reads what decoding found of {item.name}; pass it as info")
                data[item] = [info]
                continue
            own = frames.get(item.name)
            if own is None or not len(own):
                made = info.renditions.get(item.name) if info else None
                absent[item] = [(made.reason if made else "") or f"there are no frames of rendition {item.name}"]
                own = np.zeros((0, self.renditions[item.name].size, self.renditions[item.name].size, 3), np.uint8)
            data[item], mask[item] = self._features(item.name, own)
        return Batch(data, mask, absent)

    def _features(self, rendition: str, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [1 t d] and mask [1 t] of a clip, padded as in training, so that all lengths run one program."""
        size, most = self.renditions[rendition].size, self.renditions[rendition].max_frames
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
            raise UserError(
                f"frames of rendition {rendition} must be uint8 [t {size} {size} 3], RGB, not {frames.dtype} "
                f"{list(frames.shape)}"
            )
        count = len(frames)
        settings = self.features
        # A store's batch would be mostly padding; a smaller one changes features by about 1e-7 (rounding).
        batch_size = min(most or 8, settings.batch_size)
        features = frame_features(
            self.backbone, self.backbone_params, frames, batch_size, settings.precision, settings.store_dtype
        )
        length = max(most, count)
        return np.pad(features, ((0, length - count), (0, 0)))[None], np.arange(length)[None] < count

    def _frame_mask(self, name: str, batch: Batch, methods: Mapping[str, Method]) -> np.ndarray:
        """Where a detector scores frames."""
        masks = [
            self._frame_mask(item.name, batch, methods) if item.kind == "scores" else batch.mask[item]
            for item in methods[name].inputs()
            if item.kind != "facts"
        ]
        found: np.ndarray = np.logical_and.reduce(masks)
        return found


def _verdict(scores: Scores, decision: Decision) -> dict[str, Any]:
    score = float(scores.clip[0])
    if np.isnan(score):
        return {"decision": NO_DECISION, "reason": scores.reason[0]}
    return {"score": score, "decision": "bona fide" if decision.accepts(score) else "attack"}


def write_bundle(
    folder: Path,
    *,
    detectors: Mapping[str, Detector],
    decisions: Mapping[str, Decision],
    preparation: Preparation,
    renditions: Mapping[str, Rendition],
    features: Features,
    backbone: Params,
    origin: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Writes a bundle; `bundle.json`, which makes it whole, last.

    Args:
        folder: Made anew.
        detectors: By name; those whose scores others read among them.
        decisions: Of those that may be asked for a verdict.
        preparation: With what the videos were decoded.
        renditions: By name, those that the detectors read at least.
        features: Settings of the feature stage.
        backbone: Its parameters, as they were used.
        origin: `backbone`, `weights` and `weights_sha256`.
        about: `protocol`, `seed`, `sources`, `lineage`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    read = {item.name for detector in detectors.values() for item in detector.method.inputs() if item.kind != "scores"}
    table = {}
    for name, detector in detectors.items():
        file = f"{_DETECTORS}/{plain_name(name)}.safetensors"
        save_tree(folder / file, jax.tree.map(np.asarray, detector.params), {})
        table[name] = {
            "method": method_to_dict(detector.method),
            "package": package_of(detector.method.kind),
            "identity": identity(detector.method),
            "about": dict(detector.about),
            "inputs": [list(item) for item in detector.method.inputs()],
            "file": file,
            "sha256": sha256_file(folder / file),
            "threshold": decisions[name].threshold if name in decisions else None,
        }
    # Bundles beside each other take the disk for one backbone, if it is the same.
    shared, params = folder.parent / _BACKBONE, jax.tree.map(np.asarray, backbone)
    if not _holds(shared, params):
        save_tree(shared, params, {"backbone": origin["backbone"]})
    try:
        os.link(shared, folder / _BACKBONE)
    except OSError:
        shutil.copyfile(shared, folder / _BACKBONE)
    network = backbones.get(origin["backbone"])
    write_json(
        folder / ABOUT,
        {
            "format": FORMAT,
            **about,
            "detectors": table,
            "inputs": {
                "preparation": to_dict(preparation),
                "renditions": {
                    name: {"settings": to_dict(rendition), "key": rendition_key(rendition)}
                    for name, rendition in renditions.items()
                    if name in read
                },
                "features": {
                    "settings": {**to_dict(features), "weights": Path(features.weights).name},
                    **_stage_key(network),
                    "weights": origin["weights"],
                    "weights_sha256": origin["weights_sha256"],
                    "file": _BACKBONE,
                    "sha256": sha256_file(folder / _BACKBONE),
                },
            },
        },
    )


def load_bundle(folder: Path) -> Bundle:
    """Reads a bundle whose files are what they were when it was written.

    Raises:
        UserError: No bundle, another format, a damaged file, a method that is not installed, or inputs that this
            version would make otherwise.
    """
    folder = Path(folder)
    if not (folder / ABOUT).exists():
        raise UserError(f"{folder} is no bundle (no {ABOUT}); scripts/run.py writes them into the run's folder")
    about = read_json(folder / ABOUT)
    if about.get("format") != FORMAT:
        raise UserError(
            f"{folder} has bundle format {about.get('format')}, not {FORMAT}; make it again by scripts/train.py and "
            "scripts/evaluate.py of this version"
        )
    inputs, where = about["inputs"], str(folder / ABOUT)
    renditions = {
        name: from_dict(Rendition, row["settings"], f"{where}: renditions.{name}")
        for name, row in inputs["renditions"].items()
    }
    for name, rendition in renditions.items():
        if rendition.crop == "annotation":
            raise UserError(
                f"{folder} reads face crops from the datasets' annotations (rendition {name}), which other files do "
                "not have; for a bundle that judges files, train on a rendition with crop = 'detector' or 'whole'"
            )
        _same(f"{folder}: rendition {name}", inputs["renditions"][name]["key"], rendition_key(rendition))
    stage = inputs["features"]
    network = backbones.get(stage["backbone"])
    _same(f"{folder}: features", {name: stage.get(name) for name in _stage_key(network)}, _stage_key(network))
    detectors, decisions = {}, {}
    for name, row in about["detectors"].items():
        params = _read(folder, row["file"], row["sha256"])
        check_installed(row["method"]["kind"], row["package"], f"{folder}: detector {name}")
        method = method_from_dict(name, row["method"], where)
        _same(f"{folder}: detector {name}", row["identity"], identity(method))
        detectors[name] = method.rebuild(params, row["about"])
        if row["threshold"] is not None:
            decisions[name] = Decision(float(row["threshold"]))
    if not decisions:
        raise UserError(f"{folder} holds no detector with a threshold, and can judge nothing")
    features = from_dict(Features, stage["settings"], f"{where}: features")
    backbone_params = _read(folder, stage["file"], stage["sha256"])
    return Bundle(
        about=about,
        detectors=detectors,
        decisions=decisions,
        preparation=from_dict(Preparation, inputs["preparation"], f"{where}: preparation"),
        renditions=renditions,
        features=features,
        backbone=network,
        backbone_params=jax.device_put(cast_kernels(jax.tree.map(jnp.asarray, backbone_params), features.precision)),
    )


def find_bundles(runs: Path) -> list[Path]:
    """The folders of all bundles of the runs in a folder, by name."""
    return sorted(path.parent for path in runs.glob(f"*/bundles/*/{ABOUT}"))


def _stage_key(backbone: Backbone) -> dict[str, Any]:
    """What decides features besides settings and weights."""
    return {"backbone": backbone.name, "version": backbone.version, "preprocessing": backbone.preprocessing}


def _same(where: str, was: Any, now: Any) -> None:
    # Through JSON's eyes: a tuple is a list.
    if (known := _plain(was)) != (current := _plain(now)):
        names = [name for name in sorted({*known, *current}) if known.get(name) != current.get(name)]
        said = "; ".join(f"{name} was {known.get(name)!r} and is {current.get(name)!r} here" for name in names)
        raise UserError(f"{where} would be made otherwise by this version ({said}); train again with it")


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(each) if isinstance(each, tuple) else each for name, each in value.items()}


def _read(folder: Path, name: str, sha256: str) -> Any:
    path = inside(folder, name)
    if not path.exists() or sha256_file(path) != sha256:
        raise UserError(f"{path} is missing or damaged; copy the bundle again")
    return load_tree(path)[0]


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
