"""Random search over methods and their settings on the sources alone: the simple baseline of the CASH problem.

The CASH problem is the combined selection of an algorithm and its hyper-parameters. Random search under
cross-validation is a useful baseline for it, and no more: in the table of Stadelmann et al. (2018, section 7) it
reaches .699, behind auto-sklearn's Bayesian optimisation with .765 and TPOT's genetic programming with .750.

The sources' training videos are cut into folds by subject. A fold is scored by a detector that was fitted on the
others, as out-of-fold scores for stacks are: the protocol's validation videos, which are in no fold, stop its training
and set the threshold. A setting's score is the mean over the folds of the HTER at that threshold: what the final table
is made of. With `evaluation.selection = "leave-one-source-out"` the folds are the sources, and a detector trains and
validates on the other sources alone. The inputs of the target are not opened.
"""

import dataclasses
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, read_json, write_json
from fas_jax.evaluation import metrics
from fas_jax.evaluation.thresholds import threshold_by
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus, CorpusClips
from fas_jax.experiment.planning import LEFT_OUT, TRAINING_DOMAIN, Plan, cross_source_plans, source_videos, tasks_of
from fas_jax.methods.base import Desk, Failed, Job, Method, Range, identity
from fas_jax.methods.data import WHOLE, Task
from fas_jax.reporting.materials import materials_of
from fas_jax.runtime import devices
from fas_jax.runtime.progress import progress_bar
from fas_jax.studies.search.outcomes import Figures, Found, Outcome
from fas_jax.studies.search.space import draw_all

# Settings that are fitted in one call, side by side: the detectors of all their folds are in memory until they have
# been scored. Networks on frames train one after the other and are large.
_AT_ONCE, _ON_FRAMES_AT_ONCE = 8, 1


def search_protocol(experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, folder: Path) -> Found:
    """Scores every setting on every fold of a protocol's sources.

    What is scored is kept in `folder`: an interrupted search goes on, and one with more trials adds to it.

    Args:
        experiment: Settings, of which `search` says how many are drawn, and each method what is drawn for it.
        plans: The protocol's, one a seed, from `planning.plan`.
        corpus: All datasets; those that are no source are not opened.
        folder: For what is scored, and for checkpoints.

    Raises:
        UserError: Fewer subjects than folds, no fold with both classes, or nothing can be drawn.
    """
    videos = source_videos(plans)
    clips = corpus.open(videos)
    unseen = cross_source_plans(plans, corpus.videos) if experiment.evaluation.selection == LEFT_OUT else []
    shared = experiment.evaluation.shared_subjects
    parts = tasks_of(plans, clips, experiment.search.folds, shared, "search.folds", unseen)
    tasks = [task for own in parts for task in own if task.part != WHOLE]
    judge = _Judge(clips, experiment.evaluation.threshold)
    undefined = [text for task in tasks if (text := judge.lacks(task))]
    if len(undefined) == len(tasks):
        raise UserError(f"no fold can be scored ({'; '.join(undefined)}); ask for fewer search.folds")
    stores = corpus.stores_of(videos)
    data = fingerprint([store.fingerprint for store in stores])
    context = {
        "data": data,
        "folds": [[part.tolist() for part in (task.train, task.validation, task.held)] for task in tasks],
        "seeds": [task.seed for task in tasks],
        "threshold": experiment.evaluation.threshold,
    }
    scored = _Scored(folder / "scored.json", fingerprint(context))
    settings = draw_all(experiment)
    drawn = [(each.method, each.apply(experiment.methods[each.method])) for each in settings]
    left = {_key(method): (name, method) for name, method in drawn if method not in scored}
    numbers = {_key(method): number for number, (_, method) in reversed(list(enumerate(drawn)))}
    title = f"search {plans[0].protocol.name}"
    alone = f"{plans[0].protocol.name} has one source, so that its folds are cut by subject ({TRAINING_DOMAIN})"
    if experiment.evaluation.selection == LEFT_OUT and devices.is_first():
        cost = f"{title} by {LEFT_OUT}: {len(tasks)} fittings of every setting, one for each source and seed"
        print(cost if unseen else alone, flush=True)
    with progress_bar(total=len(settings), initial=len(settings) - len(left), desc=title, unit="trial") as bar:
        for name, methods in _batches(list(left.values())):
            place = folder / "work" / fingerprint([identity(method) for method in methods])[:16]
            desk = Desk(name, experiment.training, place, data, quiet=True)
            scored.add(methods, _score(methods, [numbers[_key(each)] for each in methods], tasks, clips, judge, desk))
            devices.wait_for_all(str(place))
            if devices.is_first():
                shutil.rmtree(place, ignore_errors=True)
            bar.update(len(methods))
    if devices.is_first():
        shutil.rmtree(folder / "work", ignore_errors=True)
    outcomes = [
        Outcome(number, setting, scored[method])
        for number, (setting, (_, method)) in enumerate(zip(settings, drawn, strict=True))
    ]
    outcomes.sort(key=lambda each: each.order)
    datasets = tuple(sorted(clips.videos.dataset.present()))
    names = tuple(_name(task) for task in tasks)
    caveats = materials_of(stores).caveats()
    if experiment.evaluation.selection == LEFT_OUT and not unseen:
        caveats.append(f"{alone}.")
    return Found(plans[0].protocol, tuple(outcomes), names, datasets, tuple(undefined), tuple(caveats), bool(unseen))


