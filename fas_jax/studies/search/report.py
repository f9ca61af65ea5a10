"""The result of a random search on disk: table, what mattered, and settings that fas-jax train takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.files import write_json, write_text
from fas_jax.base.toml import to_toml
from fas_jax.evaluation.effects import Effect, fold_noise, rank_effect
from fas_jax.experiment.configuration import Experiment, experiment_to_dict
from fas_jax.reporting.grid import UNDEFINED, Grid, markdown, plain, to_csv
from fas_jax.reporting.naming import model_name, protocol_title
from fas_jax.studies.search.figures import draw_search
from fas_jax.studies.search.outcomes import Found, Outcome
from fas_jax.studies.search.space import apply

_TEXT = (
    "Random search on the sources of {protocol}: {trials} settings, each fitted on all but one of {folds} subject-"
    "disjoint folds of the sources' training videos and scored on that one. The validation part ({preset}), which is "
    "in no fold, stops the training and sets the threshold; the target is not read. The score is the HTER at that "
    "threshold, mean ± standard deviation over the folds, in %; equal scores are parted by AUC."
)
_BY_SOURCE = (
    "Random search on the sources of {protocol}: {trials} settings, each fitted on all sources but one and scored on "
    "the training videos of that one (leave-one-source-out; {folds} fittings of each setting). The validation part "
    "({preset}) of the other sources stops the training and sets the threshold; the target is not read. The score is "
    "the HTER at that threshold, mean ± standard deviation over the sources, in %; equal scores are parted by AUC."
)
_OPTIMISM = (
    "The best of many scores is better than the setting is: it is no estimate of the error on new videos, which "
    "fas-jax evaluate gives."
)
_EFFECTS = (
    "Spearman's rank correlation of a number and the HTER (negative: the larger the better), or, of a name, the "
    "correlation ratio of the ranks. Noise is what it stays below in 95 % of random assignments of the same scores: of "
    "{count} settings about {chance:.1f} would pass it by chance alone."
)


@dataclass(frozen=True)
class Mattered:
    """One setting of one method, or the choice of the method itself."""

    method: str
    """Empty for the choice of the method."""
    name: str
    """Of the setting."""
    count: int
    """Trials that tell."""
    effect: Effect


def write_search(folder: Path, experiment: Experiment, found: Found) -> str:
    """Writes everything into `folder`; returns the Markdown of it.

    `trials.csv`, `trials.json`, `search.md`, `mattered.png`, `best.toml`, and for each method `best-NAME.toml`.
    """
    effects = what_mattered(found.outcomes)
    noise = _noise(found.outcomes)
    text = _markdown(experiment, found, effects, noise)
    write_text(folder / "search.md", text)
    write_text(folder / "trials.csv", to_csv(trial_table(found.outcomes, noise)))
    write_json(folder / "trials.json", _json(found, effects, noise))
    title = f"{protocol_title(found.protocol)}: what mattered"
    drawn = {(each.method, each.name): each.effect for each in effects}
    draw_search(folder / "mattered.png", title, found.outcomes, drawn, noise)
    for stale in folder.glob("best*.toml"):
        stale.unlink()
    for name, outcome in _best(found.outcomes).items():
        write_text(folder / f"{name}.toml", _toml(experiment, found, outcome))
    return text


def what_mattered(outcomes: Sequence[Outcome]) -> list[Mattered]:
    """The effect of the method, and within each method of each drawn setting; failed trials have no score."""
    done = [each for each in outcomes if not each.failed]
    scores = np.array([each.score for each in done])
    methods = [each.setting.method for each in done]
    found = []
    if len(set(methods)) > 1:
        found.append(Mattered("", "method", len(done), rank_effect(methods, scores)))
    for method in dict.fromkeys(methods):
        mine = [i for i, name in enumerate(methods) if name == method]
        values = [done[i].setting.values for i in mine]
        for name in values[0]:
            effect = rank_effect([each[name] for each in values], scores[mine])
            found.append(Mattered(method, name, len(mine), effect))
    return found


def trial_table(outcomes: Sequence[Outcome], noise: float) -> Grid:
    """All trials, the best first, the failed last."""
    names = _drawn(outcomes)
    header = ["rank", "trial", "method", *map(_words, names), "HTER", "±", "AUC", "±", "note"]
    rows = []
    for rank, each in enumerate(outcomes, 1):
        values = each.setting.values
        own = [_value(values[name]) if name in values else "—" for name in names]
        if each.failed:
            figures = ["failed", "—", "failed", "—"]
            note = "; ".join(dict.fromkeys(reason for reason in each.figures.failed if reason))
        else:
            pairs = ((each.figures.hter, each.figures.auc), (np.nanmean, _std))
            figures = [_percent(f(numbers)) for numbers in pairs[0] for f in pairs[1]]
            note = "not told apart from the best" if each.score - outcomes[0].score < noise else ""
        rows.append([str(rank), str(each.number), model_name(each.setting.method), *own, *figures, note])
    return Grid(header, rows)


def _drawn(outcomes: Sequence[Outcome]) -> list[str]:
    """The settings that were drawn for some method, by the methods' names, so that the best does not come first."""
    by_method = {each.setting.method: list(each.setting.values) for each in outcomes}
    return list(dict.fromkeys(name for method in sorted(by_method) for name in by_method[method]))


