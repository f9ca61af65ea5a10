"""What a table is made of, what its readers must know of that, and what cannot stand in one table. Imports no JAX."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.reporting.naming import Models, dataset_name, protocol_name, rendered_to_real


@runtime_checkable
class Store(Protocol):
    """A feature store, or whatever else knows what it was made from."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """`dataset`, `synthetic`, `complete`, and what else is known of a `Material`."""


@dataclass(frozen=True)
class Material:
    """One input of a table: one dataset in one rendition."""

    dataset: str
    synthetic: bool
    complete: bool | None = None
    """None where it is not known."""
    rendition: str = ""
    """Empty, as all that follows, where it is not known."""
    made: str = ""
    """Fingerprint of the rendition's settings."""
    backbone: str = ""
    weights: str = ""
    """In words; `random (seed 0)` for weights that were never trained."""
    weights_sha256: str = ""
    dimension: int = 0
    """Of the features."""
    platform: str = ""
    """Kind of device that computed the features; each rounds otherwise."""

    @property
    def untrained(self) -> bool:
        """Whether the backbone's weights are random."""
        return self.weights.lower().startswith("random")


@dataclass(frozen=True)
class Materials:
    """All inputs of a table."""

    inputs: tuple[Material, ...]
    protocols: tuple[str, ...] = ()
    """Names of the table's protocols."""
    renditions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The renditions that each model reads, by its name for people."""
    joined: tuple[str, ...] = ()
    """Rendered datasets that joined the training of some models; nothing was validated or tested on them."""

    def caveats(self) -> list[str]:
        """What a reader must know before any figure, a sentence or two each; pages print them at their top."""
        found = []
        rendered = self._datasets(lambda each: each.synthetic and each.dataset not in self.joined)
        if rendered and not self._datasets(_is_real):
            found.append(
                f"Rendered data ({_listed(rendered)}): this exercises the pipeline and says nothing about real attacks."
            )
        elif rendered:
            found.append(
                f"Rendered data ({_listed(rendered)}) beside real ones ({_listed(self._datasets(_is_real))}): what is "
                "tested on rendered videos says nothing about real attacks."
            )
        for protocol in filter(rendered_to_real, self.protocols):
            found.append(
                f"Protocol {protocol_name(protocol)} trains on rendered videos and tests on real ones; its figures do "
                "not compare with those of training on real videos."
            )
        for weights in dict.fromkeys(each.weights for each in self.inputs if each.untrained):
            found.append(f"Backbone weights: {weights}. Figures with untrained weights are not the method's.")
        for dataset in self._datasets(lambda each: each.complete is False and not each.synthetic):
            # A rendered tree is a part of the official set by its plan, and is named rendered already.
            found.append(f"Dataset {dataset} is only partly there: the figures are not those of the full set.")
        if len({tuple(names) for names in self.renditions.values() if names}) > 1:
            read = "; ".join(f"{model} reads {_listed(names)}" for model, names in self.renditions.items() if names)
            found.append(f"The models read different renditions of the videos: {read}.")
        platforms = _grouped((each.platform, each.dataset) for each in self.inputs if each.platform)
        if len(platforms) > 1:
            found.append(
                f"The features were computed on several platforms ({_parts(platforms)}), each of which rounds "
                "otherwise."
            )
        return found

    def check(self) -> None:
        """Refuses what cannot stand in one table.

        Raises:
            UserError: Within a rendition there are several backbones, weights or settings; or the renditions are of
                different datasets, so that datasets would be compared across renditions.
        """
        for rendition in dict.fromkeys(each.rendition for each in self.inputs):
            own = [each for each in self.inputs if each.rendition == rendition]
            where = f"rendition {rendition}: " if rendition else ""
            made = _grouped((f"{m.backbone} ({m.dimension} wide, {m.weights_sha256[:8]})", m.dataset) for m in own)
            if len({(each.backbone, each.dimension, each.weights_sha256) for each in own}) > 1:
                raise UserError(
                    f"{where}the features come from several backbones or weights ({_parts(made)}); extract all with one"
                )
            cut = _grouped((each.made[:8], each.dataset) for each in own if each.made)
            if len(cut) > 1:
                raise UserError(
                    f"{where}the datasets were prepared with different settings of it ({_parts(cut)}); prepare and "
                    "extract them alike"
                )
        covered = _grouped((each.rendition, each.dataset) for each in self.inputs)
        if len({frozenset(datasets) for datasets in covered.values()}) > 1:
            raise UserError(
                f"the features are of several renditions ({_parts(covered)}), and a table takes all datasets in each; "
                "give the same datasets in every rendition"
            )

    def to_json(self) -> list[dict[str, Any]]:
        """The inputs, for a run's provenance; `materials_in` reads them back."""
        return [dataclasses.asdict(each) for each in self.inputs]

    def _datasets(self, which: Callable[[Material], bool]) -> list[str]:
        return list(dict.fromkeys(dataset_name(each.dataset) for each in self.inputs if which(each)))


def materials_of(stores: Iterable[Store] | Mapping[str, Iterable[Store]], protocols: Iterable[str] = ()) -> Materials:
    """What a table of these feature stores is made of.

    Args:
        stores: One a dataset; or those of each rendition by its name.
        protocols: Names of the table's protocols.
    """
    if isinstance(stores, Mapping):
        inputs = [_material(store, name) for name, own in stores.items() for store in own]
    else:
        inputs = [_material(store, "") for store in stores]
    return Materials(tuple(inputs), tuple(protocols))


def materials_in(provenance: Mapping[str, Any], models: Models, protocols: Iterable[str] = ()) -> Materials:
    """What a run or somebody's scores are made of, by their provenance.

    Args:
        provenance: `datasets`, and perhaps `materials` of `Materials.to_json`, or else `backbone` and `weights`.
        models: Of the table.
        protocols: Names of the table's protocols.
    """
    known = {name: provenance[name] for name in ("backbone", "weights", "weights_sha256") if name in provenance}
    rows = provenance.get("materials") or [
        {**{name: each[name] for name in ("dataset", "synthetic", "complete")}, **known}
        for each in provenance["datasets"]
    ]
    renditions = {models.name(model): tuple(models.renditions(model)) for model in models.order}
    joined = tuple((provenance.get("rendered") or {}).get("clips", ()))
    return Materials(tuple(Material(**row) for row in rows), tuple(protocols), renditions, joined)


def _material(store: Store, rendition: str) -> Material:
    about = store.provenance
    names = ("dataset", "synthetic", "complete", "backbone", "weights", "weights_sha256", "dimension", "platform")
    settings = getattr(store, "identity", {}).get("rendition")
    return Material(
        **{name: about[name] for name in names if name in about},
        rendition=rendition or about.get("rendition", ""),
        made=fingerprint(settings) if settings else "",
    )


def _is_real(each: Material) -> bool:
    return not each.synthetic


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, dataset in pairs:
        found.setdefault(name, []).append(dataset_name(dataset))
    return found


def _parts(groups: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name or 'not named'}: {_listed(datasets)}" for name, datasets in groups.items())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
