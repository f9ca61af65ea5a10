"""Whether a published method gives its published figures here: its own settings, on the user's data, beside them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import read_json
from fas_jax.base.settings import Data
from fas_jax.experiment import stages
from fas_jax.experiment.configuration import Experiment, load_experiment
from fas_jax.experiment.results import stored_detectors
from fas_jax.experiment.run import read_inputs, read_run
from fas_jax.protocols.presets import is_synthetic
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.published import PAPER_PROTOCOLS, RELEASES, Release

TOLERANCE = 2.0
"""Points of HTER between the published figure and the mean over seeds, at most."""
SEEDS = 5
"""At least so many."""
TARGETS = {protocol[-1]: protocol for protocol in PAPER_PROTOCOLS}
"""The published protocol of each target."""


@dataclass(frozen=True)
class Found:
    """What a run found of a method on a target."""

    protocol: str
    preset: str
    datasets: Sequence[Mapping[str, Any]]
    """As in a run's provenance."""
    weights: Sequence[str]
    """SHA-256 of what the training of each seed began with; empty for random weights."""
    hter: Sequence[float]
    """In %, a seed each; NaN where undefined."""
    auc: Sequence[float]


def configuration(folder: Path, method: str, target: str) -> Experiment:
    """The experiment of METHOD-TARGET.toml in a folder.

    Raises:
        UserError: An unknown method or target.
    """
    if method not in RELEASES:
        raise unknown_name("method with a published release", method, RELEASES)
    if target not in TARGETS:
        raise unknown_name("target", target, TARGETS)
    return load_experiment(folder / f"{method}-{target}.toml")


def with_weights(experiment: Experiment, weights: str) -> Experiment:
    """The experiment with other weights to begin with: a path, or 'random'."""
    methods = {name: dataclasses.replace(each, weights=weights) for name, each in experiment.methods.items()}  # type: ignore[call-arg]
    return dataclasses.replace(experiment, methods=methods)


def smoke(experiment: Experiment) -> Experiment:
    """The experiment on a few tiny rendered videos, with random weights and two steps: whether everything runs."""
    tiny = {"steps": 2, "validate_every": 1, "per_class": 1, "weights": "random"}
    methods = {name: dataclasses.replace(each, **tiny) for name, each in experiment.methods.items()}
    renditions = {
        name: dataclasses.replace(each, crop="whole", size=48, segment=4, max_frames=2)
        for name, each in experiment.renditions.items()
    }
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}-smoke",
        seeds=experiment.seeds[:1],
        data=Data(synthesize=True),
        synthesis=dataclasses.replace(experiment.synthesis, subjects=9, videos_per_subject=4, frames=12, scale=0.05),
        renditions=renditions,
        methods=methods,
    )


def reproduce(experiment: Experiment, method: str) -> Found:
    """Runs the experiment, which trains one method on one target, as far as it has not been run."""
    folder = stages.run(experiment)
    provenance, results = read_json(folder / "provenance.json"), read_json(folder / "results.json")
    own = [each for each in results["figures"] if each["model"] == method]
    fitted = stored_detectors(read_run(folder), folder, read_inputs(folder))
    weights = [str(getattr(each, "about", {}).get("weights", "")) for each in fitted.detectors[method]]
    values = {
        name: [np.nan if each["values"][name] is None else 100 * each["values"][name] for each in own]
        for name in ("hter", "auc")
    }
    (protocol,) = {each["protocol"] for each in own}
    return Found(protocol, provenance["preset"], provenance["datasets"], weights, values["hter"], values["auc"])


def reasons(release: Release, target: str, found: Found) -> list[str]:
    """Why a run's figure cannot be compared with the published one; empty where it can."""
    said = []
    rendered = [str(each["dataset"]) for each in found.datasets if each["synthetic"] or is_synthetic(each["dataset"])]
    if rendered:
        said.append(f"{', '.join(rendered)} are rendered, not the real datasets")
    elif found.protocol != TARGETS[target]:
        said.append(f"the protocol is {found.protocol}, the published one is {TARGETS[target]}")
    if found.preset != release.preset:
        said.append(f"the preset is {found.preset!r}, the published one is {release.preset!r}")
    for each in found.datasets:
        if each["complete"] is not True:
            said.append(f"{each['dataset']} is not known to be complete")
        if failed := len(each.get("failures") or ()):
            said.append(f"{failed} videos of {each['dataset']} failed")
    if any(not each.startswith(release.weights) for each in found.weights):
        begun = {f"weights of SHA-256 {each[:8]}..." if each else "random weights" for each in found.weights}
        said.append(f"training began with {', '.join(sorted(begun))}, not with {release.weights_file}")
    if len(found.hter) < SEEDS:
        said.append(f"{len(found.hter)} of {SEEDS} seeds were run")
    if not np.isfinite(found.hter).all():
        said.append("a seed has no HTER")
    return said


def verdict(release: Release, target: str, found: Found) -> str:
    """What can be said of a run beside the published figure, in one sentence or two."""
    if why := reasons(release, target, found):
        return f"No verdict on {release.display} to {target}: {'; '.join(why)}."
    published = release.values[TARGETS[target]][0]
    difference = float(np.mean(found.hter)) - published
    word = "reproduced" if abs(difference) <= TOLERANCE else "not reproduced"
    return (
        f"{release.display} to {target} is {word}: its mean HTER over {len(found.hter)} seeds differs from the "
        f"published one by {difference:+.2f} points, and {TOLERANCE:g} are allowed. Of the weights, the publisher "
        f"tells the first {len(release.weights)} digits of the SHA-256 alone; these agree."
    )


def table(release: Release, found: Mapping[str, Found]) -> Grid:
    """Published figures and ours by target, HTER and AUC in %, mean ± standard deviation over seeds."""

    def ours(values: Sequence[float]) -> str:
        if not np.isfinite(values).all():
            return "undefined"
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        return f"{np.mean(values):.2f}{spread}"

    rows = []
    for target, each in found.items():
        hter, auc = release.values[TARGETS[target]]
        shown = "" if auc is None else f"{auc:.2f}"
        rows.append([each.protocol, f"{hter:.2f}", ours(each.hter), shown, ours(each.auc), str(len(each.hter))])
    header = ["protocol", "HTER % published", "HTER % here", "AUC % published", "AUC % here", "seeds"]
    return Grid(header, rows)


def check_data(experiment: Experiment) -> None:
    """Raises `UserError` that names the options where no dataset is given."""
    if experiment.data == Data():
        raise UserError(
            "give the datasets' folders: --oulu-npu, --casia-fasd, --replay-attack, --msu-mfsd; or --smoke for a trial "
            "on rendered videos"
        )
