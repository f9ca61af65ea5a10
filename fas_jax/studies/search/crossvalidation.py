"""Random search over algorithms and hyper-parameters on the sources alone: the simple baseline of the CASH problem.

Combined algorithm selection and hyper-parameter optimisation; random search under cross-validation comes close to
more learned methods (Stadelmann et al. 2018, sections 4 and 7). The sources' training videos are cut into folds by
subject. A fold is scored by a model that was trained on the others, as the out-of-fold models of the ensemble are:
stopped early by the protocol's validation part, whose videos are in no fold and whose equal error rate sets the
threshold. A setting's score is the mean over the folds of the HTER at that threshold: what the final table is made of.
The features of the target are not opened.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, read_json, write_json
from fas_jax.base.settings import Experiment
from fas_jax.crossdataset import Trial, source_videos
from fas_jax.evaluation import metrics
from fas_jax.features.corpus import Corpus, Pool
from fas_jax.methods.baselines import fit_logistic, scratch_inputs
from fas_jax.methods.stacking import fuse
from fas_jax.models.recurrent import Architecture
from fas_jax.protocols.cuts import subject_folds
from fas_jax.runtime import devices
from fas_jax.runtime.progress import progress_bar
from fas_jax.studies.search.outcomes import Found, Outcome
from fas_jax.studies.search.space import MEAN_FEATURE, Setting, draw
from fas_jax.training.chunks import binding, train_in_waves
from fas_jax.training.fitting import Clips, Fit, Run, predict


@dataclass(frozen=True)
class Cut:
    """One fold under one seed; rows of the pool."""

    name: str
    seed: int
    train: Int[np.ndarray, " n"]
    """The other folds."""
    validation: Int[np.ndarray, " m"]
    """The protocol's own: they stop the training and set the threshold."""
    held: Int[np.ndarray, " k"]
    """The fold, which is scored."""


def search_protocol(
    experiment: Experiment,
    trials: Sequence[Trial],
    corpus: Corpus,
    folder: Path,
) -> Found:
    """Scores every setting on every fold of a protocol's sources.

    What is scored is kept in `folder`: an interrupted search goes on, and one with more trials adds to it.

    Args:
        experiment: Settings, of which `search` says what is drawn.
        trials: The protocol's, one a seed, from `crossdataset.plan`.
        corpus: All datasets; those that are no source are not opened.
        folder: For what is scored, and for checkpoints.

    Raises:
        UserError: Fewer subjects than folds, or no fold with both classes.
    """
    videos = source_videos(trials)
    pool = corpus.open(videos)
    cuts = [cut for trial in trials for cut in _cuts(experiment.search.folds, trial, pool)]
    judge = _Judge(experiment, pool)
    undefined = [text for cut in cuts if (text := judge.lacks(cut))]
    if len(undefined) == len(cuts):
        raise UserError(f"no fold can be scored ({'; '.join(undefined)}); ask for fewer search.folds")
    data = fingerprint([store.fingerprint for store in corpus.stores_of(videos)])
    context = {
        "data": data,
        "cuts": [[part.tolist() for part in (cut.train, cut.validation, cut.held)] for cut in cuts],
        "seeds": [cut.seed for cut in cuts],
        "training": binding(experiment.training),
        "rule": [experiment.evaluation.fusion, experiment.evaluation.threshold],
    }
    scored = _Scored(folder / "scored.json", fingerprint(context))
    settings = [draw(experiment.search, number) for number in range(experiment.search.trials)]
    left = list(dict.fromkeys(setting for setting in settings if setting not in scored))
    work = folder / "work"
    title = f"search {trials[0].protocol.name}"
    with progress_bar(total=len(settings), initial=len(settings) - len(left), desc=title, unit="trial") as bar:
        simple = [setting for setting in left if setting.algorithm == MEAN_FEATURE]
        if simple:
            with scratch_inputs(work, pool.features, pool.mask, pool.infos) as inputs:
                for setting in simple:
                    scored.add(setting, _score_mean_feature(setting, cuts, inputs[MEAN_FEATURE], judge))
                    bar.update()
        clips = pool.clips(experiment.training.resident_mb)
        for group in _groups([setting for setting in left if setting.algorithm != MEAN_FEATURE]):
            place = work / fingerprint([asdict(setting) for setting in group])[:16]
            for setting, figures in zip(
                group, _score_group(experiment, group, cuts, clips, judge, place, data), strict=True
            ):
                scored.add(setting, figures)
                bar.update()
    if devices.is_first():
        shutil.rmtree(work, ignore_errors=True)
    outcomes = [Outcome(number, setting, **scored[setting]) for number, setting in enumerate(settings)]
    outcomes.sort(key=lambda each: each.order)
    datasets = tuple(sorted(pool.videos.dataset.present()))
    return Found(trials[0].protocol, tuple(outcomes), tuple(cut.name for cut in cuts), datasets, tuple(undefined))


