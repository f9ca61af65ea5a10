"""Names, order and colours on pages come from a run's configuration, and no method is known by name."""

import re
from pathlib import Path

import pytest

import fas_jax.reporting
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.methods.registry import SETS
from fas_jax.protocols.names import named
from fas_jax.protocols.presets import make_protocol
from fas_jax.reporting.breakdown_tables import main_model
from fas_jax.reporting.naming import Models, model_name, protocol_name, protocol_title, rendered_to_real
from tests.test_reporting import METHODS, MODELS, READS, table


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        ("OCI_to_M", "O&C&I to M"),
        ("own+O_to_M", "own&O to M"),
        ("scores", "scores"),
        ("synth-O+synth-C_to_mine", "synth-O&synth-C to mine (rendered to real)"),
        ("synth-O+M_to_mine", "synth-O&M to mine (rendered and real to real)"),
        ("O_to_synth-M", "O to synth-M (real to rendered)"),
        ("synth-O_to_synth-M", "synth-O to synth-M (rendered)"),
        ("intra-synth-O-1", "intra-synth-O-1 (rendered)"),
        ("photosynth-A_to_B", "photosynth-A to B"),
        ("intra-photosynth-A", "intra-photosynth-A"),
    ],
)
def test_protocols_that_name_rendered_data_are_marked(protocol, name):
    assert protocol_name(protocol) == name
    assert rendered_to_real(protocol) == name.endswith("to real)")


def test_titles_of_protocols_are_marked_alike():
    protocol = make_protocol("strict", ("synth-O", "synth-C"), "mine")
    assert protocol_title(protocol) == protocol_name(protocol.name) == "synth-O&synth-C to mine (rendered to real)"
    assert protocol_title(make_protocol("strict", "OCI", "M")) == "O&C&I to M"


def test_names_are_the_papers_for_its_own_methods_only():
    methods = {name: dict(about) for each in SETS.values() for name, about in each.items()}
    assert [model_name(name, methods) for name in methods] == [
        "LSTM", "BiLSTM", "GRU", "Meta-learner", "baseline: mean feature", "baseline: colour", "baseline: metadata",
    ]  # fmt: skip
    for name in methods:
        assert model_name(name) == name
        assert model_name(name, {name: {"kind": "another"}}) == name
    assert model_name("gru-2", {"gru-2": {"kind": "gru"}}) == "gru-2"


def test_baselines_are_dashed_and_no_two_models_look_alike():
    models = Models(tuple(MODELS), METHODS, READS)
    assert [models.style(model)[1] for model in MODELS] == [False, True, False, False, False]
    many = Models(tuple(f"m{number}" for number in range(20)))
    assert len({many.style(model) for model in many.order}) == 20


def test_the_headline_is_a_method_that_reads_others_scores():
    scores = table(protocols=("OCI_to_M",))
    results = evaluate(scores)
    best = max(MODELS, key=lambda model: results.summary("OCI_to_M", model).mean["auc"])
    assert main_model(results, Models(results.models), "OCI_to_M") == best == "meta"
    # Whatever it is called, and however well it does.
    models = Models(results.models, {}, {"zeta": [["scores", "gru"]]})
    assert main_model(results, models, "OCI_to_M") == "zeta"


def test_a_stack_reads_the_renditions_below_it():
    reads = {"top": [["scores", "middle"], ["scores", "low"]], "middle": [["scores", "low"], ["facts", "face"]]}
    models = Models(("top", "middle", "low"), {}, {**reads, "low": [["features", "whole"]]})
    assert models.renditions("top") == ["whole", "face"]
    assert models.stacks == ["top", "middle"]
    assert models.renditions("of another file") == []


def test_reporting_names_no_method():
    names = "|".join(re.escape(name) for each in SETS.values() for name in each if name != "colour")
    for path in Path(fas_jax.reporting.__file__).parent.glob("*.py"):
        if path.name != "published.py":
            assert not re.search(rf"""["']({names})["']""", path.read_text()), path.name


def test_marks_agree_with_the_protocols_own_account():
    for name in ("synth-O+synth-C_to_mine", "OCI_to_M"):
        datasets = name.replace("_to_", "+").split("+") if "+" in name else list("OCIM")
        (protocol,) = named(name, "strict", [_video(each) for each in datasets])
        assert bool(protocol.rendered) == rendered_to_real(name)


def _video(dataset):
    from fas_jax.base.record import Video

    return Video("a.avi", dataset, "s", "train", 1, "bonafide", "bonafide", "", "")
