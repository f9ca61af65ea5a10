"""Settings: read, checked, written back; a mistyped name is told with the nearest right one."""

import dataclasses
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.settings import Experiment, Rendition, Training, from_dict, load_experiment, to_dict, to_toml

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_load_and_survive_the_way_to_json_and_back(path):
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    assert from_dict(Experiment, to_dict(experiment), "back") == experiment


def test_defaults_are_the_papers():
    """method.md, (code): hidden units, optimiser, batch, epochs, patience (30 epochs x 3)."""
    experiment = Experiment()
    models, training, stacking = experiment.models, experiment.training, experiment.stacking
    assert (models.lstm, models.bilstm, models.gru, models.meta) == (1000, 500, 20, 20)
    assert (training.learning_rate, training.batch_size, training.max_epochs) == (1e-4, 32, 1500)
    assert (training.validate_every, training.patience, training.monitor) == (30, 90, "accuracy")
    assert (stacking.max_epochs, stacking.combine) == (100, "concat")
    (whole,) = experiment.renditions.values()
    assert (whole.segment, whole.position, whole.max_frames, whole.crop) == (30, "last", 7, "whole")
    assert (experiment.features.backbone, whole.size) == ("densenet201", 224)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trainig]\nbatch_size = 3", "unknown setting 'trainig'; did you mean 'training'"),
        ("[training]\nbatchsize = 3", "training: unknown setting 'batchsize'; did you mean 'batch_size'"),
        ("[training]\nbatch_size = 3.5", "training: batch_size must be of type int, not 3.5"),
        ("[training]\nbatch_size = true", "batch_size must be of type int, not True"),
        ("[training]\nmonitor = 'los'", "monitor: unknown value 'los'; did you mean 'loss'"),
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
        (
            "[preparation]\nsegment = 16",
            "segment is no longer a setting of its table; write segment in [renditions.whole]",
        ),
        (
            "[preparation]\nframe_size = 16",
            "frame_size is no longer a setting of its table; write size in [renditions.whole]",
        ),
        ("[preparation]\nfaces = 'detector'", "write crop in a table of its own, such as [renditions.face]"),
        ("[features]\nrendition = 'face'", "rendition is no longer a setting of its table"),
    ],
)
def test_wrong_settings_are_told_where_and_what(tmp_path, text, message):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_experiment(path)
    assert message in str(error.value)
    assert "wrong.toml" in str(error.value)


def test_renditions_are_tables_any_of_which_replaces_the_default(tmp_path):
    (tmp_path / "two.toml").write_text(
        "[renditions.near]\ncrop = 'detector'\nmargin = 0\n[renditions.far-2]\nsize = 64\n"
    )
    experiment = load_experiment(tmp_path / "two.toml")
    assert experiment.renditions == {"near": Rendition(crop="detector", margin=0.0), "far-2": Rendition(size=64)}
    (tmp_path / "again.toml").write_text(to_toml(to_dict(experiment)))
    assert load_experiment(tmp_path / "again.toml") == experiment
    assert from_dict(Experiment, to_dict(experiment), "back") == experiment


def test_whole_number_is_good_for_a_float_setting():
    assert from_dict(Training, {"learning_rate": 1}, "x").learning_rate == 1.0


def test_every_setting_says_what_it_is():
    """The text under each field is what --help prints."""
    import ast
    import inspect

    from fas_jax.base import settings as config

    for node in ast.parse(inspect.getsource(config)).body:
        if isinstance(node, ast.ClassDef) and node.name != "Experiment":
            for field, after in zip(node.body[1:], [*node.body[2:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    assert isinstance(after, ast.Expr), f"{node.name}.{field.target.id} has no description"
    assert dataclasses.is_dataclass(Experiment)


def test_unknown_name_without_a_near_one_lists_all():
    assert str(unknown_name("layout", "zzz", ["b", "a"])) == "unknown layout 'zzz' Known: 'a', 'b'."
