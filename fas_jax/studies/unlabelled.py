"""Target-unlabelled, a protocol of its own: what unlabelled videos of the target would give to a trained run.

The run's detectors score videos of the target's training and development splits, which no strict figure reads. Their
scores, without labels, move the sources' threshold (`evaluation.normalisation`), which is then judged on the run's test
videos. The labels serve one purpose: to draw streams with a known share of attacks. The run's own scores and figures
stay as they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.base.locks import locked
from fas_jax.base.logits import nearest_logit
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation import metrics
from fas_jax.evaluation.calibration import logits_of
from fas_jax.evaluation.metrics import MetricError
from fas_jax.evaluation.normalisation import BOUND, GUARDED, NORMALISATIONS, moved_threshold
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.evaluation.thresholds import choose_for, source_rows
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import ORACLE, Plan, plan
from fas_jax.experiment.results import run_scores, stored_detectors
from fas_jax.experiment.run import IN_USE, open_inputs, read_inputs, read_run
from fas_jax.experiment.scoring import score_clips
from fas_jax.methods.data import Scores
from fas_jax.protocols.presets import find_preset
from fas_jax.reporting.extra_tables import BridgeColumn, ExtraTable, write_extra_table
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import model_name, protocol_name

SHARES = (0.0, 0.1, 0.5, 0.9)
"""Of attacks among the unlabelled videos."""
DRAWS = 20
"""Streams that are drawn for each share; figures are their means."""
FEWEST = 10
"""Videos of a stream, at least."""
_TEXT = (
    "Target-unlabelled: not the strict protocol. Unlabelled videos of the target's training and development splits "
    "moved the threshold; its test videos judge it. HTER in % by the share of attacks among the unlabelled videos, "
    "which a deployed system does not know; means over {draws} draws and over seeds. {rules}. A stream without attacks "
    "may raise BPCER above that of the sources' threshold by at most {bound:g} points; the last column says where it "
    "does not keep to this."
)


@dataclass(frozen=True)
class Adapted:
    """A method under one protocol and seed, with the threshold that streams of one share of attacks moved."""

    protocol: str
    seed: int
    model: str
    normalisation: str
    """One of `NORMALISATIONS`; empty for the sources' threshold as it is."""
    share: float
    """Of attacks in the stream; NaN without a stream."""
    videos: int
    """Of a stream."""
    hter: float
    """Of the target's test videos, mean over draws; NaN where it is undefined."""
    far: float
    bpcer: float
    note: str = ""
    """Why a figure is undefined."""


def adapt_to_unlabelled(folder: Path, cache: Path | None = None) -> ExtraTable:
    """Normalises a trained run's scores by unlabelled videos of each target.

    Writes `unlabelled.json` into the run's folder, and the table for the run's next report.

    Args:
        folder: Of a trained run.
        cache: Where the cache with the run's inputs is now, if it was moved.

    Raises:
        UserError: The run is not trained, its inputs are not there, no target has videos beside its test part, a target
            is sealed, or another process is at work in the run's folder.
    """
    folder = Path(folder)
    experiment, inputs = read_run(folder), read_inputs(folder)
    with locked(folder, IN_USE):
        return _adapt(folder, experiment, inputs, cache)


def _adapt(folder: Path, experiment: Experiment, inputs: dict[str, Any], cache: Path | None) -> ExtraTable:
    corpus = open_inputs(folder, cache)
    plans = plan(experiment, corpus.videos)
    if experiment.evaluation.selection == ORACLE:
        raise UserError(
            f"{folder} has chosen its epochs on the target (evaluation.selection = {ORACLE}), labels included; ask a "
            "run with another selection"
        )
    streams = {number: unlabelled_videos(each, corpus.videos) for number, each in enumerate(plans)}
    usable = [number for number, videos in streams.items() if len(videos)]
    if not usable:
        raise UserError(
            f"no protocol of {folder} has unlabelled videos of its target: it takes a target whose training and "
            "development splits the protocol does not use, under a preset that does not choose on the target"
        )
    record_readings(
        experiment, [plans[number] for number in usable], "target-unlabelled", cache or stored_cache(inputs)
    )
    scores = run_scores(experiment, folder, inputs, cache)
    clips = corpus.open(np.concatenate([streams[number] for number in usable]))
    rows = [clips.find(streams[number]) for number in range(len(plans))]
    found = score_clips(experiment, clips, rows, stored_detectors(experiment, folder, inputs))
    adapted: list[Adapted] = []
    for number in usable:
        own = scores.select(protocol=plans[number].protocol.name, seed=plans[number].seed)
        videos = clips.videos[rows[number]]
        for model in experiment.methods:
            stream = _scored(plans[number], model, videos, found[model][number])
            rule, set_by = experiment.evaluation.threshold, experiment.evaluation.threshold_from
            adapted += adapt(own.select(model=model), stream, rule, set_by)
    without = [each.protocol.name for n, each in enumerate(plans) if n not in usable and len(each.assignment.test)]
    table = unlabelled_table(adapted, list(dict.fromkeys(without)))
    # JSON has no NaN.
    write_json(
        folder / "unlabelled.json",
        [{name: None if value != value else value for name, value in vars(each).items()} for each in adapted],
    )
    write_extra_table(folder, "3-unlabelled", table)
    return table


