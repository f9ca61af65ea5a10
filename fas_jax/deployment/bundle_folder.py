"""Bundles on disk: what `write_bundle` writes, `load_bundle` reads, if it is what this version would make."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, inside, plain_name, read_json, sha256_file, write_json, write_text
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Preparation, from_dict, to_dict
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.card import card
from fas_jax.deployment.decision import Decision
from fas_jax.evaluation.conformal import Band
from fas_jax.methods.base import Detector, identity, method_to_dict
from fas_jax.methods.registry import check_installed, method_from_dict, package_of
from fas_jax.models import backbones
from fas_jax.models.backbones import Backbone, Params, cast_kernels
from fas_jax.pixels.renditions import rendition_key
from fas_jax.runtime import devices

FORMAT = 3
ABOUT, CARD = "bundle.json", "CARD.md"
SHIPPED = Path(__file__).resolve().parent / "shipped"
"""The bundle that comes with the package (configs/shipped.toml): trained on rendered faces alone."""
_BACKBONE, _DETECTORS, _SEAL = "backbone.safetensors", "detectors", "sha256"


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
    """Writes a bundle with its card; `bundle.json`, which makes it whole, last.

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
    read = {item.name for detector in detectors.values() for item in detector.method.inputs() if not item.of_method}
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
            **({"band": band.to_json()} if name in decisions and (band := decisions[name].band) else {}),
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
    told = {
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
    }
    write_text(folder / CARD, card(told))
    write_json(folder / ABOUT, sealed(told))


def load_bundle(folder: Path) -> Bundle:
    """Reads a bundle whose files are what they were when it was written.

    Raises:
        UserError: No bundle, another format, a damaged file, a method that is not installed, or inputs that this
            version would make otherwise; or as `devices.check`.
    """
    folder = Path(folder)
    if not (folder / ABOUT).is_file():
        raise UserError(f"{folder} is no bundle (no {ABOUT}); fas-jax run writes them into the run's folder")
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict):
        raise UserError(f"{folder / ABOUT} is damaged; copy the bundle again")
    if about.get("format") != FORMAT:
        raise UserError(
            f"{folder} has bundle format {about.get('format')}, not {FORMAT}; make it again by fas-jax train and "
            "fas-jax evaluate of this version"
        )
    # A flipped digit of a threshold would still be JSON.
    if not _whole(about):
        raise UserError(f"{folder / ABOUT} is damaged, or was changed by hand; copy the bundle again")
    devices.check()
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
            band = Band.from_json(row["band"], f"{where}: detectors.{name}") if "band" in row else None
            decisions[name] = Decision(float(row["threshold"]), band)
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
        backbone_params=cast_kernels(jax.device_put(backbone_params), features.precision),
    )


def sealed(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a `bundle.json` says, with the hash by which `load_bundle` knows that none of it has changed."""
    content = {name: value for name, value in about.items() if name != _SEAL}
    return {**content, _SEAL: fingerprint(content)}


def _whole(about: Mapping[str, Any]) -> bool:
    try:
        return about.get(_SEAL) == sealed(about)[_SEAL]
    except ValueError:  # NaN, which Python reads
        return False


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
    if not path.is_file() or sha256_file(path) != sha256:
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
