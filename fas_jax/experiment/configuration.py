"""Every setting of an experiment: its sections, its methods, a TOML file, the command line. Imports no JAX.

A TOML file under `configs/` overrides the defaults, and command-line options override the file.
"""

import argparse
import dataclasses
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from fas_jax.base.declarations import check_ranges, how, what
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.rendered_settings import Rendered
from fas_jax.base.rendition import Rendition, default_renditions
from fas_jax.base.settings import (
    Data,
    Evaluation,
    Execution,
    Features,
    Folds,
    Optimisation,
    Preparation,
    Search,
    Synthesis,
    check_names,
    from_dict,
    to_dict,
)
from fas_jax.experiment.options import as_options, attribute, from_options
from fas_jax.methods.base import Method, method_to_dict
from fas_jax.methods.registry import SETS, below, in_order, method_from_dict, score_inputs
from fas_jax.runtime import cli


def default_methods() -> dict[str, Method]:
    """The paper's methods and the baselines, with their published settings."""
    tables = {name: table for tables in SETS.values() for name, table in tables.items()}
    return {name: method_from_dict(name, table, "the defaults") for name, table in tables.items()}


@dataclass(frozen=True)
class Experiment:
    """Everything from videos to the cross-dataset table."""

    name: str = how("experiment")
    """Name of the run, and of its folder."""
    seeds: tuple[int, ...] = what((0,), at_least=0)
    """Seeds of the splits' cuts, the weights and the order of clips; results are averaged over them."""
    cache: str = how("cache")
    """Folder for rendered videos, prepared datasets and features, which runs share."""
    runs: str = how("runs")
    """Folder in which the run's own folder is made."""
    data: Data = what(Data)
    synthesis: Synthesis = what(Synthesis)
    rendered: Mapping[str, Rendered] = what(dict, later=True)
    """Rendered domains to train on, by name: tables [rendered.NAME]. Beside other data, methods that read frames train
    on them too, and nothing validates or is tested on them. Without other data, or where a protocol names synth-NAME,
    they are datasets like any other, such as in the protocol intra-NAME."""
    preparation: Preparation = what(Preparation)
    renditions: Mapping[str, Rendition] = what(default_renditions)
    """By name. Any table [renditions.NAME] replaces the default, which is one rendition `whole`: the paper's frames."""
    features: Features = what(Features)
    methods: Mapping[str, Method] = what(default_methods)
    """What is fitted and compared, by name: tables [methods.NAME] with `kind` and settings. Any such table replaces the
    defaults, which are the paper's methods and the baselines."""
    folds: Folds = what(Folds)
    training: Execution = what(Execution)
    evaluation: Evaluation = what(Evaluation)
    search: Search = how(Search)

    def check(self) -> None:
        """Raises `UserError` for settings that make no sense, whatever the data are."""
        from fas_jax.evaluation.thresholds import Rule  # NumPy, which --help does without

        check_ranges(self)
        Rule.parse(self.evaluation.threshold)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds must be at least one number, each once, not {list(self.seeds)}")
        if not self.methods:
            raise UserError('there are no methods; write [methods.NAME] tables, or methods = "paper"')
        for mapping in ("renditions", "methods", "rendered"):
            names = getattr(self, mapping)
            if names or mapping != "rendered":
                check_names(names, mapping)
            if len({attribute(name) for name in names}) < len(names):
                raise UserError(f"{mapping} {', '.join(names)}: names must differ in more than '-' and '_'")
        for name, method in self.methods.items():
            method.check(name)
        in_order(self.methods)
        self._check_folds()
        self._check_bursts()

    def _check_folds(self) -> None:
        """Refuses scores that are said to come from detectors without a clip's dataset, and do not."""
        if self.evaluation.selection == "leave-one-source-out":
            return  # all folds are sources then
        for name, method in self.methods.items():
            for item in score_inputs(method) if method.held_out_by() == "source" else ():
                read = self.methods[item.name]
                if score_inputs(read) and read.held_out_by() != "source":
                    raise UserError(
                        f"methods.{name} learns from scores of detectors that have not seen a clip's dataset, and "
                        f"{item.name} reads scores of detectors that have, for its folds are subjects; set folds_by = "
                        f'"subject" in methods.{name}, or leave {item.name} out'
                    )

    def _check_bursts(self) -> None:
        """Refuses methods whose state would run from one burst of a clip into the next, or whose bursts are missing."""
        for name, method in self.methods.items():
            for item in method.inputs() if method.least_burst > 1 else ():
                rendition = self.renditions.get(item.name)
                if rendition and rendition.burst < method.least_burst:
                    raise UserError(
                        f"methods.{name} is a {method.kind}, which reads bursts of {method.least_burst} consecutive "
                        f"frames or more, and rendition {item.name} has burst = {rendition.burst}; set burst = 8 in "
                        f"[renditions.{item.name}], or name another rendition"
                    )
            read = [name, *below(self.methods, name)] if method.one_sequence else []
            for item in (item for each in read for item in self.methods[each].inputs() if not item.of_method):
                rendition = self.renditions.get(item.name)
                if rendition and rendition.burst > 1:
                    raise UserError(
                        f"methods.{name} reads a clip as one sequence, and clips of rendition {item.name} are bursts "
                        f"of {rendition.burst} frames far apart, from one of which its state would run into the next; "
                        'choose a rendition of single frames, or kind = "end2end"'
                    )


