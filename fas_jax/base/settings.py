"""Settings that all methods share, with their defaults, and reading and writing of settings. Imports no JAX.

Methods declare their own settings (`fas_jax.methods`); an experiment joins all of them
(`fas_jax.experiment.configuration`).
"""

import dataclasses
import json
import re
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fas_jax.base.declarations import failure_policy, how, rounding, what
from fas_jax.base.errors import UserError, unknown_name

Config = TypeVar("Config")


@dataclass(frozen=True)
class Synthesis:
    """Rendered stand-ins for the four datasets, in their official layouts."""

    subjects: int = what(0, at_least=0)
    """Subjects in each dataset, spread over the official splits; 0 renders the full official lists."""
    videos_per_subject: int = what(0, at_least=0)
    """Videos of each subject, spread over classes and PAI species; 0 renders all of the official list."""
    frames: int = what(0, at_least=0)
    """Frames of a video before its random variation; 0 takes each dataset's official lengths."""
    scale: float = what(1.0, above=0)
    """Frame size as a share of the official one."""
    seed: int = what(0, at_least=0)
    """Seed of everything that is drawn; the same seed gives the same files."""
    faces: str = what("")
    """Folder of face photographs to use as textures; empty renders faces from scratch. A file eyes.csv in it may say
    where the eyes are: name,x_reye,y_reye,x_leye,y_leye (pixels). Without it the face detector looks for them, and
    only pictures in which it finds exactly one face are used."""
    workers: int = how(0, at_least=0)
    """Worker processes; 0 is one for each core."""


@dataclass(frozen=True)
class Preparation:
    """From video files to stored clips, whatever their renditions."""

    records: Literal["png", "raw"] = what("png")
    """How frames are stored, without loss: as PNG, or uncompressed, which is read many times faster, for stages that
    outrun the decoding of PNG (see docs/backbones.md)."""
    rotation: Literal["tag", "list"] = what("tag")
    """What tells that a video is upside down: the tag in its file, or, for datasets with a list of such videos
    (MSU-MFSD), that list alone; never both."""
    videos_per_shard: int = what(64, at_least=1)
    """Videos in one file of the prepared dataset; a killed run loses at most the files being written."""
    workers: int = how(0, at_least=0)
    """Decoding processes; 0 is one for each core."""
    timeout: float = failure_policy(300.0, above=0)
    """Seconds after which the decoding of one video is given up and recorded as a failure."""
    allow_failures: int = failure_policy(0, at_least=0)
    """Videos that may fail before the command does; each is recorded and counted in any case."""
    allow_partial: bool = failure_policy(False)
    """Accepts a copy of a dataset that lacks videos of the official set; every report then says so."""


@dataclass(frozen=True)
class Features:
    """The frozen feature stage (paper, section 3.2)."""

    backbone: str = what("densenet201")
    """Name of the network; 'none' where every method reads frames alone."""
    weights: str = what("")
    """Path of the published weights (.pth, .safetensors, .h5); 'package' for those that an installed package
    brings (EfficientNet-Lite0); or 'random', which has to be asked for."""
    weights_seed: int = what(0, at_least=0)
    """Seed of random weights."""
    batch_size: int = rounding(32, at_least=1)
    """Frames in one step on each device; features are the same bits for any number of devices."""
    precision: Literal["float32", "bfloat16"] = what("float32")
    """What the network multiplies in; sums are float32 in any case. bfloat16 is faster on hardware made for it and
    keeps three digits."""
    store_dtype: Literal["float32", "float16"] = what("float16")
    """What features are stored as; float16 takes half the disk and keeps three digits. In the quickstart it moves no
    model's score by more than 0.0002, and no HTER."""


@dataclass(frozen=True)
class Optimisation:
    """How a network is fitted (defaults: the authors' code)."""

    learning_rate: float = what(1e-4, above=0)
    """Of Adam."""
    batch_size: int = what(32, at_least=1)
    """Clips in a step, over all devices."""
    max_epochs: int = what(1500, at_least=1)
    """Epochs after which training ends in any case."""
    validate_every: int = what(30, at_least=1)
    """Epochs between two validations."""
    patience: int = what(90, at_least=1)
    """Epochs without a better validation score after which training stops."""
    monitor: Literal["accuracy", "loss"] = what("accuracy")
    """Which validation score says what is better; a tie is not better."""
    weight_decay: float = what(0.0, at_least=0)
    """Decoupled (AdamW), of matrices only."""
    temperature: float = what(1.0, later=True, above=0)
    """The network's logits are divided by it, in the loss and in scores alike."""
    label_smoothing: float = what(0.0, later=True, at_least=0, below=1)
    """Share of a label that training divides between both classes; validation has whole labels."""
    margin: float = what(0.0, later=True, at_least=0)
    """What training takes off the right class's logit, after the temperature; validation takes nothing off."""
    balance: Literal["none", "sampling", "weights", "both"] = what("weights")
    """How classes of unequal size come to count the same: drawn equally often, weighted in the loss, or half of each;
    none leaves them as they are, as the paper does. In scripts/benchmarks/imbalance.py nothing is better than weights,
    from as many attacks as bona fide clips to 1000 times as many."""


