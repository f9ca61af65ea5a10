"""What a search draws: settings from declared ranges, and the experiments they stand for. Imports no JAX."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.settings import Experiment, Search, from_dict, to_dict
from fas_jax.protocols.presets import PRESETS, Protocol

MEAN_FEATURE = "mean-feature"
_RANGES = ("learning_rate", "weight_decay", "regularisation")
_LISTS = ("algorithms", "hidden", "initialisation", "balance")


@dataclass(frozen=True)
class Setting:
    """An algorithm with its hyper-parameters; those of other algorithms are None."""

    algorithm: Any
    hidden: int | None = None
    initialisation: Any = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    balance: Any = None
    regularisation: float | None = None


def check(search: Search) -> None:
    """Raises a `UserError` where the declared ranges cannot be drawn from, or a number makes no sense."""
    from_dict(Search, to_dict(search), "[search]")
    for name, least in (("trials", 1), ("folds", 2)):
        if getattr(search, name) < least:
            raise UserError(f"search.{name} must be at least {least}, not {getattr(search, name)}")
    for name in _LISTS:
        if not getattr(search, name):
            raise UserError(f"search.{name} is empty; name at least one value")
    if min(search.hidden) < 1:
        raise UserError(f"search.hidden must be numbers of units above 0, not {list(search.hidden)}")
    for name in _RANGES:
        ends = getattr(search, name)
        if len(ends) != 2:
            raise UserError(f"search.{name} must be a range of two numbers, from and to, not {list(ends)}")
        low, high = ends
        if not 0 < low < np.inf or not 0 < high < np.inf:
            raise UserError(f"search.{name} is drawn on a logarithmic scale: {low:g} and {high:g} must be above 0")
        if low > high:
            raise UserError(f"search.{name} runs from {low:g} down to {high:g}; write the smaller one first")


def chosen(search: Search, protocols: Sequence[Protocol]) -> tuple[Protocol, ...]:
    """Which of the experiment's protocols are searched; none that validates on its target."""
    by_name = {protocol.name: protocol for protocol in protocols}
    for name in search.protocols:
        if name not in by_name:
            raise unknown_name("protocol", name, by_name)
    found = tuple(by_name[name] for name in dict.fromkeys(search.protocols or by_name))
    for protocol in found:
        if PRESETS[protocol.preset].on_target:
            raise UserError(
                f"preset {protocol.preset} validates on the target, which a search must not read; take strict"
            )
    return found


def draw(search: Search, number: int) -> Setting:
    """The setting of one trial: the same however many there are."""
    rng = np.random.default_rng([search.seed, number])

    def one_of(values: Sequence[Any]) -> Any:
        return values[int(rng.integers(len(values)))]

    def between(ends: tuple[float, float]) -> float:
        # Four digits, so that a file can say exactly what was tried.
        return float(f"{np.exp(rng.uniform(*np.log(ends))):.4g}")

    algorithm = one_of(search.algorithms)
    if algorithm == MEAN_FEATURE:
        return Setting(algorithm, regularisation=between(search.regularisation))
    return Setting(
        algorithm,
        hidden=one_of(search.hidden),
        initialisation=one_of(search.initialisation),
        learning_rate=between(search.learning_rate),
        weight_decay=between(search.weight_decay),
        balance=one_of(search.balance),
    )


def apply(experiment: Experiment, protocol: Protocol, setting: Setting) -> Experiment:
    """The experiment with which scripts/train.py trains that protocol with that setting."""
    models: dict[str, Any] = {"mean_feature": setting.regularisation}
    training: dict[str, Any] = {}
    if setting.algorithm != MEAN_FEATURE:
        models = {setting.algorithm: setting.hidden, "initialisation": setting.initialisation}
        training = {name: getattr(setting, name) for name in ("learning_rate", "weight_decay", "balance")}
    return replace(
        experiment,
        name=f"{experiment.name}-{protocol.name}-{setting.algorithm}",
        models=replace(experiment.models, **models),
        training=replace(experiment.training, **training),
        evaluation=replace(experiment.evaluation, protocols=(protocol.name,)),
    )


def describe(setting: Setting) -> dict[str, Any]:
    """The hyper-parameters that the setting has."""
    return {field.name: value for field in fields(setting) if (value := getattr(setting, field.name)) is not None}
