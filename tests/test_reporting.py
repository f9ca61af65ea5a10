"""What a report says, what it refuses, and that it is written whole."""

import dataclasses
import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment import results as run_results
from fas_jax.experiment.configuration import Experiment
from fas_jax.methods.recurrent import Gru, Lstm
from fas_jax.reporting import report, tables
from fas_jax.reporting.naming import Models
from fas_jax.reporting.published import PAPER_PROTOCOLS, TABLE_I, published_rows

METHOD = Path(__file__).parents[2] / "shared" / "reference" / "method.md"
MODELS = {"zeta": 0.3, "metadata": 0.1, "meta": 2.6, "gru": 0.5, "lstm": 0.6}
METHODS = {
    "zeta": {"kind": "my-own", "version": 1},
    "metadata": {"kind": "metadata", "version": 1},
    "meta": {"kind": "lstm-stack", "version": 1, "over": ["gru", "lstm"], "fusion": "mean"},
    "gru": {"kind": "gru", "version": 1, "hidden": 8, "fusion": "mean"},
    "lstm": {"kind": "lstm", "version": 1, "hidden": 8, "fusion": "mean"},
}
READS = {
    "zeta": [["features", "whole"]],
    "metadata": [["facts", "whole"]],
    "meta": [["scores", "gru"], ["scores", "lstm"]],
    "gru": [["features", "whole"]],
    "lstm": [["features", "whole"]],
}


def videos(dataset, subjects=8):
    return [
        Video(f"{s}/{k}.avi", dataset, f"s{s}", "test", int(k < 2), *(["bonafide" if k < 2 else "print"] * 2), "", "")
        for s in range(subjects)
        for k in range(5)
    ]


@lru_cache
def table(prefix="", seeds=(0,), protocols=PAPER_PROTOCOLS, silent=0, subjects=8):
    parts = []
    for protocol in protocols:
        sources, target = protocol.split("_to_")
        for role, names in (("validation", sources), ("test", target)):
            listed = [video for name in names for video in videos(prefix + name, subjects)]
            labels = np.array([video.label for video in listed])
            for seed in seeds:
                for model, strength in MODELS.items():
                    generator = np.random.default_rng([seed, *f"{protocol}{role}{model}".encode()])
                    values = generator.normal(strength * labels, 1.0)
                    values[: silent if role == "test" else 0] = np.nan
                    reasons = ["no frame left" if np.isnan(value) else "" for value in values]
                    parts.append(ScoreTable.from_videos(protocol, seed, role, model, listed, values, reasons))
    return ScoreTable.concatenate(parts)


def provenance(prefix="", preset="dle2023", **options):
    datasets = [{"dataset": prefix + name, "synthetic": bool(prefix), "complete": True} for name in "OCIM"]
    return {"name": "trial", "preset": preset, "datasets": datasets, "methods": METHODS, "reads": READS, **options}


_evaluated = {}


def evaluated(scores):
    """Evaluating takes a second, and many tests look at the same scores."""
    if id(scores) not in _evaluated:
        _evaluated[id(scores)] = (scores, evaluate(scores))  # kept, so that nothing else can have its id
    return _evaluated[id(scores)][1]


def write(folder, scores, about):
    report.write_report(folder, evaluated(scores), scores, about)
    return (folder / "results.md").read_text(), (folder / "report.md").read_text()