def unlabelled_videos(each: Plan, videos: VideoTable) -> Int[np.ndarray, " k"]:
    """Videos of a plan's target that may be its stream: of people whom it neither trains on, validates on nor tests.

    None for a plan without a target, or whose preset chooses on the target.
    """
    taken = np.concatenate([each.assignment.train, each.assignment.validation, each.assignment.test])
    test = each.assignment.test
    if not len(test) or find_preset(each.protocol.preset).on_target:
        return np.zeros(0, np.int64)
    datasets = set(np.asarray(videos.dataset[test]).tolist())
    people = set(zip(videos.dataset[taken].tolist(), videos.subject[taken].tolist(), strict=True))
    own = zip(videos.dataset.tolist(), videos.subject.tolist(), videos.split.tolist(), strict=True)
    wanted = [
        dataset in datasets and split in ("train", "dev") and not (subject and (dataset, subject) in people)
        for dataset, subject, split in own
    ]
    return np.setdiff1d(np.flatnonzero(wanted), taken)


def _scored(each: Plan, model: str, videos: VideoTable, scores: Scores) -> ScoreTable:
    rows = ScoreTable.from_videos(
        each.protocol.name, each.seed, TEST, model, videos, scores.clip, scores.reason or None
    )
    rows = rows.scored_by(model, scores.clip, scores.reason or None, scores.logit)
    return rows.rows(rows.answered)


def stream_sizes(attacks: int, bona_fide: int) -> dict[float, int]:
    """Videos of a stream by its share of attacks: as many for each share as all can have that have enough; else 0."""
    most = {share: int(min(bona_fide / (1 - share), attacks / share if share else np.inf) + 1e-9) for share in SHARES}
    size = min((count for count in most.values() if count >= FEWEST), default=0)
    return {share: size if count >= FEWEST else 0 for share, count in most.items()}


def draw_stream(labels: Int[np.ndarray, " n"], share: float, size: int, seed: Sequence[int]) -> Int[np.ndarray, " m"]:
    """Rows of a stream of `size` videos with a share of attacks, rounded; larger shares hold the attacks of smaller."""
    generator = np.random.default_rng(seed)
    attacks, bona_fide = (generator.permutation(np.flatnonzero(labels == label)) for label in (0, 1))
    count = round(share * size)
    return np.concatenate([attacks[:count], bona_fide[: size - count]])


def adapt(rows: ScoreTable, stream: ScoreTable, rule: str, set_by: str) -> list[Adapted]:
    """The strict figures of one model under one protocol and seed, then those of every normalisation and share.

    Args:
        rows: Of the run's scores.
        stream: Scored videos to draw streams from.
        rule: As `Rule.parse` reads it.
        set_by: The role whose rows set the threshold.
    """
    test, held = rows.select(role=TEST), source_rows(rows, set_by)
    test = test.rows(test.answered)
    seed = int(rows.seed[0])
    adapted = partial(Adapted, str(rows.protocol[0]), seed, str(rows.model[0]))
    undefined = np.nan, np.nan, np.nan
    sizes = stream_sizes(int(np.sum(stream.label == 0)), int(np.sum(stream.label == 1)))
    cases = [(name, share, size) for name in NORMALISATIONS for share, size in sizes.items()]
    try:
        threshold = choose_for(rule, held).value
        strict = metrics.rates(test.score, test.label, threshold)
        source, target = logits_of(held), logits_of(test)
        pool = logits_of(stream) if len(stream) else np.zeros(0)
    except MetricError as error:
        return [adapted(*case, *undefined, str(error)) for case in [("", np.nan, 0), *cases]]

    def judge(name: str, share: float, size: int, draw: int) -> tuple[float, float, float]:
        drawn = pool[draw_stream(stream.label, share, size, [seed, draw])]
        moved = moved_threshold(name, nearest_logit(threshold), source, drawn)
        rates = metrics.rates(target, test.label, moved)
        return rates.hter, rates.far, rates.frr

    found = [adapted("", np.nan, 0, strict.hter, strict.far, strict.frr)]
    for name, share, size in cases:
        if not size:
            why = f"too few unlabelled videos for a share of attacks of {100 * share:g} %"
            found.append(adapted(name, share, size, *undefined, why))
            continue
        try:
            figures = np.mean([judge(name, share, size, draw) for draw in range(DRAWS)], axis=0).tolist()
            found.append(adapted(name, share, size, *figures))
        except MetricError as error:
            found.append(adapted(name, share, size, *undefined, str(error)))
    return found


