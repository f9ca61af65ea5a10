"""What waiting is worth: the error of a run's detectors after some seconds of video, and that of a sequential rule.

Thresholds and rules come from the running scores of the sources' validation videos; the target's test videos are read
once, for the figures.
"""

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.base.locks import locked
from fas_jax.deployment.bundle_folder import ABOUT, load_bundle
from fas_jax.deployment.sequential import Sequential, decide, fit_sequential
from fas_jax.deployment.streaming import program_of
from fas_jax.evaluation import metrics
from fas_jax.evaluation.metrics import MetricError
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.fitting import Fitted
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import Plan, plan
from fas_jax.experiment.results import stored_detectors
from fas_jax.experiment.run import IN_USE, open_inputs, read_inputs, read_run
from fas_jax.pixels.selection import spread
from fas_jax.reporting.extra_tables import ExtraTable, write_extra_table
from fas_jax.studies.streaming.page import Point, draw, table_of
from fas_jax.studies.streaming.running import Running, running, seconds_of, streaming_methods

_HORIZONS = 8
_TEXT = (
    "Every detector judges each test video of the target by its frames of the first seconds. Its threshold is the "
    "equal error rate of the sources' validation videos after as many seconds. The rows `sequential` decide as soon as "
    "the running score leaves a band. The band's ends come from the same validation videos: at most {far:.1%} of their "
    "attacks may ever be accepted, and at most {frr:.1%} of their bona fide videos may ever be rejected. A video whose "
    "score is still inside after {seconds:g} seconds, or at its end, is uncertain and counts as rejected. Seconds are "
    "seconds of video until the decision, by the file's frame rate. Milliseconds are the measured time of a kept "
    "frame, from crop to score, times the frames read. Figures are means over test videos, then over seeds; HTER, "
    "APCER (all attacks pooled) and BPCER are in %. Whoever picks a time or a rule by this table chooses on the target."
)


def study(
    run: Path, cache: Path | None = None, far: float = 0.02, frr: float = 0.02, seconds: float = 5.0
) -> tuple[ExtraTable, list[Path]]:
    """Measures a trained run; leaves table and figures for its next report, and the rules in its folder `streaming`.

    Args:
        run: Folder of a trained run, at least one of whose methods can judge a video that still runs.
        cache: Where the cache with the run's inputs is now, if it was moved.
        far: Share of the sources' attacks that the sequential rule may accept.
        frr: Share of the sources' bona fide videos that it may reject.
        seconds: Of video, after which it is uncertain.

    Returns:
        The table, and the files of rules, which `fas-jax predict --stream --rule` reads.

    Raises:
        UserError: The run is not trained, has no target or no method that may stream; its inputs are not there; a
            target is sealed; or another process is at work in the run's folder.
    """
    if not (0 <= far < 1 and 0 <= frr < 1 and seconds > 0):
        raise UserError(f"far and frr are shares below 1 and seconds are above 0, not {far}, {frr} and {seconds}")
    with locked(run, IN_USE):
        return _study(Path(run), cache, far, frr, seconds)


def _study(run: Path, cache: Path | None, far: float, frr: float, seconds: float) -> tuple[ExtraTable, list[Path]]:
    experiment, inputs = read_run(run), read_inputs(run)
    groups = streaming_methods(experiment)
    corpus = open_inputs(run, cache)
    plans = plan(experiment, corpus.videos)
    tested = [number for number, each in enumerate(plans) if len(each.assignment.test)]
    if not tested:
        raise UserError(f"no protocol of {run} tests on a target; add leave-one-out to evaluation.protocols")
    own = [plans[number] for number in tested]
    # Before the target is read: a bundle or a detector that does not load must not cost a reading.
    cost = milliseconds(run, [name for names in groups.values() for name in names])
    every = stored_detectors(experiment, run, inputs).detectors
    record_readings(experiment, own, "study", cache or stored_cache(inputs))
    fitted = Fitted({name: [each[number] for number in tested] for name, each in every.items()})
    parts = [part for each in own for part in (each.assignment.validation, each.assignment.test)]
    clips = corpus.open(np.concatenate(parts))
    points: list[Point] = []
    rules: dict[int, dict[str, Any]] = {}
    for rendition, names in groups.items():
        some = dataclasses.replace(experiment, methods={name: experiment.methods[name] for name in names})
        shown = seconds_of(clips, rendition, experiment.renditions[rendition])
        validated, judged = (
            running(some, clips, [clips.find(getattr(each.assignment, part)) for each in own], fitted, rendition, shown)
            for part in ("validation", "test")
        )
        for name in names:
            for number, each in enumerate(own):
                pair = validated[name][number], judged[name][number]
                found, rule = measure(each.protocol.name, name, *pair, far, frr, seconds)
                points += found
                rules.setdefault(number, {}).update({name: dataclasses.asdict(rule)} if rule else {})
    if not points:
        raise UserError(f"{run}: no detector has scores of validation and test videos of both classes")
    table = table_of(points, cost, _TEXT.format(far=far, frr=frr, seconds=seconds))
    write_extra_table(run, "4-streaming", table)
    draw(run, points, cost)
    return table, [_written(run, experiment, own[number], each) for number, each in rules.items()]