def rows_of(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_the_folder_is_complete_and_agrees_with_itself(tmp_path):
    scores = table("synth-")
    about = provenance("synth-", "strict", weights="random (seed 0)", versions={"numpy": "2"}, seconds={"train": 1.5})
    main, report = write(tmp_path / "run", scores, about)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "provenance.json", "scores.csv", "results.json", "results.md", "report.md", "report.html",
        "results.csv", "results.tex", "breakdown.csv", "pad",
        *(f"roc_{protocol}.png" for protocol in PAPER_PROTOCOLS),
    }  # fmt: skip
    assert json.loads((tmp_path / "run" / "provenance.json").read_text()) == about
    read = ScoreTable.read_csv(tmp_path / "run" / "scores.csv")
    assert read.score.tobytes() == scores.score.tobytes()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    # The table's cells are the JSON's figures.
    header, _, *rows = rows_of(main)[: 2 + len(MODELS)]
    assert header[:3] == ["model", "O&C&I to M: HTER %", "AUC %"]
    # In the order of the configuration; names of the paper's methods and of the baselines, by kind.
    named = ["zeta", "baseline: metadata", "Meta-learner", "GRU", "LSTM"]
    assert [row[0] for row in rows] == named
    names = dict(zip(named, MODELS, strict=True))
    found = {(each["protocol"], each["model"]): each for each in results["summaries"]}
    for row in rows:
        for number, protocol in enumerate(PAPER_PROTOCOLS):
            for cell, figure in zip(row[1 + 2 * number : 3 + 2 * number], ("hter", "auc"), strict=True):
                mean = found[protocol, names[row[0]]]["mean"][figure]
                assert float(re.match(r"\**([\d.]+)", cell)[1]) == pytest.approx(100 * mean, abs=0.0051)
                interval = found[protocol, names[row[0]]][f"{figure}_interval"]
                low, high = re.search(r"\[([\d.]+), ([\d.]+)\]", cell).groups()
                assert float(low) == pytest.approx(100 * interval["low"], abs=0.051)
                assert float(high) == pytest.approx(100 * interval["high"], abs=0.051)
    assert report.startswith(main.rstrip())
    for protocol in PAPER_PROTOCOLS:
        assert f"](roc_{protocol}.png)" in report
        picture = cv2.imread(str(tmp_path / "run" / f"roc_{protocol}.png"))
        assert min(picture.shape[:2]) > 600
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_what_must_be_said_is_said(tmp_path, no_pictures):
    about = provenance("synth-", "strict", weights="random (seed 7)")
    about["datasets"][0] |= {"complete": False, "failures": [{"video": "a.avi", "reason": "no frames"}]}
    main, report = write(tmp_path, table("synth-", silent=2), about)
    top = main.split("## Cross-dataset table")[0]
    assert "exercises the pipeline and says nothing about real attacks" in top
    assert "random (seed 7)" in top
    # A rendered dataset has as many videos as were asked for; that it is not the full official list says nothing.
    assert "only partly there" not in top
    assert "1 video of synth-O could not be read" in top
    # Of each of four targets two videos, however many models they were shown to.
    assert "8 test videos have no score by one model or several" in top
    for text in (
        "mean of its frames",
        "whole is read by zeta",
        "Unit: the video",
        "target takes no part in it",
        "One seed (0)",
        "`strict`",
    ):
        assert text in main
    assert "- synth-O: a.avi: no frames" in report
    assert "- 8 videos: no frame left" in report
    assert "| LSTM | lstm | lstm | features of whole | hidden 8, fusion mean |" in report
    assert "test video has no score" in write(tmp_path, table("synth-", protocols=("OCI_to_M",), silent=1), about)[0]
    # And nothing of this where it is not so.
    partial = provenance(weights="densenet201.pth")
    partial["datasets"][0] |= {"complete": False}
    assert "Dataset O is only partly there" in write(tmp_path, table(), partial)[0].split("## Cross-dataset table")[0]
    clean, _ = write(tmp_path, table(), provenance(weights="densenet201.pth"))
    top = clean.split("## Cross-dataset table")[0]
    assert ">" not in top
    assert (
        "Mean ± sample standard deviation over the seeds 0, 1" in write(tmp_path, table(seeds=(0, 1)), provenance())[0]
    )


