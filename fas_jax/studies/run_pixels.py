"""The test videos of a run with a detector that reads their pixels, for studies of what it responds to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, UInt8

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.deployment.chain import Chain, make_chain
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.experiment.inputs import kept_backbone
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import plan as planned
from fas_jax.experiment.results import stored_scores
from fas_jax.experiment.run import open_inputs, read_inputs, read_run
from fas_jax.methods.base import Detector, Failed
from fas_jax.methods.inputs import Input
from fas_jax.methods.registry import score_inputs
from fas_jax.models import backbones
from fas_jax.studies.worst_videos import Plan, first_plan, numbers_of


@dataclass(frozen=True, eq=False)
class RunPixels:
    """A detector of a run, and the videos that it was tested on."""

    chain: Chain
    protocol: str
    threshold: float
    """As a score."""
    table: ScoreTable
    """Of the test videos that have a score, under the protocol's first seed."""
    clips: CorpusClips
    """Those of the table's videos that could be prepared, in an order of their own."""
    numbers: Int[np.ndarray, " n"]
    """Of the table's videos in the corpus that the clips are of."""

    def frames(self, row: int) -> UInt8[np.ndarray, "t h w 3"]:
        """The kept frames of a video of the table; none where it could not be prepared."""
        size, own = self.chain.settings.size, self.clips.find(self.numbers[row : row + 1])
        if not len(own):
            return np.zeros((0, size, size, 3), np.uint8)
        item = Input("frames", self.chain.rendition)
        batch = self.clips.read(own, [item])
        found: np.ndarray = np.asarray(batch.data[item])[0][batch.mask[item][0]]
        return found


def open_pixels(run: Path, method: str = "", protocol: str = "", cache: Path | None = None) -> RunPixels:
    """Opens the frames of a protocol's test videos; the cache's ledger notes the reading of the target.

    Args:
        run: Folder of a run with scores.
        method: Name of the method; the first one whose detectors read pixels if empty.
        protocol: Protocol that gives the test videos; the first one if empty.
        cache: The cache's folder, if it was moved.

    Raises:
        UserError: The run has no such method or protocol, or no scores; its fitting failed; it is no function of the
            pixels of one rendition, or has no threshold; frames are missing; or the target is sealed.
    """
    experiment, inputs = read_run(run), read_inputs(run)
    if method and method not in experiment.methods:
        raise unknown_name("method", method, experiment.methods)
    chosen = first_plan(inputs, protocol)
    scores = stored_scores(run, inputs)
    known = thresholds(scores, experiment.evaluation.threshold, experiment.evaluation.threshold_from)
    values = {name: each.value for (*plan, name), each in known.items() if tuple(plan) == chosen[:2]}
    chain = _chain(run, experiment, inputs, method, chosen, values)
    threshold = values[chain.name]
    if np.isnan(threshold):
        raise UserError(f"{run}: {chain.name} has no threshold under {chosen.protocol}, and decides nothing")
    table = scores.select(protocol=chosen.protocol, model=chain.name, role=TEST, seed=chosen.seed)
    table = table.rows(table.answered)
    corpus = open_inputs(run, cache)
    read = [each for each in planned(experiment, corpus.videos) if each.name == chosen.name]
    record_readings(experiment, read, "study", cache or stored_cache(inputs))
    numbers = numbers_of(corpus, table)
    return RunPixels(chain, chosen.protocol, threshold, table, corpus.open(numbers), numbers)


def _chain(
    run: Path, experiment: Experiment, inputs: Mapping[str, Any], method: str, plan: Plan, values: Mapping[str, float]
) -> Chain:
    """The chain of a method's detector of a plan, or of the first method that has one."""
    params, origin = kept_backbone(run)
    backbone, reasons = backbones.get(origin["backbone"]), []
    for name in [method] if method else experiment.methods:
        try:
            detectors = _detectors(run, experiment, inputs, name, plan)
            threshold = values.get(name, np.nan)
            return make_chain(detectors, name, threshold, experiment.renditions, backbone, jax.device_put(params))
        except UserError as error:
            reasons.append(str(error))
    raise UserError(reasons[0] if method else f"no method of {run} reads the pixels of frames: {'; '.join(reasons)}")


def _detectors(
    run: Path, experiment: Experiment, inputs: Mapping[str, Any], name: str, plan: Plan
) -> dict[str, Detector]:
    """A method's detector of a plan, and those whose scores it reads."""
    wanted, found = [name], dict[str, Detector]()
    for each in wanted:
        detector = DetectorStore(run, each, experiment.methods[each], inputs["detectors"][each]).load(plan.name)
        if isinstance(detector, Failed):
            raise UserError(f"{run}: the fitting of {each} failed: {detector.reason}")
        found[each] = detector
        wanted += [item.name for item in score_inputs(detector.method) if item.name not in wanted]
    return found