def unlabelled_table(found: Sequence[Adapted], without: Sequence[str] = ()) -> ExtraTable:
    """All methods, with the strict row of each first; and the column that the bridge of the report gets.

    Args:
        found: Of `adapt`.
        without: Protocols that have no unlabelled videos of their target.
    """
    rows: list[list[str]] = []
    bridge: dict[str, dict[str, str]] = {}
    for protocol, model in dict.fromkeys((each.protocol, each.model) for each in found):
        own = [each for each in found if (each.protocol, each.model) == (protocol, model)]
        strict = _mean(each for each in own if not each.normalisation)
        about = [protocol_name(protocol), model_name(model)]
        # No stream moves it: its HTER is the same for all shares.
        rows.append([*about, "none (strict)", "—", *[_percent(strict[0])] * len(SHARES), _percent(strict[1]), "—"])
        for name in NORMALISATIONS:
            by_share = {
                share: [each for each in own if (each.normalisation, each.share) == (name, share)] for share in SHARES
            }
            hter = {share: _mean(group)[0] for share, group in by_share.items()}
            clean = _mean(by_share[0.0])
            rise = clean[1] - strict[1]
            keeps = "yes" if rise <= BOUND + 1e-9 else f"no: {100 * rise:+.2f}"
            videos = sorted({each.videos for group in by_share.values() for each in group if each.videos})
            size = "—" if not videos else " to ".join(dict.fromkeys(map(str, (videos[0], videos[-1]))))
            cells = [size, *map(_percent, hter.values()), _percent(clean[1])]
            rows.append([*about, name, *cells, UNDEFINED if np.isnan(rise) else keeps])
            known = [value for value in hter.values() if not np.isnan(value)]
            if name == GUARDED and known:
                ends = dict.fromkeys(_percent(value) for value in (min(known), max(known)))
                bridge.setdefault(protocol, {})[model] = " to ".join(ends)
    header = ["protocol", "model", "normalisation", "unlabelled videos"]
    header += [f"HTER, {100 * share:g} % attacks" for share in SHARES]
    header += ["BPCER without attacks", f"BPCER rises by at most {100 * BOUND:g}"]
    said = "; ".join(f"{name}: {words}" for name, words in NORMALISATIONS.items())
    text = _TEXT.format(draws=DRAWS, rules=said[0].upper() + said[1:], bound=100 * BOUND)
    sentences = [f"{protocol_name(name)} has no unlabelled videos of its target." for name in without]
    sentences += dict.fromkeys(
        f"{protocol_name(each.protocol)}, {model_name(each.model)}: {each.note}." for each in found if each.note
    )
    shares = f"{100 * SHARES[0]:g} to {100 * SHARES[-1]:g} % attacks"
    column = BridgeColumn(f"HTER, target-unlabelled ({GUARDED}, {shares})", bridge)
    return ExtraTable("Target-unlabelled", " ".join([text, *sentences]), Grid(header, rows), column)


def _mean(found: Iterable[Adapted]) -> tuple[float, float]:
    """HTER and BPCER over seeds."""
    figures = [(each.hter, each.bpcer) for each in found]
    hter, bpcer = np.mean(figures, axis=0).tolist() if figures else (np.nan, np.nan)
    return hter, bpcer


def _percent(value: float) -> str:
    return UNDEFINED if np.isnan(value) else f"{100 * value:.2f}"