def test_bold_only_what_is_clearly_best(tmp_path, no_pictures):
    scores = table("synth-", subjects=20)
    main, _ = write(tmp_path, scores, provenance("synth-", "strict"))
    assert "Nothing can be bold" not in main
    bold = {row[0] for row in rows_of(main) if any("**" in cell for cell in row)}
    assert bold == {"Meta-learner"}
    # Two that decide alike: neither is bold.
    twins = scores.select(model="meta")
    twins = dataclasses.replace(twins, model=np.array(["twin"] * len(twins)))
    main, _ = write(tmp_path, ScoreTable.concatenate([scores, twins]), provenance("synth-", "strict"))
    assert "**" not in "".join("".join(row) for row in rows_of(main))


def test_few_subjects_make_nothing_bold_and_the_page_says_so(tmp_path, no_pictures):
    """Many differences between eight subjects: the intervals of some exclude 0, and that may be chance."""
    scores = table("synth-")
    assert any(each.interval.high < 0 and each.p < 0.05 for each in evaluated(scores).comparisons)
    main, full = write(tmp_path, scores, provenance("synth-", "strict"))
    assert not any("**" in cell for row in rows_of(main) for cell in row)
    assert "Nothing can be bold here: for 40 differences and 8 test subjects the smallest corrected p is 0.31" in main
    assert "the target is the unit, and there are 4 targets, where even a model that wins all 4 has p = 0.12" in main
    assert "| 4 of 4 targets |" in full


def test_epochs_chosen_on_the_target_are_marked_on_every_page_and_never_in_bold(tmp_path, no_pictures):
    about = {**provenance("synth-", "strict"), "on_target": ["meta"]}
    main, full = write(tmp_path, table("synth-"), about)
    assert not any("**" in cell for row in rows_of(main) for cell in row)
    assert "Nothing is in bold, because epochs were chosen on the target" in main
    for text in (main, full, (tmp_path / "report.html").read_text()):
        assert "The epochs of Meta-learner (epoch: oracle) were chosen on the target" in text
        # In every row of every table.
        assert text.count("Meta-learner (epoch: oracle)") == text.count("Meta-learner")
    main, _ = write(tmp_path, table(), {**provenance(), "on_target": ["meta"]})
    assert "epochs were chosen on the target" in main.split("published rows are refused")[-1].lower()
    assert not any("(published)" in row[0] for row in rows_of(main))


def test_published_rows_are_those_of_the_paper():
    if not METHOD.is_file():
        pytest.skip("the reference text is not at hand")
    text = METHOD.read_text().split("## Table I of the paper")[1].split("\n## ")[0]
    wanted = [[cell.replace("*", "") for cell in row] for row in rows_of(text)[2:]]
    found = [
        [row.method, *(f"{hter:.2f} {'—' if auc is None else f'{auc:.2f}'}" for hter, auc in row.values.values())]
        for row in TABLE_I
    ]
    assert found == wanted


def test_published_rows_stand_beside_the_real_thing_only(tmp_path, no_pictures):
    main, _ = write(tmp_path, table(), provenance())
    assert sum("(published)" in row[0] for row in rows_of(main)) == 16
    assert "arXiv 2307.02858" in main

    def partial(**options):
        about = provenance()
        about["datasets"][1] |= options
        return about

    missing = provenance()
    missing["datasets"] = missing["datasets"][:3]
    for about, protocols, reason in (
        (provenance(preset="strict"), PAPER_PROTOCOLS, "the preset is 'strict'"),
        (provenance("synth-"), PAPER_PROTOCOLS, "are rendered"),
        (partial(complete=False), PAPER_PROTOCOLS, "C is not known to be complete"),
        (partial(complete=None), PAPER_PROTOCOLS, "C is not known to be complete"),
        (partial(failures=["x.avi"]), PAPER_PROTOCOLS, "1 videos of C failed"),
        (missing, PAPER_PROTOCOLS, "the datasets are C, I, O"),
        (provenance(), PAPER_PROTOCOLS[:3], "the protocols are"),
        (provenance(), (*PAPER_PROTOCOLS, "IM_to_C"), "the protocols are"),
    ):
        with pytest.raises(UserError, match=f"published rows are refused: .*{re.escape(reason)}"):
            published_rows(about, protocols)
    for prefix, about in (
        ("", provenance(preset="strict")),
        ("synth-", provenance("synth-")),
        ("", partial(complete=False)),
    ):
        main, report = write(tmp_path, table(prefix), about)
        assert "(published)" not in report
        assert "Published rows are refused: " in main


