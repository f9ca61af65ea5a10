"""The HTML page, the tables' other forms, breakdowns, curves, and scores that are not as they should be."""

import base64
import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.parameters import save_tree
from fas_jax.base.record import Video
from fas_jax.base.toml import to_toml
from fas_jax.datasets import loading
from fas_jax.evaluation import curves
from fas_jax.evaluation.breakdown import WORST
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.experiment.configuration import Experiment, experiment_to_dict, load_experiment
from fas_jax.reporting import breakdown_tables, charts, figures, grid, report, thumbnails
from fas_jax.reporting.extra_tables import ExtraTable, read_extra_tables, write_extra_table
from fas_jax.reporting.grid import Grid, Strong
from fas_jax.reporting.learning import History, read_histories
from fas_jax.reporting.naming import Models
from fas_jax.reporting.page import Extras, write_page
from tests.test_reporting import provenance, table

NASTY = '<script>alert(1)</script>&"|\\_$'


class Tags(HTMLParser):
    """Every tag and attribute of a page; fails on tags that do not close as they opened."""

    VOID = ("meta", "br", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(scores, about, extras=None):
    return write_page(evaluate(scores), scores, about, (), "published rows are refused: a test", extras or Extras())


def test_the_page_needs_nothing_else_and_shows_everything():
    scores = table("synth-", seeds=(0, 1))
    look = np.array([1, 2, 3], np.float32)
    history = History("gru", "OCI_to_M seed 0", 2, look, look / 2, look / 3, look / 4)
    worst = evaluate(scores).worst[0]
    extras = Extras(
        (history,),
        {(worst.dataset, worst.video): ("data:image/jpeg;base64,AAAA",)},
        (ExtraTable("An audit's verdict", "what it is", Grid(["a"], [["1"]])),),
    )
    about = provenance("synth-", "strict", experiment=experiment_to_dict(Experiment()), versions={"numpy": "2"})
    text = page(scores, about, extras)
    found = Tags(text)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    for name, value in found.attributes:
        assert not (name in ("src", "href") and not value.startswith(("data:", "#")))
        assert not name.startswith("on")
    assert "url(" not in text
    # ROC and DET of four protocols, four histograms, one learning curve.
    assert found.attributes.count(("class", "chart")) == 4 * 2 + 4 + 1
    for name in ("ROC curves, O&C&I to M", "DET curves, O&C&I to M", "Loss of GRU"):
        assert ("alt", name) in found.attributes
    for words in (
        "An audit&#x27;s verdict",
        "Strict beside oracle",
        "gap",
        "Worst-scored videos",
        "says nothing about",
    ):
        assert words in text
    assert "nan" not in re.sub(r"<[^>]*>", " ", text).lower().split()


def test_nothing_from_files_becomes_markup(tmp_path, no_pictures):
    scores = table("", protocols=("OCI_to_M",))
    changed = {name: getattr(scores, name) for name in ("video", "subject", "pai", "pai_fine", "device", "model")}
    changed = {name: np.array([f"{value}{NASTY}" for value in column]) for name, column in changed.items()}
    changed["pai"] = np.where(scores.label == 1, "bonafide", changed["pai"])
    columns = {name: getattr(scores, name) for name in ("protocol", "seed", "role", "dataset", "label", "session")}
    rest = {name: getattr(scores, name) for name in ("split", "score", "reason")}
    nasty = ScoreTable(**columns, **changed, **rest)
    about = provenance(experiment={"name": NASTY}, weights=NASTY, versions={NASTY: NASTY})
    text = page(nasty, about | {"name": NASTY})
    assert "script" not in Tags(text).tags
    assert "&lt;script&gt;" in text
    report.write_report(tmp_path, evaluate(nasty), nasty, about)
    assert all(path.resolve().parent == (tmp_path / "pad").resolve() for path in (tmp_path / "pad").iterdir())


def test_settings_on_the_page_are_those_of_the_run(tmp_path):
    experiment = Experiment(name='odd "name"', seeds=(1, 2))
    (tmp_path / "settings.toml").write_text(to_toml(experiment_to_dict(experiment)))
    assert load_experiment(tmp_path / "settings.toml") == experiment


def test_a_grid_in_every_form():
    shown = Grid(["model", "HTER"], [[NASTY, Strong("1.5 [1.0, 2.0]")], ["b", "[3]"]])
    assert list(csv.reader(io.StringIO(grid.to_csv(shown), newline=""))) == [list(shown.header), *map(list, shown.rows)]
    assert "| **1.5 [1.0, 2.0]** |" in grid.markdown(shown)
    assert "<b>1.5<br><small>[1.0, 2.0]</small></b>" in grid.to_html(shown)
    text = grid.latex(shown, "50 % of_it")
    assert r"\textbf{1.5 [1.0, 2.0]}" in text
    assert r"50 \% of\_it" in text
    assert r"\&" in text
    assert r"\_\$" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_scores_for_other_tools_come_back_as_they_went(tmp_path):
    scores = table("", protocols=("OCI_to_M",), silent=2)
    report.write_pad_scores(tmp_path, scores)
    assert len(list(tmp_path.iterdir())) == 2 * len(scores.distinct("model"))
    path = tmp_path / "OCI_to_M-gru-seed0-test.csv"
    assert path.read_text().splitlines()[0] == "is_bonafide,attack_type,score,video_key"
    wanted, found = scores.select(model="gru", role=TEST), ScoreTable.read_csv(path)
    assert found.score.tobytes() == wanted.score.tobytes()
    assert found.label.tolist() == wanted.label.tolist()
    assert [pai or "bonafide" for pai in found.pai] == wanted.pai.tolist()


def test_groups_against_counting():
    scores = table("", seeds=(0, 1), protocols=("OCI_to_M",), silent=3)
    results = evaluate(scores)
    tau = {(each.model, each.seed): each.values["threshold"] for each in results.figures}
    assert {each.dimension for each in results.groups} == {"pai", "pai_fine", "subject"}
    for group in results.groups:
        rows = scores.select(role=TEST, model=group.model)
        counts = {0: [0, 0], 1: [0, 0]}
        for i in range(len(rows)):
            if getattr(rows, group.dimension)[i] == group.value and not np.isnan(rows.score[i]):
                accepted = rows.score[i] >= tau[group.model, int(rows.seed[i])]
                counts[int(rows.label[i])][0] += accepted != (rows.label[i] == 1)
                counts[int(rows.label[i])][1] += 1
        for label, rate, interval in ((0, group.far, group.far_interval), (1, group.frr, group.frr_interval)):
            wrong, total = counts[label]
            assert (np.isnan(rate) and not total) or rate == pytest.approx(wrong / total)
            if total and group.subjects > 1:
                assert interval.low <= rate <= interval.high
            else:
                assert np.isnan(interval.low)
    assert sum(g.non_responses for g in results.groups if (g.model, g.dimension) == ("gru", "subject")) == 6
    assert len(breakdown_tables.all_groups(results, Models(())).rows) == len(results.groups)


def test_the_worst_videos_are_the_worst():
    scores = table("", protocols=("OCI_to_M",))
    results = evaluate(scores)
    tau = next(each.values["threshold"] for each in results.figures if each.model == "gru")
    rows = scores.select(role=TEST, model="gru")
    margins = rows.score - tau
    expected = []
    for label, sign in ((0, 1), (1, -1)):
        wrong = np.flatnonzero((rows.label == label) & ((margins >= 0) == (label == 0)))
        expected += rows.video[wrong[np.argsort(-sign * margins[wrong])]][:WORST].tolist()
    assert [each.video for each in results.worst if each.model == "gru"] == expected


def test_a_band_is_that_of_single_resamples():
    """Against scikit-free counting of one resample, and around the curve itself."""
    rows = table("", protocols=("OCI_to_M",)).select(role=TEST, model="gru")
    band = curves.roc_band([rows])
    far, accepted = curves.mean_roc([rows])
    held = accepted[np.searchsorted(far, band.far, side="right") - 1]
    assert (band.low <= held + 1e-12).all()
    assert (band.high >= held - 1e-12).all()
    assert (np.diff(band.low) >= 0).all()
    places = {f"M/s{i}": i for i in range(8)}
    everyone_once = curves._resampled(rows, places, np.ones((1, 8), np.int64))[0]
    np.testing.assert_allclose(everyone_once, held)


def test_det_points_are_normal_deviates():
    curve = charts.Curve("a", "#000", False, np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.9, 1.0]), (0.5, 0.1), 0.9)
    (axes,) = charts.det([curve]).axes
    line, point = axes.get_lines()
    # Beyond 0.1 % and 98 % lie the ends.
    ends = -3.0902, 2.0537
    np.testing.assert_allclose(line.get_xdata(), [ends[0], -1.2816, ends[1]], atol=1e-4)
    np.testing.assert_allclose(line.get_ydata(), [ends[1], -1.2816, ends[0]], atol=1e-4)
    np.testing.assert_allclose(point.get_xydata(), [[0, -1.2816]], atol=1e-4)
    assert axes.get_xlim()[0] < ends[0]
    assert axes.get_xlim()[1] > ends[1]