def _name(task: Task) -> str:
    return f"seed {task.seed} {task.part}"


class _Judge:
    """Turns scores of a task's validation clips and its fold into figures."""

    def __init__(self, clips: CorpusClips, rule: str) -> None:
        self._rule, self._labels = rule, clips.labels
        self._datasets = np.asarray(clips.videos.dataset)

    def lacks(self, task: Task) -> str:
        """What the fold would need to be scored; empty where it has it."""
        found = set(self._labels[task.held].tolist())
        missing = [name for name, label in (("bona fide", 1), ("attack", 0)) if label not in found]
        return f"{_name(task)} holds no {' and no '.join(missing)} video" if missing else ""

    def figures(self, task: Task, scores: Float[np.ndarray, " m"]) -> tuple[float, float, str]:
        """HTER and AUC from the scores of the validation clips, then of the fold; or why there are none.

        As in the final table, a clip without a decision counts in neither.
        """
        if self.lacks(task):
            return np.nan, np.nan, ""
        rows = np.concatenate([task.validation, task.held])
        answered = ~np.isnan(scores)
        fold = np.arange(len(rows)) >= len(task.validation)
        (held, own), (validation, chosen) = ((rows[part], scores[part]) for part in (answered & fold, answered & ~fold))
        try:
            tau = threshold_by(self._rule, chosen, self._labels[validation], self._datasets[validation])
            labels = self._labels[held]
            return metrics.rates(own, labels, tau).hter, metrics.auc(own, labels), ""
        except metrics.MetricError as error:
            return np.nan, np.nan, str(error)


class _Scored:
    """Figures of the methods' settings that have been scored so far, in a file."""

    def __init__(self, path: Path, context: str) -> None:
        self._path, self._context = path, context
        known = read_json(path) if path.exists() else {}
        # Of other data, folds or thresholds nothing is of use.
        self._known: dict[str, Any] = known["scored"] if known.get("context") == context else {}

    def __contains__(self, method: Method) -> bool:
        return _key(method) in self._known

    def __getitem__(self, method: Method) -> Figures:
        known = self._known[_key(method)]
        return Figures(np.array(known["hter"], float), np.array(known["auc"], float), tuple(known["failed"]))

    def add(self, methods: Sequence[Method], found: Sequence[Figures]) -> None:
        """Writes the file anew; JSON has no NaN."""
        for method, each in zip(methods, found, strict=True):
            numbers = {name: [None if np.isnan(v) else v for v in getattr(each, name).tolist()] for name in _NUMBERS}
            self._known[_key(method)] = {**numbers, "failed": list(each.failed)}
        if devices.is_first():
            write_json(self._path, {"context": self._context, "scored": self._known})


_NUMBERS = ("hter", "auc")


def _key(method: Method) -> str:
    return fingerprint(identity(method))


def _batches(left: Sequence[tuple[str, Method]]) -> list[tuple[str, list[Method]]]:
    """Settings that are fitted in one call, with the method's name: of one method, and of the same inputs.

    Those whose named values agree come together, because they can share a program. Batches do not depend on which
    batches before them are scored already, so that an interrupted one is found again.
    """

    def same(each: tuple[str, Method]) -> tuple[str, str]:
        return each[0], repr(each[1].inputs())

    def order(each: tuple[str, Method]) -> tuple[str, str, str]:
        method = each[1]
        named = [getattr(method, name) for name, among in method.variants().items() if not isinstance(among, Range)]
        return *same(each), repr(named)

    batches = []
    for (name, _), group in itertools.groupby(sorted(left, key=order), same):
        methods = [method for _, method in group]
        on_frames = any(item.kind == "frames" for item in methods[0].inputs())
        size = _ON_FRAMES_AT_ONCE if on_frames else _AT_ONCE
        batches += [(name, methods[start : start + size]) for start in range(0, len(methods), size)]
    return batches


def _score(
    methods: Sequence[Method],
    numbers: Sequence[int],
    tasks: Sequence[Task],
    clips: CorpusClips,
    judge: _Judge,
    desk: Desk,
) -> list[Figures]:
    """Fits all settings of a method on all folds side by side, and keeps their figures alone.

    `numbers` are those of the trials, as in the report; progress bars and messages show them.
    """
    kind = type(methods[0])
    jobs = [
        Job(method, dataclasses.replace(task, name=f"trial {number}, {task.name}"))
        for number, method in zip(numbers, methods, strict=True)
        for task in tasks
    ]
    fitted = kind.fit(jobs, clips, desk)
    detectors = {place: each for place, each in enumerate(fitted) if not isinstance(each, Failed)}
    rows = [np.concatenate([jobs[place].task.validation, jobs[place].task.held]) for place in detectors]
    of_tasks = [jobs[place].task.number for place in detectors]
    scores = dict(zip(detectors, kind.score_all(list(detectors.values()), clips, rows, of_tasks, desk), strict=True))
    found = [
        (np.nan, np.nan, each.reason) if isinstance(each, Failed) else judge.figures(job.task, scores[place].clip)
        for place, (job, each) in enumerate(zip(jobs, fitted, strict=True))
    ]
    figures = []
    for start in range(0, len(found), len(tasks)):
        hter, auc, failed = zip(*found[start : start + len(tasks)], strict=True)
        figures.append(Figures(np.array(hter), np.array(auc), failed))
    return figures
