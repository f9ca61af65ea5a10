"""How pages name datasets, protocols and models, and in which order and colour they show them. Imports no JAX."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fas_jax.evaluation.results import Results, Summary
from fas_jax.methods.registry import BASELINES
from fas_jax.protocols.presets import Protocol, is_synthetic
from fas_jax.reporting import palette
from fas_jax.reporting.published import PAPER_NAMES, PAPER_PROTOCOLS

_WITHIN_KINDS = ("intra-", "kfold-", "loso-")
_OF_METHODS = ("scores", "clip-scores")


@dataclass(frozen=True)
class Models:
    """The models of a table."""

    order: tuple[str, ...]
    """As the configuration has them."""
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name, `kind` and settings, where the models are methods of a run."""
    reads: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """By name, the inputs that it reads, as (kind, name)."""
    settings_from: Mapping[str, str] = field(default_factory=dict)
    """By name, where its settings come from, if a reader must know (`Method.settings_from`)."""
    on_target: Sequence[str] = ()
    """Models whose epoch was chosen on the target; their names say so."""
    rendered: Mapping[str, float] = field(default_factory=dict)
    """By name, the share of rendered clips in the training; the names of models that have any say so."""

    @classmethod
    def of(cls, results: Results, provenance: Mapping[str, Any]) -> "Models":
        """Those of a run or of somebody's scores, by `methods`, `reads` and `settings_from` of the provenance."""
        methods = provenance.get("methods") or {}
        # A run in which nothing is tested has results of no model.
        reads, settings_from = (provenance.get(name) or {} for name in ("reads", "settings_from"))
        on_target, rendered = provenance.get("on_target") or (), (provenance.get("rendered") or {}).get("share", {})
        return cls(results.models or tuple(methods), methods, reads, settings_from, on_target, rendered)

    def name(self, model: str) -> str:
        """The name for people."""
        share = self.rendered.get(model, 0.0)
        marks = [*(["epoch: oracle"] if model in self.on_target else []), *([f"{share:.0%} rendered"] if share else [])]
        return model_name(model, self.methods) + (f" ({'; '.join(marks)})" if marks else "")

    def row_name(self, model: str) -> str:
        """The name for people, and where its settings come from, if a reader must know."""
        told = self.settings_from.get(model)
        return f"{self.name(model)}; settings: {told}" if told else self.name(model)

    def style(self, model: str) -> tuple[str, bool]:
        """The colour, and whether lines are dashed, as a baseline's are."""
        colour, dashed = palette.style(model, self.order)
        return colour, dashed or is_baseline(model, self.methods)

    @property
    def stacks(self) -> list[str]:
        """The models that read other models' scores."""
        return [name for name in self.order if any(kind in _OF_METHODS for kind, _ in self.reads.get(name, ()))]

    def renditions(self, model: str) -> list[str]:
        """The renditions that a model reads, itself or through the models whose scores it reads."""
        found: list[str] = []
        for kind, name in self.reads.get(model, ()):
            found += self.renditions(name) if kind in _OF_METHODS else [name]
        return list(dict.fromkeys(found))


def model_name(model: str, methods: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The name of a model for people: its own, or the paper's for a method that is the paper's by name and kind.

    Args:
        model: As in the table of scores.
        methods: By name, a method's `kind` and settings.
    """
    kind = _kind(model, methods)
    if is_baseline(model, methods):
        return f"baseline: {model.replace('-', ' ')}"
    return PAPER_NAMES.get((model, kind), model)


def is_baseline(model: str, methods: Mapping[str, Mapping[str, Any]] | None = None) -> bool:
    """Whether a model is one of the package's baselines, by name and kind."""
    return model in BASELINES and BASELINES[model]["kind"] == _kind(model, methods)


def _kind(model: str, methods: Mapping[str, Mapping[str, Any]] | None) -> str:
    return str((methods or {}).get(model, {}).get("kind", ""))


def dataset_name(dataset: str) -> str:
    """The name of a dataset for people; a file of somebody else's may give none."""
    return dataset or "(not named)"


def protocol_name(protocol: str) -> str:
    """`O&C&I to M` for `OCI_to_M`; names that are not made like this stay as they are.

    A protocol that names rendered datasets is marked: `synth-O to M (rendered to real)`.
    """
    sources, target = _sides(protocol)
    name = f"{'&'.join(sources)} to {target}" if target else protocol
    return f"{name}{_mark(sources, target)}"


def protocol_title(protocol: Protocol) -> str:
    """A protocol's own title, marked as `protocol_name` marks it."""
    return f"{protocol.display}{_mark(protocol.sources, protocol.target)}"


def target_of(protocol: str) -> str:
    """The target that the name of a protocol across datasets names; empty for others."""
    return _sides(protocol)[1]


def rendered_to_real(protocol: str) -> bool:
    """Whether the protocol's name says that it trains on rendered videos and tests on real ones."""
    sources, target = _sides(protocol)
    return bool(target) and any(map(is_synthetic, sources)) and not is_synthetic(target)


def _sides(protocol: str) -> tuple[list[str], str]:
    """Sources and target; of a protocol that is not across datasets the one it is within, and no target."""
    sources, parted, target = protocol.partition("_to_")
    if parted:
        return list(sources) if set(sources) <= set("OCIM") else sources.split("+"), target
    return [protocol.removeprefix(kind) for kind in _WITHIN_KINDS if protocol.startswith(kind)], ""


def _mark(sources: Sequence[str], target: str) -> str:
    trained, tested = (" and ".join(_kinds(names)) for names in (sources, [target] if target else sources))
    if "rendered" not in trained + tested:
        return ""
    return f" ({trained})" if trained == tested else f" ({trained} to {tested})"


def _kinds(names: Iterable[str]) -> list[str]:
    return sorted({"rendered" if is_synthetic(name) else "real" for name in names}, reverse=True)


def ordered_protocols(results: Results) -> list[str]:
    """The paper's columns in its order, then all others."""
    known = [protocol for protocol in PAPER_PROTOCOLS if protocol in results.protocols]
    return known + [protocol for protocol in results.protocols if protocol not in PAPER_PROTOCOLS]


def summaries(results: Results) -> list[Summary]:
    """All summaries in the order of the tables."""
    found = (results.summary(protocol, model) for protocol in ordered_protocols(results) for model in results.models)
    return [summary for summary in found if summary is not None]