def svg_of(image):
    """What an image of a page holds."""
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', image)
    return base64.b64decode(data).decode()


def test_a_chart_is_one_image_with_the_same_bytes_every_time():
    nasty = charts.Line(f"$x$ {NASTY}", "#D55E00", [1, 2, 3], [0.5, np.nan, 0.25], low=[0, 0, 0], high=[1, 1, 1])
    one, other = (figures.as_image(charts.lines("epoch", "loss", [nasty]), NASTY) for _ in range(2))
    assert one == other
    assert Tags(one).attributes[:2] == [("class", "chart"), ("alt", NASTY)]
    svg = svg_of(one)
    assert "<text" in svg
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>|<metadata>.*</metadata>', "", svg, flags=re.S)
    assert len(svg) < 40_000


def test_names_from_files_are_no_formulas():
    curve = charts.Curve("a$_{b}$", "#000", False, np.array([0.0, 1.0]), np.array([0.0, 1.0]), (0.5, 0.5), 0.5)
    figure = charts.roc([curve], "$\\frac$ to M")
    svg = svg_of(figures.as_image(figure, "t"))
    assert "a$_{b}$: AUC 50.0 %" in svg
    assert "$\\frac$ to M" in svg


def test_scores_of_one_value_have_a_histogram():
    (axes,) = charts.histogram(np.array([0.5]), np.array([0.5, 0.5]), np.nan, ("#000", "#111")).axes
    heights = [patch.get_data().values for patch in axes.patches if not patch.get_fill()]
    assert [each.max() for each in heights] == [100, 100]