# What older files say, and what to write instead.
_REPLACED = {
    **{f"preparation.{name}": f"write {name} in [renditions.whole]" for name in ("segment", "position", "max_frames")},
    "preparation.frame_size": "write size in [renditions.whole]",
    "preparation.faces": "write crop in a table of its own, such as [renditions.face]",
    "preparation.face_margin": "write margin in the table of the face crops, such as [renditions.face]",
    "preparation.face_size": "write size in the table of the face crops, such as [renditions.face]",
    "preparation.face_model": "write face_model in the table of the face crops, such as [renditions.face]",
    "preparation.no_face": "write no_face in the table of the face crops, such as [renditions.face]",
    "features.rendition": "features are made of each rendition that a method reads",
    "models": 'sizes belong to the methods: write [methods.lstm] with kind = "lstm" and hidden = N, and so on',
    "stacking": 'write [folds] count = N, and [methods.meta] with kind = "lstm-stack" for the meta-learner\'s settings',
    **{
        f"training.{field.name}": f"it belongs to each method: write {field.name} in [methods.NAME]"
        for field in dataclasses.fields(Optimisation)
    },
    "evaluation.fusion": "it belongs to each method: write fusion in [methods.NAME]",
    "search.algorithms": "name the methods: write methods in [search], and one [methods.NAME] table for each",
    **{
        f"search.{name}": f"it belongs to the method that it tunes: write {name} in [methods.NAME.search]"
        for name in ("hidden", "initialisation", "learning_rate", "weight_decay", "balance")
    },
    "search.regularisation": "it belongs to the method that it tunes: write c in [methods.mean-feature.search]",
}


def find_configuration(named: Path) -> Path:
    """The file that `--config` means: one that exists, or one of the package's own configurations, by its name.

    Raises:
        UserError: There is neither; the message offers the nearest name.
    """
    if named.is_file() or named.suffix == ".toml":
        return named
    package = Path(__file__).resolve().parents[1]
    # Installed, the package holds them; in a checkout they lie beside it.
    folder = next((each for each in (package / "configs", package.parent / "configs") if each.is_dir()), package)
    own = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.toml"))}
    if named.as_posix() not in own:
        raise unknown_name("configuration", str(named), own)
    return own[named.as_posix()]


def load_experiment(named: Path) -> Experiment:
    """Reads an experiment from TOML, by its path or by the name of one of the package's own.

    Raises:
        UserError: There is no such configuration, or an unknown key is in it; the message names the nearest known one.
    """
    path = find_configuration(Path(named))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"configuration {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise UserError(f"configuration {path} is not readable TOML: {error}") from error
    return experiment_from_dict(table, str(path))