def test_provenance_must_cover_the_scores(tmp_path):
    scores = table()

    def refused(about, message):
        with pytest.raises(UserError, match=message):
            report.write_report(tmp_path / "run", evaluated(scores), scores, about)
        assert not (tmp_path / "run").exists()

    refused({"datasets": []}, "'preset' must be given")
    refused({"preset": "strict"}, "'datasets' must be given")
    refused(provenance() | {"datasets": provenance()["datasets"][1:]}, "scores of dataset 'O'")
    refused(provenance("synth-"), "scores of dataset 'O'")
    refused(provenance() | {"datasets": [{"dataset": "O", "synthetic": False}]}, "needs 'complete'")
    lie = provenance("synth-")
    lie["datasets"][0]["synthetic"] = False
    refused(lie, "contradicts")


def test_anybodys_scores_without_jax(tmp_path):
    lines = ["is_bonafide,attack_type,score,video_key,role,subject"]
    generator = np.random.default_rng(0)
    for role in ("validation", "test"):
        for number in range(40):
            real = number % 2
            cells = [bool(real), "" if real else "mask|x", generator.normal(2 * real), f"{role}{number}", role]
            lines.append(",".join(map(str, [*cells, f"{role}{number // 4}"])))
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    program = (
        "import sys; from pathlib import Path; from fas_jax.reporting.report import evaluate_scores;"
        "evaluate_scores(Path(sys.argv[1]), Path(sys.argv[2]));"
        "assert not {'jax', 'jaxlib', 'flax', 'sklearn', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "mine.csv", tmp_path / "out"], check=True)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "APCER mask\\|x" in report
    assert "preset is 'unknown'" in report
    assert (tmp_path / "out" / "roc_scores.png").stat().st_size > 10_000


def test_what_is_undefined_is_reported_as_such(tmp_path, no_pictures):
    lines = ["video,label,score,model"]
    for number in range(20):
        lines += [f"v{number},{number % 2},{number % 7},known", f"v{number},{number % 2},,silent"]
    (tmp_path / "test-only.csv").write_text("\n".join(lines))
    report.evaluate_scores(tmp_path / "test-only.csv", tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| known | undefined | " in text
    assert "| silent | undefined | undefined |" in text
    assert "known, seed 0: threshold undefined: there are no scores" in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["figures"][0]["values"]["hter"] is None


def test_rows_say_where_settings_come_from():
    """In the main table and in the one that leads to the oracle; no other row has the mark."""
    results = evaluated(table(protocols=("OCI_to_M",)))
    models = Models.of(results, provenance(settings_from={"gru": "published (target-tuned)"}))
    for grid, column in ((tables.table_one(results, models, ()), 0), (tables.oracle_table(results, models), 1)):
        marked = [row[column] for row in grid.rows if "settings" in row[column]]
        assert marked == ["GRU; settings: published (target-tuned)"]


def test_runs_carry_where_settings_come_from(monkeypatch):
    monkeypatch.setattr(Gru, "settings_from", "published (target-tuned)")
    monkeypatch.setattr(run_results, "devices", SimpleNamespace(describe=lambda: {}))
    experiment = Experiment(methods={"mine": Gru(hidden=3), "lstm": Lstm()})
    inputs = dict.fromkeys(
        ("datasets", "materials", "assignments", "backbone", "weights", "weights_sha256", "versions", "made_with"), ""
    )
    about = run_results._provenance(experiment, inputs, {}, [])
    assert about["settings_from"] == {"mine": "published (target-tuned)"}