def measure(
    protocol: str, model: str, validation: Running, test: Running, far: float, frr: float, seconds: float
) -> tuple[list[Point], Sequential | None]:
    """A detector after some times, and by the sequential rule; nothing where a class of a part has no score."""
    validation, test = validation.until(seconds), test.until(seconds)
    points = []
    for step, horizon in enumerate(horizons(test)):
        source, own = validation.until(horizon), test.until(horizon)
        known = ~np.isnan(source.last)
        try:
            threshold = metrics.eer_threshold(source.last[known], source.labels[known])
        except MetricError:
            return [], None
        with np.errstate(invalid="ignore"):
            accepted = own.last >= threshold
        nothing = np.zeros(len(accepted), bool)
        waited = np.full(len(accepted), horizon)
        points.append(_point(protocol, model, (horizon, step), test, accepted, nothing, own.frames, waited))
    try:
        rule = fit_sequential(validation.scores, validation.labels, seconds, far, frr)
    except UserError:
        return [], None
    accepted, uncertain, frames = decide(test.scores, rule)
    spent = np.where(frames > 0, test.seconds[np.arange(len(frames)), np.maximum(frames, 1) - 1], 0)
    points.append(_point(protocol, model, (np.nan, -1), test, accepted, uncertain, frames, spent))
    return points, rule


def horizons(test: Running) -> list[float]:
    """Times at which one more frame of every video is known, if it has as many: at most eight, first and last included.

    Cameras differ in their rates, so that frames a quarter of a second apart do not lie at its multiples.
    """
    known = np.where(np.isnan(test.scores), -np.inf, test.seconds).max(0, initial=-np.inf)
    times = np.unique(np.maximum.accumulate(known[np.isfinite(known)]))
    found: list[float] = times[spread(range(len(times)), _HORIZONS)].tolist() if len(times) else []
    return found


def _point(
    protocol: str,
    model: str,
    when: tuple[float, int],
    test: Running,
    accepted: Bool[np.ndarray, " n"],
    uncertain: Bool[np.ndarray, " n"],
    frames: Int[np.ndarray, " n"],
    seconds: Float[np.ndarray, " n"],
) -> Point:
    attacks, bona_fide = (test.labels == label for label in (0, 1))

    def share(values: np.ndarray, part: np.ndarray) -> float:
        return float(values[part].mean()) if part.any() else np.nan

    unsure = (share(uncertain, attacks) + share(uncertain, bona_fide)) / 2
    errors = share(accepted, attacks), 1 - share(accepted, bona_fide)
    return Point(protocol, model, *when, *errors, unsure, float(seconds.mean()), float(frames.mean()))


def milliseconds(run: Path, names: Sequence[str]) -> dict[str, float]:
    """Median time of a kept frame by model, by the run's first bundle; NaN where it has none."""
    found = dict.fromkeys(names, np.nan)
    bundles = sorted((run / "bundles").glob(f"*/{ABOUT}"))
    bundle = load_bundle(bundles[0].parent) if bundles else None
    for name in found if bundle else ():
        if bundle is None or name not in bundle.decisions:
            continue
        program = program_of(bundle, name)
        side, spent = program.rendition.size, []
        frame = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
        jax.block_until_ready(program.step(program.weights, program.start, frame))  # compiles
        for _ in range(9):
            start = time.perf_counter()
            jax.block_until_ready(program.step(program.weights, program.start, frame))
            spent.append(time.perf_counter() - start)
        found[name] = 1000 * statistics.median(spent)
    return found


def _written(run: Path, experiment: Experiment, each: Plan, rules: Mapping[str, Any]) -> Path:
    seed = f"-seed{each.seed}" if len(experiment.seeds) > 1 else ""
    path = run / "streaming" / f"{each.protocol.name}{seed}.json"
    write_json(path, rules)
    return path
