"""An experiment from a TOML file and the command line; mistyped and older names are told with the right one."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Optimisation
from fas_jax.base.toml import to_toml
from fas_jax.experiment.configuration import (
    Experiment,
    default_methods,
    experiment_from_dict,
    experiment_to_dict,
    load_experiment,
    parse,
)
from fas_jax.methods.recurrent import Gru, Lstm
from fas_jax.methods.registry import BASELINES, PAPER
from fas_jax.methods.stack import LstmStack

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "some.toml"
        path.write_text(text)
        return load_experiment(path)

    return load


@pytest.fixture
def parsed(tmp_path):
    def parsed(text, *arguments):
        path = tmp_path / "some.toml"
        path.write_text(text)
        return parse([*arguments, "--config", str(path)], "What it does.", "unused.toml")

    return parsed


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_load_and_survive_the_way_to_json_and_toml_and_back(path, tmp_path):
    experiment = load_experiment(path)
    experiment.check()
    assert experiment.name == path.stem
    table = experiment_to_dict(experiment)
    assert experiment_from_dict(table, "back") == experiment
    (tmp_path / "again.toml").write_text(to_toml(table))
    assert load_experiment(tmp_path / "again.toml") == experiment


def test_defaults_are_the_papers():
    """The authors' code: hidden units, optimiser, batch, epochs, patience (30 epochs x 3)."""
    experiment = Experiment()
    experiment.check()
    assert list(experiment.methods) == ["lstm", "bilstm", "gru", "meta", "mean-feature", "colour", "metadata"]
    methods = experiment.methods
    assert [methods[name].hidden for name in PAPER] == [1000, 500, 20, 20]
    assert [methods[name].initialisation for name in PAPER] == ["orthogonal", "he", "he", "he"]
    for name in PAPER:
        own = methods[name]
        assert (own.learning_rate, own.batch_size, own.validate_every, own.patience) == (1e-4, 32, 30, 90)
        assert (own.monitor, own.fusion) == ("accuracy", "mean")
        assert own.max_epochs == (100 if name == "meta" else 1500)
    assert (methods["meta"].combine, methods["meta"].over) == ("concat", ("lstm", "bilstm", "gru"))
    assert experiment.folds.count == 5
    (whole,) = experiment.renditions.values()
    assert (whole.segment, whole.position, whole.max_frames, whole.crop) == (30, "last", 7, "whole")
    assert (experiment.features.backbone, whole.size) == ("densenet201", 224)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trainig]\nevents = false", "unknown setting 'trainig'; did you mean 'training'"),
        ("[training]\nevent = false", "training: unknown setting 'event'; did you mean 'events'"),
        ("[folds]\ncount = 3.5", "folds: count must be of type int, not 3.5"),
        ("training = 3", "training must be a table, not 3"),
        ("seeds = 3", "seeds must be a list, not 3"),
        ("seeds = ['a']", "seeds must be of type int, not 'a'"),
        ("name = ", "not readable TOML"),
        ("[renditions.Face]\nsize = 3", "renditions: 'Face' must begin with a lower-case letter"),
        ("[renditions]\nsize = 3", "renditions.size must be a table, not 3"),
        ("[renditions]", "renditions names nothing; give at least one table, such as [renditions.whole]"),
        ("renditions = 'whole'", "renditions must be a table of tables, not 'whole'"),
        ("[renditions.face]\nmargins = 0.3", "renditions.face: unknown setting 'margins'; did you mean 'margin'"),
        ("[renditions.face]\ncrop = 'face'", "renditions.face: crop: unknown value 'face'"),
        ("methods = 3", "methods must be tables [methods.NAME], or the name of a set"),
        ("methods = 'papr'", "unknown set of methods 'papr'; did you mean 'paper'"),
        ("[methods]\ninclude = ['paper', 'baseline']", "unknown set of methods 'baseline'; did you mean 'baselines'"),
        ("[methods]\nlstm = 3", "methods.lstm must be a table, not 3"),
        (
            "[methods.lstm]\nhidden = 3",
            'methods.lstm has no kind; write kind = "NAME", one of bilstm, boosted-stack, colour',
        ),
        ("[methods.mine]\nkind = 'lstmm'", "unknown method kind 'lstmm'; did you mean 'lstm'"),
        ("[methods.mine]\nkind = 'lstm'\nhiden = 3", "methods.mine: unknown setting 'hiden'; did you mean 'hidden'"),
        ("[methods.mine]\nkind = 'lstm'\nhidden = '3'", "methods.mine: hidden must be of type int, not '3'"),
        ("[methods.mine]\nkind = 'lstm'\n[methods.mine.search]\nhiden = [3]", "methods.mine: search: unknown setting"),
    ],
)
def test_wrong_files_are_told_where_and_what(load, text, message):
    with pytest.raises(UserError) as error:
        load(text)
    assert message in str(error.value)
    assert "some.toml" in str(error.value)


