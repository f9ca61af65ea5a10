"""What a search draws: settings from the ranges that methods declare, and the experiments they stand for.

Imports no JAX.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fas_jax.base.declarations import check_ranges
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.settings import Search
from fas_jax.experiment.configuration import Experiment
from fas_jax.methods.base import Method, Range
from fas_jax.methods.registry import score_inputs
from fas_jax.protocols.presets import PRESETS, Protocol


@dataclass(frozen=True)
class Setting:
    """A method of an experiment, with the values that were drawn for some of its settings."""

    method: str
    """Its name."""
    values: Mapping[str, Any]
    """By setting, in the order in which the method declares them."""

    def apply(self, method: Method) -> Method:
        """The method with these values."""
        return dataclasses.replace(method, **self.values)


def drawn_methods(experiment: Experiment) -> tuple[str, ...]:
    """The names of the methods that a search draws from.

    Raises:
        UserError: `search.methods` names an unknown method or one that cannot be searched, there is none, or a method's
            ranges cannot be drawn from.
    """
    methods = experiment.methods
    for name in experiment.search.methods:
        if name not in methods:
            raise unknown_name("method", name, methods)
        if score_inputs(methods[name]):
            raise UserError(f"search.methods: {name} reads the scores of other methods, and cannot be searched")
        if not methods[name].variants():
            raise UserError(f"search.methods: {name} has nothing to tune; name other methods")
    able = [name for name, method in methods.items() if method.variants() and not score_inputs(method)]
    found = tuple(dict.fromkeys(experiment.search.methods or able))
    if not found:
        raise UserError(f"none of the methods {', '.join(methods)} has anything to tune; add one that has")
    for name in found:
        _check_variants(name, methods[name])
    return found


def _check_variants(name: str, method: Method) -> None:
    known = [field.name for field in dataclasses.fields(method)]
    for setting, among in method.variants().items():
        where = f"methods.{name}: search.{setting}"
        if setting not in known:
            raise UserError(f"{where}: {unknown_name('setting', setting, known)}")
        if not isinstance(among, Range):
            if not among:
                raise UserError(f"{where} is empty; name at least one value")
            continue
        low, high = among
        if not 0 < low < np.inf or not 0 < high < np.inf:
            raise UserError(f"{where} is drawn on a logarithmic scale: {low:g} and {high:g} must be above 0 and finite")
        if low > high:
            raise UserError(f"{where} runs from {low:g} down to {high:g}; write the smaller one first")


def draw_all(experiment: Experiment) -> list[Setting]:
    """The settings of all trials; the first ones are the same however many follow.

    Raises:
        UserError: As `drawn_methods`, or a drawn value is not allowed.
    """
    names = drawn_methods(experiment)
    found = [draw(experiment, names, number) for number in range(experiment.search.trials)]
    for setting in found:
        method = setting.apply(experiment.methods[setting.method])
        check_ranges(method, f"methods.{setting.method}")
        method.check(setting.method)
    return found


def draw(experiment: Experiment, names: Sequence[str], number: int) -> Setting:
    """The setting of one trial: one of the methods with these names, each equally often, then its values."""
    rng = np.random.default_rng([experiment.search.seed, number])

    def one_of(values: Sequence[Any]) -> Any:
        return values[int(rng.integers(len(values)))]

    def between(low: float, high: float) -> float:
        # Four digits, so that a file can say exactly what was tried.
        return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.4g}")

    name = one_of(names)
    variants = experiment.methods[name].variants()
    values = {
        setting: between(*among) if isinstance(among, Range) else one_of(among) for setting, among in variants.items()
    }
    return Setting(name, values)


def chosen(search: Search, protocols: Sequence[Protocol]) -> tuple[Protocol, ...]:
    """Which of the experiment's protocols are searched; none that validates on its target.

    Raises:
        UserError: An unknown name, or a protocol that validates on its target.
    """
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


def apply(experiment: Experiment, protocol: Protocol, setting: Setting) -> Experiment:
    """The experiment with which fas-jax train trains that protocol with that setting."""
    method = setting.apply(experiment.methods[setting.method])
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}-{protocol.name}-{setting.method}",
        methods={**experiment.methods, setting.method: method},
        evaluation=dataclasses.replace(experiment.evaluation, protocols=(protocol.name,)),
    )