@dataclass(frozen=True)
class Execution:
    """How training and scoring use the machine."""

    mapping: Literal["shard_map", "pmap"] = rounding("shard_map")
    """How a step is spread over the devices."""
    runs_per_program: int = rounding(0, at_least=0)
    """Most fittings (protocols x seeds x folds) trained side by side; 0 trains as many as the memory holds."""
    run_devices: int = rounding(0, at_least=0)
    """Devices among which fittings are divided; those that are left divide the batch. 0 chooses."""
    resident_mb: int = how(0, at_least=0)
    """Features that take more than this on a device are streamed from disk; 0 is half of the free memory of the device
    or of the host, whichever has less; a core that is a device has its share of the host's."""
    part_mb: int = how(256, at_least=1)
    """Features that are streamed at a time."""
    checkpoint_every: int = how(5, at_least=1)
    """Validations between two checkpoints."""
    events: bool = how(True)
    """Writes learning curves for TensorBoard into the run's folder: tensorboard --logdir RUN/events."""
    snapshots: bool = how(False)
    """Keeps every method's parameters at every validation, for fas-jax oracle, which otherwise trains again."""
    profile: str = how("")
    """Folder for the profiler's trace of some steps of each program; none without it."""


@dataclass(frozen=True)
class Training(Optimisation, Execution):
    """Everything that the loop for heads on features is given."""


@dataclass(frozen=True)
class Folds:
    """The folds whose out-of-fold scores stacks are trained on; fitted only for methods that a stack reads."""

    count: int = what(5, at_least=2)
    """How many, subject-disjoint."""


@dataclass(frozen=True)
class Evaluation:
    """Who is trained on, who sets the threshold, and who is tested."""

    preset: str = what("strict")
    """Which videos of each dataset are used: strict, dle2023 (the paper's), ssdg-honest; or ssdg2020, flip2023 and
    safas2023, which choose models and thresholds on the target, as their authors did."""
    targets: tuple[str, ...] = what(("M", "C", "I", "O"))
    """Datasets that are left out in turn, unless `protocols` says otherwise."""
    protocols: tuple[str, ...] = what(())
    """Protocols by name. Across datasets: leave-one-out, limited-source, single-source, OCI_to_M, A+B_to_C. Within one,
    here NAME: intra-NAME (its own splits), kfold-NAME-5 (folds by subject), loso-NAME (each PAI species left out in
    turn) or loso-NAME-print; for O intra-O-1 to intra-O-4. deploy trains on all videos and tests none. Rendered
    datasets beside real ones are named synth-O and so on. See fas_jax/protocols/names.py."""
    validation_fraction: float = what(0.2, above=0, below=1)
    """Share of the sources' subjects that is cut out for early stopping and the threshold; above 0 and below 1."""
    validation_by: Literal["subject", "device", "session"] = what("subject")
    """What training and validation do not share besides subjects: nothing more, no capture device, or no session (or
    lighting), within each dataset. Videos of a held-out subject on another device take no part then."""
    shared_subjects: tuple[str, ...] = what(())
    """Datasets that name the same people alike, as A=B: subject 7 of A is then subject 7 of B, and is kept on one side.
    Otherwise equal names in two datasets are two people. Within a dataset, case and blanks never tell people apart."""
    allow_partial_sources: bool = what(False)
    """Whether to accept a source without bona fide videos or without attacks to train or validate on; the protocol's
    title then says what is lacking. Otherwise it is an error."""
    sealed: tuple[str, ...] = how(())
    """Datasets to seal: no run on this cache, this one included, reads them as a target unless it names them in
    `open_sealed`. A seal stays in the cache."""
    open_sealed: tuple[str, ...] = how(())
    """Sealed datasets that this run may read as targets."""
    threshold: str = what("pooled")
    """pooled or balanced: the equal error rate of all videos that set it together, or with every source dataset
    weighing the same (neither errs less than the other by more than 0.2 points of HTER in
    fas-jax compare-thresholds). apcer:0.01: the lowest at which no PAI species has a higher APCER. cost:10,1: the
    cheapest, where an accepted attack costs 10 and a rejected bona fide 1. fixed:0.5: that value."""
    alpha: float = what(0.05, later=True, above=0, below=1)
    """Error rate of three answers (bona fide, attack, uncertain): at most this share of the clips of either class gets
    an answer that excludes the class, if they are drawn as the source videos were that set the threshold. A lower rate
    leaves more clips uncertain, and needs more source videos of each class: 1 / alpha - 1."""
    selection: Literal["training-domain", "leave-one-source-out", "oracle"] = what("training-domain")
    """Whose videos choose epochs and the search's settings, by the names of the literature. training-domain: those of
    the sources that are trained on; folds of stacks and of the search are cut by subject. leave-one-source-out: those
    of each source in turn, by detectors that have not seen it; folds are the sources. It fits every method with epochs,
    and what that reads, once more for every source of every protocol and seed; a protocol with one source falls back to
    training-domain. oracle: the target's own test videos choose the epoch, as in many publications; reports mark it,
    and a search refuses it."""
    threshold_from: Literal["validation", "leave-one-source-out", "shifted-validation"] = what("validation")
    """Whose scores set the threshold: the validation videos'; those of all source videos, each scored by a detector
    that has not seen its dataset, which fits every method once more for every source; or the validation videos' with
    their frames shifted (light, colour, blur, resolution, noise, compression), whose features are extracted again."""