def experiment_from_dict(table: Mapping[str, Any], where: str) -> Experiment:
    """An experiment from a plain dictionary of TOML's or JSON's values.

    Raises:
        UserError: A setting of an older version, with what to write instead; an unknown name; a value of another type.
    """
    for old, instead in _REPLACED.items():
        section, _, name = old.partition(".")
        if section in table and (not name or (isinstance(table[section], Mapping) and name in table[section])):
            raise UserError(f"{where}: {old} is of an older version; {instead}")
    rest = {name: value for name, value in table.items() if name != "methods"}
    experiment = from_dict(Experiment, rest, where)
    if "methods" in table:
        experiment = dataclasses.replace(experiment, methods=_methods(table["methods"], where))
    return experiment


def experiment_to_dict(experiment: Experiment) -> dict[str, Any]:
    """The plain dictionary, JSON-able, that `experiment_from_dict` reads back to an equal experiment."""
    table = to_dict(dataclasses.replace(experiment, methods={}))
    if not experiment.rendered:  # which no file writes as an empty table
        del table["rendered"]
    return {**table, "methods": {name: method_to_dict(method) for name, method in experiment.methods.items()}}


def _methods(value: Any, where: str) -> dict[str, Method]:
    """From `methods = "paper"`, or from tables, of which `include = "paper"` adds a set to the others."""
    if isinstance(value, str):
        value = {"include": value}
    if not isinstance(value, Mapping):
        raise UserError(f'{where}: methods must be tables [methods.NAME], or the name of a set such as "paper"')
    tables: dict[str, Any] = dict(value)
    names = tables.pop("include", ())
    for name in [names] if isinstance(names, str) else names:
        if name not in SETS:
            raise UserError(f"{where}: methods: {unknown_name('set of methods', str(name), SETS)}")
        tables = {**SETS[name], **tables}
    return {name: method_from_dict(name, table, where) for name, table in tables.items()}


def experiment_main(
    function: Callable[..., int | None], default: str, further: argparse.ArgumentParser | None = None
) -> None:
    """Runs `function` on an `Experiment`: the configuration that `--config` names, changed by the other options.

    It may run as several processes of one job.

    Args:
        function: Its docstring is the description for `--help`.
        default: The configuration if `--config` names none.
        further: Options of the command itself, without a help; `function` is given what it finds behind the experiment.
    """

    def run() -> int | None:
        own, rest = further.parse_known_args(sys.argv[1:]) if further else (None, sys.argv[1:])
        experiment = parse(rest, function.__doc__ or "", default)
        return cli.joined(function)(*((experiment, own) if further else (experiment,)))

    cli.exit_with(run)


def parse(arguments: Sequence[str], description: str, default: str) -> Experiment:
    """The experiment that a command line asks for.

    Args:
        arguments: `--config NAME_OR_FILE`, `--methods SET`, which adds a set of methods to the file's, and
            `--section.option VALUE` for any setting.
        description: For `--help`.
        default: The configuration if `--config` names none.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path, default=Path(default))
    first.add_argument("--methods", action="append", default=[])
    known, rest = first.parse_known_args(arguments)
    experiment = load_experiment(known.config)
    if known.methods:
        added = _methods({"include": known.methods}, "--methods")
        experiment = dataclasses.replace(experiment, methods={**added, **experiment.methods})
    for argument in rest:
        old = argument.removeprefix("--").partition("=")[0].replace("-", "_")
        for name, instead in _REPLACED.items():
            if argument.startswith("--") and (old == name or old.startswith(f"{name}.")):
                raise UserError(f"{argument.partition('=')[0]} is of an older version; {instead}")
    options = as_options(experiment)
    parsed = tyro.cli(
        type(options),
        default=options,
        args=rest,
        description=f"{description}\n\n--config reads the settings from a TOML file, or from one of the package's own "
        f"configurations by its name (now {known.config}; default {default}), and --methods SET adds a set of methods "
        f"to those of the file ({', '.join(SETS)}). The defaults below are that file's; any option changes its setting "
        "for this run.",
    )
    found: Experiment = from_options(parsed, experiment)
    return found
