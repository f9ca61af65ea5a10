"""What the inputs of a run were made from, and the parts of it that bundles need again."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.base.settings import Features
from fas_jax.base.versions import VERSION
from fas_jax.datasets.prepared import Prepared
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import detector_data
from fas_jax.experiment.planning import Plan
from fas_jax.features.extraction import load_backbone
from fas_jax.methods.registry import in_order, score_inputs
from fas_jax.models.backbones import Params
from fas_jax.protocols.assignment import describe
from fas_jax.reporting.materials import materials_of

BACKBONE = "backbone.safetensors"


def describe_inputs(
    experiment: Experiment, prepared: Sequence[Prepared], corpus: Corpus, plans: Sequence[Plan]
) -> dict[str, Any]:
    """What the run's inputs were made from and with, JSON-able; reports and bundles repeat it."""
    stores = next(iter(corpus.stores.values()))
    # Stores of measures and of tiles have another backbone than the run, or none.
    every = [own[0].provenance for own in corpus.stores.values()]
    first = next((each for each in every if each["backbone"] == experiment.features.backbone), every[0])
    joined = rendered_beside(experiment, plans, corpus)
    return {
        "datasets": [
            {
                "dataset": store.provenance["dataset"],
                "synthetic": store.provenance["synthetic"],
                "complete": store.provenance["complete"],
                "clips": sum(unit.clips for unit in store.units),
                "failures": [
                    {"video": failure.video.path, "split": failure.video.split, "reason": failure.reason}
                    for failure in store.failures
                ],
                "prepared": store.provenance["prepared"],
                "features": store.fingerprint,
            }
            for store in stores
        ],
        "materials": materials_of(corpus.stores).to_json(),
        "prepared": [str(each.directory.resolve()) for each in prepared],
        "plans": [each.name for each in plans],
        "detectors": detector_data(experiment, plans, corpus),
        "assignments": [{"seed": each.seed, **describe(each.assignment, corpus.videos)} for each in plans],
        **({"rendered": joined} if joined else {}),
        "backbone": first["backbone"],
        "weights": first["weights"],
        "weights_sha256": first["weights_sha256"],
        "versions": versions(),
        "made_with": {store.provenance["dataset"]: store.provenance.get("versions", {}) for store in stores},
    }


def rendered_beside(experiment: Experiment, plans: Sequence[Plan], corpus: Corpus) -> dict[str, Any]:
    """What rendered videos joined the training: `clips` by dataset, and by method its `share` of rendered clips.

    Where methods balance datasets, the share is the largest of all plans. Empty where none joined.
    """
    numbers = plans[0].rendered
    rendered = corpus.videos[np.setdiff1d(numbers, corpus.failed(numbers))].dataset
    tables = sorted(rendered.present())
    if not tables:
        return {}
    sources = min(len(corpus.videos.dataset[each.assignment.train].present()) for each in plans)
    share: dict[str, float] = {}
    for name in in_order(experiment.methods):
        method = experiment.methods[name]
        read = [share[item.name] for item in score_inputs(method)]
        share[name] = max([method.rendered_part(sources, len(tables)), *read])
    return {"clips": {name: int((rendered == name).sum()) for name in tables}, "share": share}


def keep_backbone(folder: Path, settings: Features) -> None:
    """Keeps the backbone's parameters in the run, so that bundles need no file of weights."""
    path = folder / BACKBONE
    if not path.exists():
        _, params, origin = load_backbone(settings)
        save_tree(path, jax.tree.map(np.asarray, params), dict(origin))


def kept_backbone(folder: Path) -> tuple[Params, dict[str, Any]]:
    """The parameters that `keep_backbone` kept, and where they come from."""
    params, origin = load_tree(folder / BACKBONE)
    return params, origin


def versions() -> dict[str, str]:
    """Of everything whose change could change a figure."""
    packages = (
        "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets",
        "opencv-python-headless", "numpy", "scipy",
    )  # fmt: skip
    own = {"python": platform.python_version(), "fas-jax": VERSION}
    return own | {name: importlib.metadata.version(name) for name in packages}