OPTIMISATION = {field.name: field.default for field in dataclasses.fields(Optimisation)}


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("[models]\nlstm = 4", "[methods.lstm]"),
        ("[stacking]\nfolds = 4", "[folds] count = N"),
        *(
            (f"[training]\n{name} = {value!r}", f"write {name} in [methods.NAME]")
            for name, value in OPTIMISATION.items()
        ),
        ("[evaluation]\nfusion = 'mean'", "write fusion in [methods.NAME]"),
        ("[search]\nalgorithms = ['lstm']", "one [methods.NAME] table for each"),
        ("[search]\nhidden = [3]", "write hidden in [methods.NAME.search]"),
        ("[search]\nregularisation = [1, 2]", "write c in [methods.mean-feature.search]"),
        ("[preparation]\nsegment = 16", "[renditions.whole]"),
        ("[preparation]\nframe_size = 16", "write size in [renditions.whole]"),
        ("[preparation]\nfaces = 'detector'", "write crop in a table of its own, such as [renditions.face]"),
        ("[features]\nrendition = 'face'", "rendition"),
    ],
)
def test_settings_of_older_versions_are_refused_with_what_to_write_instead(load, parsed, text, instead):
    with pytest.raises(UserError) as error:
        load(text)
    assert instead in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_options_of_older_versions_are_refused_with_what_to_write_instead(parsed):
    for option, instead in (
        ("--models.lstm", "[methods.lstm]"),
        ("--stacking.folds", "[folds] count = N"),
        ("--training.max-epochs", "write max_epochs in [methods.NAME]"),
        ("--evaluation.fusion", "write fusion in [methods.NAME]"),
    ):
        for arguments in ([option, "4"], [f"{option}=4"]):
            with pytest.raises(UserError, match=option) as error:
                parsed("", *arguments)
            assert instead in str(error.value)


def test_any_method_table_replaces_the_defaults_and_sets_can_be_added(load):
    assert load("").methods == default_methods()
    assert load("methods = 'paper'").methods == {name: default_methods()[name] for name in PAPER}
    own = "[methods.mine]\nkind = 'lstm'\nhidden = 3\n"
    assert load(own).methods == {"mine": Lstm(hidden=3)}
    both = load("[methods]\ninclude = 'paper'\n" + own).methods
    assert list(both) == [*PAPER, "mine"]
    # A table changes the method of its name in the set.
    changed = load("[methods]\ninclude = ['baselines', 'paper']\n[methods.gru]\nkind = 'gru'\nhidden = 3\n").methods
    assert set(changed) == {*PAPER, *BASELINES}
    assert changed["gru"] == Gru(hidden=3)
    assert changed["lstm"] == Lstm()


def test_any_number_of_methods_of_one_kind(load):
    found = load(
        "[methods.a]\nkind='gru'\n[methods.b]\nkind='gru'\nhidden=3\n[methods.c]\nkind='lstm-stack'\nover=['b','a']"
    )
    found.check()
    assert found.methods == {"a": Gru(), "b": Gru(hidden=3), "c": LstmStack(over=("b", "a"))}


def test_options_change_a_methods_settings(parsed):
    found = parsed("", "--methods.lstm.hidden", "64", "--methods.mean-feature.c", "3", "--folds.count", "4")
    assert found.methods["lstm"] == Lstm(hidden=64)
    assert found.methods["mean-feature"].c == 3
    assert found.folds.count == 4
    assert list(found.methods) == list(default_methods())
    assert found.methods["gru"] == Gru()
    near = parsed("[renditions.near-2]\nsize = 32\n", "--renditions.near-2.margin", "0.5")
    assert near.renditions == {"near-2": Rendition(size=32, margin=0.5)}


