"""The result of a random search on disk: table, what mattered, and settings that scripts/train.py takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.files import write_json, write_text
from fas_jax.base.settings import Experiment, to_dict, to_toml
from fas_jax.evaluation.effects import Effect, fold_noise, rank_effect
from fas_jax.reporting.grid import UNDEFINED, Grid, markdown, to_csv
from fas_jax.reporting.naming import model_name
from fas_jax.studies.search.figures import draw_search
from fas_jax.studies.search.outcomes import Found, Outcome
from fas_jax.studies.search.space import apply, describe

HYPER_PARAMETERS = {
    "hidden": "hidden units",
    "initialisation": "initialisation",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "balance": "class balance",
    "regularisation": "C",
}
_TEXT = (
    "Random search on the sources of {protocol}: {trials} settings, each trained on all but one of {cuts} subject-"
    "disjoint folds of the sources' training videos and scored on that one. The validation part ({preset}), which is "
    "in no fold, stops the training and sets the threshold; the target is not read. The score is the HTER at that "
    "threshold, mean ± standard deviation over the folds, in %; equal scores are parted by AUC."
)
_OPTIMISM = (
    "The best of many scores is better than the setting is: it is no estimate of the error on new videos, which "
    "scripts/evaluate.py gives."
)
_EFFECTS = (
    "Spearman's rank correlation of a number and the HTER (negative: the larger the better), or, of a name, the "
    "correlation ratio of the ranks. Noise is what it stays below in 95 % of random assignments of the same scores: of "
    "{count} hyper-parameters about {chance:.1f} would pass it by chance alone."
)


@dataclass(frozen=True)
class Mattered:
    """One hyper-parameter of one algorithm (or the algorithm itself)."""

    algorithm: str
    name: str
    count: int
    effect: Effect


def write_search(folder: Path, experiment: Experiment, found: Found) -> str:
    """Writes everything into `folder`; returns the Markdown of it.

    `trials.csv`, `trials.json`, `search.md`, `mattered.png`, `best.toml`, and for each algorithm `best-ALGORITHM.toml`.
    """
    effects = what_mattered(found.outcomes)
    noise = _noise(found.outcomes)
    text = _markdown(experiment, found, effects, noise)
    write_text(folder / "search.md", text)
    write_text(folder / "trials.csv", to_csv(trial_table(found.outcomes, noise)))
    write_json(folder / "trials.json", _json(found, effects, noise))
    title = f"{found.protocol.display}: what mattered"
    drawn = {(each.algorithm, each.name): each.effect for each in effects}
    draw_search(folder / "mattered.png", title, found.outcomes, drawn, HYPER_PARAMETERS, noise)
    for stale in folder.glob("best*.toml"):
        stale.unlink()
    for name, outcome in _best(found.outcomes).items():
        write_text(folder / f"{name}.toml", _toml(experiment, found, outcome))
    return text


def what_mattered(outcomes: Sequence[Outcome]) -> list[Mattered]:
    """The effect of the algorithm, and within each algorithm of each hyper-parameter; failed trials have no score."""
    done = [each for each in outcomes if not each.failed.any()]
    scores = np.array([each.score for each in done])
    algorithms = [each.setting.algorithm for each in done]
    found = []
    if len(set(algorithms)) > 1:
        found.append(Mattered("", "algorithm", len(done), rank_effect(algorithms, scores)))
    for algorithm in dict.fromkeys(algorithms):
        mine = [i for i, name in enumerate(algorithms) if name == algorithm]
        settings = [describe(done[i].setting) for i in mine]
        for name in HYPER_PARAMETERS:
            if name in settings[0]:
                effect = rank_effect([setting[name] for setting in settings], scores[mine])
                found.append(Mattered(algorithm, name, len(mine), effect))
    return found


def trial_table(outcomes: Sequence[Outcome], noise: float) -> Grid:
    """All trials, the best first, the failed last."""
    header = ["rank", "trial", "algorithm", *HYPER_PARAMETERS.values(), "HTER", "±", "AUC", "±", "epochs", "note"]
    rows = []
    for rank, each in enumerate(outcomes, 1):
        setting = describe(each.setting)
        own = [_value(setting[name]) if name in setting else "—" for name in HYPER_PARAMETERS]
        epochs = " ".join(str(epoch) for epoch in each.epoch) if each.setting.hidden else "—"
        if each.failed.any():
            at = ", ".join(f"epoch {epoch}" for epoch in each.failed if epoch)
            figures, note = ["failed", "—", "failed", "—"], f"loss not finite at {at}"
        else:
            figures = [_percent(f(values)) for values in (each.hter, each.auc) for f in (np.nanmean, _std)]
            note = "not told apart from the best" if each.score - outcomes[0].score < noise else ""
        rows.append([str(rank), str(each.number), model_name(each.setting.algorithm), *own, *figures, epochs, note])
    return Grid(header, rows)


def _markdown(experiment: Experiment, found: Found, effects: Sequence[Mattered], noise: float) -> str:
    outcomes = found.outcomes
    facts = {
        "protocol": found.protocol.display,
        "trials": len(outcomes),
        "cuts": len(found.cuts),
        "preset": found.protocol.preset,
    }
    parts = [f"# Search: {found.protocol.display}", _TEXT.format(**facts)]
    if any(name.startswith("synth-") for name in found.datasets):
        parts.append("**The videos are rendered: this says nothing about real attacks.**")
    if found.undefined:
        parts.append(f"Folds that cannot be scored are left out of the means: {'; '.join(found.undefined)}.")
    failed = sum(bool(each.failed.any()) for each in outcomes)
    if failed:
        parts.append(
            f"{failed} of {len(outcomes)} trials failed: their loss did not stay finite. They are ranked last."
        )
    if not np.isnan(noise):
        parts.append(
            f"Settings whose HTER differ by less than {100 * noise:.2f} points (two standard errors, folds' own "
            f"difficulty taken away) are not told apart. {_OPTIMISM}"
        )
    parts.append(markdown(trial_table(outcomes, noise)))
    if effects:
        parts += ["## What mattered", _EFFECTS.format(count=len(effects), chance=0.05 * len(effects))]
        rows = [
            [
                model_name(each.algorithm) if each.algorithm else "all",
                HYPER_PARAMETERS.get(each.name, each.name),
                str(each.count),
                str(each.effect),
                UNDEFINED if np.isnan(each.effect.noise) else f"{each.effect.noise:.2f}",
                "yes" if each.effect.clear else "not seen",
            ]
            for each in effects
        ]
        parts += [markdown(Grid(["algorithm", "hyper-parameter", "trials", "effect", "noise", "matters"], rows))]
        parts += ["![What mattered](mattered.png)"]
    files = ", ".join(f"{name}.toml" for name in _best(outcomes))
    if files:
        parts.append(f"`python scripts/train.py --config FILE` trains a setting as it stands in {files}.")
    return "\n\n".join(parts) + "\n"


def _json(found: Found, effects: Sequence[Mattered], noise: float) -> dict[str, Any]:
    return {
        "protocol": found.protocol.name,
        "datasets": list(found.datasets),
        "folds": list(found.cuts),
        "undefined": list(found.undefined),
        "two_standard_errors": _or_none(noise),
        "trials": [
            {
                "rank": rank,
                "trial": each.number,
                **describe(each.setting),
                "failed": bool(each.failed.any()),
                "hter": _or_none(each.score),
                "hter_by_fold": [_or_none(value) for value in each.hter.tolist()],
                "auc_by_fold": [_or_none(value) for value in each.auc.tolist()],
                "best_epoch_by_fold": each.epoch.tolist(),
                "failed_epoch_by_fold": each.failed.tolist(),
            }
            for rank, each in enumerate(found.outcomes, 1)
        ],
        "effects": [
            {
                "algorithm": each.algorithm,
                "hyper_parameter": each.name,
                "trials": each.count,
                "effect": _or_none(each.effect.size),
                "noise": _or_none(each.effect.noise),
            }
            for each in effects
        ],
    }


def _best(outcomes: Sequence[Outcome]) -> Mapping[str, Outcome]:
    """File names with the best outcome of all, and of each algorithm."""
    found: dict[str, Outcome] = {}
    for each in outcomes:
        if not each.failed.any():
            found.setdefault("best", each)
            found.setdefault(f"best-{each.setting.algorithm}", each)
    return found


def _toml(experiment: Experiment, found: Found, outcome: Outcome) -> str:
    trial = f"trial {outcome.number} of a search over the sources of {found.protocol.display}"
    head = (
        f"# {model_name(outcome.setting.algorithm)}, {trial}: HTER {100 * outcome.score:.2f} %\n"
        f"# on folds of the sources. The other models take the same training settings.\n\n"
    )
    return head + to_toml(to_dict(apply(experiment, found.protocol, outcome.setting))) + "\n"


def _noise(outcomes: Sequence[Outcome]) -> float:
    scores = np.array([each.hter for each in outcomes if not each.failed.any()])
    return fold_noise(scores[:, ~np.isnan(scores).any(0)]) if len(scores) else np.nan


def _std(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else np.nan


def _percent(share: Any) -> str:
    return UNDEFINED if np.isnan(share) else f"{100 * share:.2f}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