def test_scores_that_differ_in_their_last_digit_have_a_histogram():
    (axes,) = charts.histogram(np.array([0.5]), np.array([np.nextafter(0.5, 1)]), 0.5, ("#000", "#111")).axes
    assert axes.get_xlim() == pytest.approx((0, 1))


def test_histories_are_read_from_the_models(tmp_path):
    about = {"model": "gru", "runs": [{"name": "A seed 0"}, {"name": "A seed 0 without fold 0"}, {"name": "B seed 0"}]}
    history = {name: np.arange(6, dtype=np.float32).reshape(2, 3) for name in ("train_loss", "validation_loss")}
    history |= {"validation_accuracy": np.ones((2, 3), np.float32), "epoch": np.array([1, 2], np.float32)}
    save_tree(
        tmp_path / "models" / "gru-0000.safetensors", {"history": history, "best_epoch": np.array([1, 2, 2])}, about
    )
    one, other = read_histories(tmp_path)
    assert (one.run, other.run, one.best_epoch, other.best_epoch) == ("A seed 0", "B seed 0", 1, 2)
    assert other.train_loss.tolist() == [2, 5]
    assert read_histories(tmp_path / "nothing") == ()
    (tmp_path / "models" / "lstm-0000.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"lstm-0000.safetensors is not a readable safetensors file"):
        read_histories(tmp_path)


def test_extra_tables_wait_in_the_run(tmp_path):
    written = ExtraTable("t", "x", Grid(["a", "b"], [["1", "2"]]))
    write_extra_table(tmp_path, "one", written)
    assert read_extra_tables(tmp_path) == (written,)
    (tmp_path / "extras" / "two.json").write_text("[]")
    with pytest.raises(UserError, match=r"two.json is no table"):
        read_extra_tables(tmp_path)


def lines(**columns):
    rows = []
    for role in ("validation", "test"):
        for n in range(40):
            pai = "" if n % 2 else "print"
            score = (n % 2) + n / 100
            rows.append({"video": f"{role}v{n}", "label": n % 2, "score": score, "role": role, "pai": pai})
    for row in rows:
        row |= {name: change(row) for name, change in columns.items()}
    return rows


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_other_polarity_is_said_and_not_flipped(tmp_path, no_pictures):
    path = write_csv(tmp_path / "turned.csv", lines(score=lambda row: -row["score"]))
    results = report.evaluate_scores(path, tmp_path / "out")
    assert results.figures[0].values["auc"] == 0
    for name in ("report.md", "report.html", "results.md"):
        text = (tmp_path / "out" / name).read_text()
        assert "negate the scores and evaluate again; nothing is flipped here" in text
    assert json.loads((tmp_path / "out" / "results.json").read_text())["figures"][0]["values"]["auc"] == 0
    report.evaluate_scores(write_csv(tmp_path / "right.csv", lines()), tmp_path / "fine")
    assert "AUC below 0.5" not in (tmp_path / "fine" / "report.html").read_text()


def test_an_empty_species_is_said(tmp_path, no_pictures):
    path = write_csv(tmp_path / "some.csv", lines(pai=lambda row: "" if row["video"] == "testv0" else row["pai"]))
    results = report.evaluate_scores(path, tmp_path / "out")
    assert np.isnan(results.figures[0].values["apcer"])
    assert not np.isnan(results.figures[0].values["hter"])
    assert "1 test attacks have no PAI species" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": lambda row: 1, "pai": lambda row: ""}, "there is no attack among the 40 scores"),
        ({"score": lambda row: "inf"}, "the score is infinite"),
        ({"score": lambda row: "high"}, "is not a number"),
        ({"video": lambda row: "same"}, "twice"),
        ({"label": lambda row: 2}, "is not 1 or bonafide"),
        ({"pai": lambda row: "bonafide"}, "an attack cannot be of species"),
    ],
)
def test_scores_that_cannot_be_are_refused(change, message, tmp_path):
    with pytest.raises(UserError, match=message):
        report.evaluate_scores(write_csv(tmp_path / "bad.csv", lines(**change)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_videos_that_only_one_model_has_are_refused(tmp_path):
    rows = lines(model=lambda row: "a")
    rows += [row | {"model": "b"} for row in rows if row["video"] != "testv7"]
    with pytest.raises(UserError, match="testv7; a video without a decision is a row without a score"):
        report.evaluate_scores(write_csv(tmp_path / "bad.csv", rows), tmp_path / "out")


@pytest.mark.usefixtures("unchecked_types")
def test_thumbnails_are_of_the_wanted_videos(monkeypatch):
    """Frames that say which video they are of, through the prepared dataset's own order."""

    class Fake:
        dataset, shards, renditions = "M", ("one", "two"), {"whole": {}}

        def clips(self, shard):
            names = {"one": ("a", "b"), "two": ("c",)}[shard]
            return [(Video(name, "M", "s", "test", 1, "bonafide", "bonafide", "", ""), None) for name in names]

    def clips(dataset, shards, rendition):
        levels = {"one": (10, 90), "two": (200,)}[shards[0]]
        return [{"sequence": np.full((7, 120, 60, 3), level, np.uint8)} for level in levels]

    monkeypatch.setattr(loading, "FrameClips", clips)
    found = thumbnails.read_thumbnails([Fake()], {("M", "b"), ("M", "c"), ("O", "a"), ("M", "absent")})
    assert found.keys() == {("M", "b"), ("M", "c")}
    for (_, name), pictures in found.items():
        assert len(pictures) == 4
        content = base64.b64decode(pictures[0].removeprefix("data:image/jpeg;base64,"))
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (96, 48, 3)
        assert abs(int(picture.mean()) - {"b": 90, "c": 200}[name]) <= 1


def test_markdown_holds_no_html_and_no_links_of_others():
    shown = grid.markdown(Grid(["a"], [['<img src=x>&lt; a\\|b "R&D" ![p](http://x)'], ["two\nlines"]]))
    assert shown.splitlines()[2] == '| &lt;img src=x>&amp;lt; a\\\\\\|b "R&D" ![p]\\(http://x) |'
    assert shown.splitlines()[3] == "| two lines |"
    assert grid.bullets(["<b>", "`a`: 5 <= 6"]) == "- &lt;b>\n- `a`: 5 &lt;= 6"
    assert grid.quoted(["<i>", "x"]) == "> **&lt;i>**\n\n> **x**"


def test_no_page_in_markdown_holds_html_of_files(tmp_path, no_pictures):
    evil = "<script>alert(1)</script>"
    scores = table("", protocols=("OCI_to_M",), silent=1)
    changed = {name: np.array([f"{evil}{value}" for value in getattr(scores, name)]) for name in ("video", "model")}
    changed["pai"] = np.where(scores.label == 1, "bonafide", evil)
    changed["reason"] = np.where(np.isnan(scores.score), evil, "")
    nasty = dataclasses.replace(scores, **changed)
    about = provenance(name=evil, weights=evil, versions={evil: evil})
    about["datasets"][0]["failures"] = [{"video": evil, "reason": evil}, evil]
    table_of_others = ExtraTable(evil, evil, Grid([evil], [[evil]]))
    report.write_report(tmp_path, evaluate(nasty), nasty, about, Extras(tables=(table_of_others,)))
    for name in ("results.md", "report.md"):
        assert "<script" not in (tmp_path / name).read_text()
        assert "&lt;script" in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-x", "'-x"),
        ("\t=1", "'\t=1"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("−", "−"),
        ("a=b", "a=b"),
    ],
)
def test_cells_that_a_spreadsheet_would_run_are_text(cell, written):
    shown = Grid([cell], [[cell]])
    assert list(csv.reader(io.StringIO(grid.to_csv(shown), newline=""))) == [[written], [written]]
    assert list(csv.reader(io.StringIO(grid.to_csv(shown, exact=True), newline=""))) == [[cell], [cell]]


def test_formulas_in_names_are_text_for_people_and_names_for_programs(tmp_path, no_pictures):
    scores = table("", protocols=("OCI_to_M",))
    changed = {name: np.array([f"=1+{value}" for value in getattr(scores, name)]) for name in ("video", "model")}
    changed["device"] = np.array(["@SUM(A1)"] * len(scores))
    nasty = dataclasses.replace(scores, **changed)
    report.write_report(tmp_path, evaluate(nasty), nasty, provenance())
    for name in ("results.csv", "breakdown.csv"):
        with (tmp_path / name).open(newline="") as file:
            read = [cell for row in csv.reader(file) for cell in row]
        assert not any(cell.startswith(("=", "@")) for cell in read)
        assert "'=1+gru" in read
    again = ScoreTable.read_csv(tmp_path / "scores.csv")
    assert again.video.tolist() == nasty.video.tolist()
    assert again.model.tolist() == nasty.model.tolist()
    (path,) = (tmp_path / "pad").glob("*gru*test*")
    assert set(ScoreTable.read_csv(path).video) <= {f"M/{video}" for video in nasty.video}