def test_a_set_of_methods_is_added_by_an_option(parsed):
    own = "[methods.mine]\nkind = 'gru'\nhidden = 3\n[methods.gru]\nkind = 'gru'\nhidden = 5\n"
    found = parsed(own, "--methods", "paper", "--methods.mine.hidden", "7").methods
    assert set(found) == {*PAPER, "mine"}
    assert found["mine"] == Gru(hidden=7)
    # What the file says of a method stays.
    assert found["gru"] == Gru(hidden=5)
    with pytest.raises(UserError, match="did you mean 'paper'"):
        parsed(own, "--methods", "papper")


@pytest.mark.parametrize(
    ("options", "nearest"),
    [
        (["--methods.lstm.hiden", "64"], "--methods.lstm.hidden"),
        (["--methods.lstn.hidden", "64"], "--methods.lstm.hidden"),
        (["--training.event"], "--training.events"),
    ],
)
def test_a_mistyped_option_names_the_nearest(parsed, capsys, options, nearest):
    with pytest.raises(SystemExit) as error:
        parsed("", *options)
    assert error.value.code == 2
    assert nearest in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": ()}, "seeds must be at least one number, each once"),
        ({"seeds": (1, 1)}, "seeds must be at least one number, each once"),
        ({"seeds": (1, -1)}, "seeds must be at least 0, not -1"),
        ({"methods": {}}, 'write [methods.NAME] tables, or methods = "paper"'),
        ({"methods": {"lstm": Lstm(max_epochs=0)}}, "methods.lstm.max_epochs must be at least 1, not 0"),
        ({"methods": {"lstm": Lstm(learning_rate=-1e-4)}}, "methods.lstm.learning_rate must be above 0, not -0.0001"),
        (
            {"methods": {"lstm": Lstm(learning_rate=float("nan"))}},
            "methods.lstm.learning_rate must be above 0, not nan",
        ),
        ({"methods": {"lstm": Lstm(learning_rate=float("inf"))}}, "methods.lstm.learning_rate must be a finite number"),
        ({"methods": {"lstm": Lstm(hidden=0)}}, "methods.lstm.hidden must be at least 1, not 0"),
        ({"methods": {"lstm": Lstm(batch_size=0)}}, "methods.lstm.batch_size must be at least 1"),
        ({"methods": {"lstm": Lstm(validate_every=0)}}, "methods.lstm.validate_every must be at least 1"),
        ({"methods": {"lstm": Lstm(patience=0)}}, "methods.lstm.patience must be at least 1"),
        ({"methods": {"lstm": Lstm(weight_decay=-1)}}, "methods.lstm.weight_decay must be at least 0"),
        ({"methods": {"Lstm": Lstm()}}, "'Lstm' must begin with a lower-case letter"),
        ({"methods": {"a-b": Lstm(), "a_b": Gru()}}, "names must differ in more than '-' and '_'"),
        ({"renditions": {"whole": Rendition(segment=0)}}, "renditions.whole.segment must be at least 1"),
        ({"renditions": {"a-b": Rendition(), "a_b": Rendition()}}, "names must differ in more than '-' and '_'"),
        ({"methods": {"m": LstmStack(over=())}}, "methods.m.over must name at least one method"),
        (
            {"methods": {"m": LstmStack(over=("g", "g")), "g": Gru()}},
            "methods.m.over must name at least one method, each once",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_runs(changes, message):
    with pytest.raises(UserError) as error:
        dataclasses.replace(Experiment(), **changes).check()
    assert message in str(error.value)


def test_help_needs_no_jax(tmp_path, capsys):
    """Nor anything else that takes long to import; how long it took is printed, for people."""
    for name in (
        "numpy",
        "jaxtyping",
        "jax",
        "optax",
        "flax",
        "scipy",
        "tensorflow_datasets",
        "cv2",
        "orbax",
        "grain",
        "matplotlib",
    ):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} must not be imported')")
    code = (
        "import resource, runpy, sys, time\n"
        "sys.argv = ['run.py', '--help']\n"
        "try:\n    runpy.run_path('scripts/run.py', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print('user seconds', resource.getrusage(resource.RUSAGE_SELF).ru_utime, file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "", "COLUMNS": "200"},
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "--methods.lstm.hidden" in found.stdout
    print(found.stderr.strip())
