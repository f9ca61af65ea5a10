"""What pages say of the data, backbones and renditions behind a table, and what one table may not mix."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Features
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.features.stage import load_backbone
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.materials import Material, Materials, materials_in, materials_of
from fas_jax.reporting.naming import Models
from fas_jax.reporting.page import simple_page
from fas_jax.reporting.report import write_report
from tests.test_reporting import provenance, table


@dataclass(frozen=True)
class Store:
    provenance: dict[str, Any]
    identity: dict[str, Any] = field(default_factory=dict)


def store(dataset="C", rendition="whole", segment=30, **options):
    facts = {"backbone": "densenet201", "weights": "a.pth", "weights_sha256": "a" * 64, "dimension": 1920}
    about = {"dataset": dataset, "synthetic": dataset.startswith("synth-"), "complete": True, "rendition": rendition}
    return Store({**about, **facts, **options}, {"rendition": {"name": rendition, "segment": segment}})


def said(*stores, protocols=()):
    return " ".join(materials_of(stores, protocols).caveats())


def test_nothing_is_said_of_what_is_as_it_should_be():
    assert said(store("C"), store("M"), protocols=("C_to_M",)) == ""
    materials_of([store("C"), store("M")]).check()


def test_rendered_data_are_said_to_be():
    everything = said(store("synth-C"), store("synth-M"))
    assert "Rendered data (synth-C, synth-M): this exercises the pipeline and says nothing about real" in everything
    mixed = said(store("synth-C"), store("M"), protocols=("synth-C_to_M", "synth-C_to_synth-O"))
    assert "Rendered data (synth-C) beside real ones (M): what is tested on rendered videos says nothing" in mixed
    assert "Protocol synth-C to M (rendered to real) trains on rendered videos and tests on real ones" in mixed
    assert mixed.count("Protocol ") == 1


def test_untrained_weights_and_partial_copies_are_said():
    text = said(store("C", weights="random (seed 7)"), store("M", weights="random (seed 7)", complete=False))
    assert text.count("Backbone weights: random (seed 7). Figures with untrained weights") == 1
    assert "Dataset M is only partly there" in text
    # A rendered tree is partial by its plan; a file's name is no sign of random weights.
    assert "partly" not in said(store("synth-M", complete=False))
    assert said(store("C", weights="quasi-random-crops.pth"), store("M", complete=None)) == ""


def test_random_weights_are_those_of_the_feature_stage():
    _, _, origin = load_backbone(Features(backbone="efficientnet_lite0", weights="random", weights_seed=3))
    assert Material("C", False, weights=origin["weights"]).untrained


def test_features_of_several_platforms_are_named():
    text = said(store("C", platform="gpu"), store("M", platform="cpu"), store("O", platform="cpu"))
    assert "several platforms (gpu: C; cpu: M, O)" in text
    assert "platforms" not in said(store("C", platform="gpu"), store("M", platform="gpu"))


def test_models_that_read_different_renditions_are_named():
    stores = {name: [store("C", name), store("M", name)] for name in ("whole", "face")}
    reads = {"a": [["features", "whole"]], "b": [["features", "face"]], "c": [["scores", "a"], ["scores", "b"]]}
    models = Models(("a", "b", "c"), {}, reads)
    materials = materials_in({"materials": materials_of(stores).to_json()}, models)
    materials.check()
    (text,) = materials.caveats()
    assert (
        text == "The models read different renditions of the videos: a reads whole; b reads face; c reads whole, face."
    )
    assert materials_in({"materials": materials_of(stores).to_json()}, Models(("a",), {}, reads)).caveats() == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            store("M", backbone="resnet", dimension=7),
            r"rendition whole: .*densenet201 \(1920 wide.*: C; resnet \(7 wide",
        ),
        (store("M", weights_sha256="b" * 64), r"several backbones or weights .*aaaaaaaa\): C; .*bbbbbbbb\): M"),
        (store("M", segment=16), "prepared with different settings"),
        (store("M", rendition="face"), r"several renditions \(whole: C; face: M\)"),
    ],
)
def test_one_table_of_several_is_refused(other, message):
    with pytest.raises(UserError, match=message):
        materials_of([store("C"), other]).check()


def test_a_report_is_refused_for_the_same_reasons(tmp_path):
    scores = table(protocols=("OCI_to_M",))
    inputs = [Material(name, False, True, "whole", weights_sha256=name) for name in "OCIM"]
    about = provenance(materials=Materials(tuple(inputs)).to_json())
    with pytest.raises(UserError, match="several backbones or weights"):
        write_report(tmp_path / "run", evaluate(scores), scores, about)
    assert not (tmp_path / "run").exists()


NAMES = st.sampled_from("ab")


@given(st.lists(st.builds(Material, NAMES, st.just(False), rendition=NAMES, weights_sha256=NAMES), max_size=6))
def test_refused_exactly_where_a_rendition_is_mixed_or_uneven(inputs):
    mixed = any(
        one.rendition == other.rendition and one.weights_sha256 != other.weights_sha256
        for one in inputs
        for other in inputs
    )
    uneven = any(
        not any((each.rendition, each.dataset) == (one.rendition, other.dataset) for each in inputs)
        for one in inputs
        for other in inputs
    )
    if mixed or uneven:
        with pytest.raises(UserError):
            Materials(tuple(inputs)).check()
    else:
        Materials(tuple(inputs)).check()


def test_what_a_run_keeps_is_read_back():
    made = materials_of({"whole": [store("C", platform="cpu"), store("M", complete=None)]}, ("C_to_M",))
    read = materials_in({"materials": made.to_json()}, Models(()), ("C_to_M",))
    assert read == replace(made, renditions=read.renditions)


def test_every_page_says_it_at_its_top(tmp_path, no_pictures):
    scores = table("synth-", protocols=("OCI_to_M",))
    about = provenance("synth-", "strict", weights="random (seed 0)", name="one\nline <b>")
    write_report(tmp_path, evaluate(scores), scores, about)
    caveats = ("exercises the pipeline and says nothing about real attacks", "Backbone weights: random (seed 0)")
    for name, end in (
        ("results.md", "## "),
        ("report.md", "## "),
        ("report.html", "<nav>"),
        ("results.tex", r"\begin{table}"),
    ):
        top = (tmp_path / name).read_text().split(end)[0]
        for text in caveats:
            assert text in top, name
    assert all(line.startswith("% ") for line in top.splitlines())
    page = simple_page("A study", ["said"], [ExtraTable("t", "x", Grid(["a"], [["1"]]))], None, ["Mind <this>."])
    assert '<p class="warn">Mind &lt;this&gt;.</p>' in page.split("<nav>")[0]