class _Judge:
    """Turns scores of a cut's validation part and fold into figures."""

    def __init__(self, experiment: Experiment, pool: Pool) -> None:
        self.evaluation, self.mask = experiment.evaluation, pool.mask
        self.labels = pool.videos.label
        self.domains = np.asarray(pool.videos.dataset)

    def lacks(self, cut: Cut) -> str:
        """What the fold would need to be scored; empty where it has it."""
        found = set(self.labels[cut.held].tolist())
        missing = [name for name, label in (("bona fide", 1), ("attack", 0)) if label not in found]
        return f"{cut.name} holds no {' and no '.join(missing)} video" if missing else ""

    def frames(self, cut: Cut, frames: Float[np.ndarray, "m t"]) -> tuple[float, float]:
        """HTER and AUC from P(bona fide) at every frame of the validation part, then of the fold."""
        rows = np.concatenate([cut.validation, cut.held])
        return self.videos(cut, fuse(frames, self.mask[rows], self.evaluation.fusion))

    def videos(self, cut: Cut, scores: Float[np.ndarray, " m"]) -> tuple[float, float]:
        """As `frames`, from the videos' scores."""
        if self.lacks(cut) or not np.isfinite(scores).all():
            return np.nan, np.nan
        count = len(cut.validation)
        labels = self.labels[cut.validation]
        tau = metrics.threshold_by(self.evaluation.threshold, scores[:count], labels, self.domains[cut.validation])
        held, labels = scores[count:], self.labels[cut.held]
        return metrics.rates(held, labels, tau).hter, metrics.auc(held, labels)


class _Scored:
    """Figures of the settings that have been scored so far, in a file."""

    def __init__(self, path: Path, context: str) -> None:
        self._path, self._context = path, context
        known = read_json(path) if path.exists() else {}
        # Of other data, folds or training nothing is of use.
        self._known: dict[str, Any] = known["scored"] if known.get("context") == context else {}

    def __contains__(self, setting: Setting) -> bool:
        return fingerprint(asdict(setting)) in self._known

    def __getitem__(self, setting: Setting) -> dict[str, np.ndarray]:
        known = self._known[fingerprint(asdict(setting))]
        return {name: np.array(values, float if name in ("hter", "auc") else int) for name, values in known.items()}

    def add(self, setting: Setting, figures: dict[str, np.ndarray]) -> None:
        """Writes the file anew; JSON has no NaN."""
        self._known[fingerprint(asdict(setting))] = {
            name: [None if np.isnan(value) else value for value in values.tolist()] for name, values in figures.items()
        }
        if devices.is_first():
            write_json(self._path, {"context": self._context, "scored": self._known})


def _cuts(folds: int, trial: Trial, pool: Pool) -> list[Cut]:
    train, validation = (pool.find(part) for part in (trial.assignment.train, trial.assignment.validation))
    fold = subject_folds(pool.videos, train, folds, trial.seed, "search.folds")
    return [
        Cut(f"seed {trial.seed} fold {k}", trial.seed, train[fold != k], validation, train[fold == k])
        for k in range(folds)
    ]


def _score_mean_feature(setting: Setting, cuts: Sequence[Cut], inputs: Any, judge: _Judge) -> dict[str, np.ndarray]:
    figures = []
    for cut in cuts:
        model = fit_logistic(inputs.take(cut.train), judge.labels[cut.train], setting.regularisation or 1.0)
        figures.append(judge.videos(cut, model.scores(inputs.take(np.concatenate([cut.validation, cut.held]))[:])))
    hter, auc = np.array(figures).T
    none = np.zeros(len(cuts), int)
    return {"hter": hter, "auc": auc, "epoch": none, "failed": none}


def _groups(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Settings that are one program."""

    def program(setting: Setting) -> tuple[str, int]:
        return setting.algorithm, setting.hidden or 0

    return [list(group) for _, group in groupby(sorted(settings, key=program), program)]


def _score_group(
    experiment: Experiment,
    group: Sequence[Setting],
    cuts: Sequence[Cut],
    clips: Clips,
    judge: _Judge,
    folder: Path,
    data: str,
) -> list[dict[str, np.ndarray]]:
    """Trains the runs of all settings and cuts side by side, and keeps their figures alone."""
    # Their curves would go with the folder.
    settings, first = replace(experiment.training, events=False), group[0]
    # Which of the initialisations stands here does not matter: every run has its own.
    architecture = Architecture(first.algorithm, clips.features.shape[-1], first.hidden or 0, "he")
    own = ("learning_rate", "weight_decay", "balance", "initialisation")
    runs = [
        Run(
            f"setting {place + 1}, {cut.name}",
            cut.seed,
            cut.train,
            cut.validation,
            **{name: getattr(setting, name) for name in own},
        )
        for place, setting in enumerate(group)
        for cut in cuts
    ]

    def keep(start: int, found: Fit) -> dict[str, Any]:
        cut_of = [cuts[(start + i) % len(cuts)] for i in range(len(found.failed))]
        rows = [np.concatenate([cut.validation, cut.held]) for cut in cut_of]
        frames = predict(architecture, found.params, clips, rows, settings=settings)
        hter, auc = np.array([judge.frames(*each) for each in zip(cut_of, frames, strict=True)]).T
        return {"hter": hter, "auc": auc, "epoch": np.asarray(found.best_epoch), "failed": np.asarray(found.failed)}

    name = f"{first.algorithm}-{first.hidden}"
    waves = train_in_waves(name, architecture, runs, clips, settings, folder, data, keep=keep, all_may_fail=True)
    joined = {name: np.concatenate([wave[name] for wave in waves]).reshape(len(group), -1) for name in waves[0]}
    return [{name: values[i] for name, values in joined.items()} for i in range(len(group))]