def _words(setting: str) -> str:
    return setting.replace("_", " ")


def _markdown(experiment: Experiment, found: Found, effects: Sequence[Mattered], noise: float) -> str:
    outcomes = found.outcomes
    facts = {
        "protocol": protocol_title(found.protocol),
        "trials": len(outcomes),
        "folds": len(found.folds),
        "preset": found.protocol.preset,
    }
    text = _BY_SOURCE if found.by_source else _TEXT
    parts = [f"# Search: {protocol_title(found.protocol)}", text.format(**facts)]
    parts += [f"**{plain(caveat)}**" for caveat in found.caveats]
    if found.undefined:
        parts.append(plain(f"Folds that cannot be scored are left out of the means: {'; '.join(found.undefined)}."))
    if failed := sum(each.failed for each in outcomes):
        parts.append(f"{failed} of {len(outcomes)} trials failed; the table says why. They are ranked last.")
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
                model_name(each.method) if each.method else "all",
                _words(each.name),
                str(each.count),
                str(each.effect),
                UNDEFINED if np.isnan(each.effect.noise) else f"{each.effect.noise:.2f}",
                "yes" if each.effect.clear else "not seen",
            ]
            for each in effects
        ]
        parts += [markdown(Grid(["method", "setting", "trials", "effect", "noise", "matters"], rows))]
        parts += ["![What mattered](mattered.png)"]
    files = ", ".join(f"{name}.toml" for name in _best(outcomes))
    if files:
        parts.append(f"`fas-jax train --config FILE` trains a setting as it stands in {files}.")
    return "\n\n".join(parts) + "\n"


def _json(found: Found, effects: Sequence[Mattered], noise: float) -> dict[str, Any]:
    return {
        "protocol": found.protocol.name,
        "datasets": list(found.datasets),
        "caveats": list(found.caveats),
        "folds": list(found.folds),
        "undefined": list(found.undefined),
        "two_standard_errors": _or_none(noise),
        "trials": [
            {
                "rank": rank,
                "trial": each.number,
                "method": each.setting.method,
                "settings": dict(each.setting.values),
                "failed": each.failed,
                "hter": _or_none(each.score),
                "hter_by_fold": [_or_none(value) for value in each.figures.hter.tolist()],
                "auc_by_fold": [_or_none(value) for value in each.figures.auc.tolist()],
                "failed_by_fold": list(each.figures.failed),
            }
            for rank, each in enumerate(found.outcomes, 1)
        ],
        "effects": [
            {
                "method": each.method,
                "setting": each.name,
                "trials": each.count,
                "effect": _or_none(each.effect.size),
                "noise": _or_none(each.effect.noise),
            }
            for each in effects
        ],
    }


def _best(outcomes: Sequence[Outcome]) -> Mapping[str, Outcome]:
    """File names with the best outcome of all, and of each method."""
    found: dict[str, Outcome] = {}
    for each in outcomes:
        if not each.failed:
            found.setdefault("best", each)
            found.setdefault(f"best-{each.setting.method}", each)
    return found


def _toml(experiment: Experiment, found: Found, outcome: Outcome) -> str:
    trial = f"trial {outcome.number} of a search over the sources of {protocol_title(found.protocol)}"
    head = (
        f"# [methods.{outcome.setting.method}] is {trial}:\n"
        f"# HTER {100 * outcome.score:.2f} % on folds of the sources. All other settings are the experiment's.\n\n"
    )
    return head + to_toml(experiment_to_dict(apply(experiment, found.protocol, outcome.setting))) + "\n"


def _noise(outcomes: Sequence[Outcome]) -> float:
    scores = np.array([each.figures.hter for each in outcomes if not each.failed])
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