@dataclass(frozen=True)
class Search:
    """Random search over methods and hyper-parameters on the sources alone (fas-jax search).

    What is drawn, each method says itself: [methods.NAME.search].
    """

    trials: int = what(40, at_least=1)
    """Settings that are drawn for each protocol; the first ones are the same however many follow."""
    folds: int = what(3, at_least=2)
    """Subject-disjoint folds of the sources' training videos, each of which scores detectors fitted on the others."""
    seed: int = what(0, at_least=0)
    """Of the settings that are drawn."""
    protocols: tuple[str, ...] = what(())
    """Which of the experiment's protocols are searched; empty: all."""
    methods: tuple[str, ...] = what(())
    """Which of the experiment's methods are drawn, equally often; empty: all that have something to tune."""


@dataclass(frozen=True)
class Data:
    """Folders of the datasets in their official layouts; an empty one is not used."""

    oulu_npu: str = what("")
    """OULU-NPU (O)."""
    casia_fasd: str = what("")
    """CASIA-FASD (C)."""
    replay_attack: str = what("")
    """Idiap Replay-Attack (I)."""
    msu_mfsd: str = what("")
    """MSU-MFSD (M)."""
    manifests: tuple[str, ...] = what(())
    """CSV or Parquet files that list further videos, used beside the folders."""
    synthesize: bool = what(False)
    """Render stand-ins for all four, as [synthesis] says. Beside real ones, protocols name them synth-O and so on."""


def from_dict(kind: type[Config], table: Mapping[str, Any], where: str) -> Config:
    """Builds a dataclass of settings from a plain dictionary, checking every name and type.

    Raises:
        UserError: An unknown name, with the nearest known one, or a value of another type.
    """
    return kind(**_values(kind, table, where))


def _values(kind: type[Any], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values for a dataclass of settings; of a nested one, those that are not named are the field's own default's."""
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    found = {}
    for name, value in table.items():
        if name not in fields:
            raise UserError(f"{where}: {unknown_name('setting', name, fields)}")
        make, path = fields[name].default_factory, f"{where}: {name}"
        if dataclasses.is_dataclass(hints[name]) and make is not dataclasses.MISSING and isinstance(value, dict):
            found[name] = dataclasses.replace(make(), **_values(typing.cast(type, hints[name]), value, path))
        else:
            found[name] = _checked(hints[name], value, path)
    return found


def check_names(names: Collection[str], where: str) -> None:
    """Raises `UserError` unless there are names, all of them plain identifiers that a folder or an option can have."""
    if not names:
        raise UserError(f"{where} names nothing; give at least one table, such as [renditions.whole]")
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise UserError(
                f"{where}: {name!r} must begin with a lower-case letter and hold only such letters, digits, - and _"
            )


def to_dict(config: Any) -> dict[str, Any]:
    """The plain dictionary, JSON-able, that `from_dict` reads back to an equal configuration."""
    # JSON has lists only: what is compared with a file must look as if it came from one.
    table: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return table


def _checked(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise UserError(f"{where} must be a table, not {value!r}")
        return from_dict(typing.cast(type, hint), value, where)
    if typing.get_origin(hint) is Mapping:
        if not isinstance(value, dict):
            raise UserError(f"{where} must be a table of tables, not {value!r}")
        check_names(value, where)
        (_, item) = typing.get_args(hint)
        return {name: _checked(item, each, f"{where}.{name}") for name, each in value.items()}
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise UserError(f"{where}: {unknown_name('value', str(value), typing.get_args(hint))}")
        return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where} must be a list, not {value!r}")
        item, *rest = typing.get_args(hint)
        if rest != [...] and len(value) != 1 + len(rest):
            raise UserError(f"{where} must be a list of {1 + len(rest)} values, not {value!r}")
        return tuple(_checked(item, each, where) for each in value)
    if hint is float and type(value) is int:
        return float(value)
    # bool is an int to Python, not to a user.
    if type(value) is not hint:
        raise UserError(f"{where} must be of type {hint.__name__}, not {value!r}")
    return value
