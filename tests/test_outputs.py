"""What commands write where the user says: their own earlier files are replaced, and nobody else's."""

import os
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.outputs import NOTE, check_output, output_folder, write_new
from fas_jax.reporting.report import evaluate_scores


def write(folder: Path, **files: str) -> None:
    with output_folder(folder) as place:
        for name, text in files.items():
            path = place / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and path.name != NOTE
    }


def test_an_earlier_output_is_replaced_and_the_users_files_stay(tmp_path):
    out = tmp_path / "new" / "out"
    write(out, a="1", b="2", sub__c="3")
    assert contents(out) == {"a": "1", "b": "2", "sub/c": "3"}
    (out / "notes.txt").write_text("mine")
    write(out, a="4", sub__d="5")
    assert contents(out) == {"a": "4", "sub/d": "5", "notes.txt": "mine"}
    assert {path.name for path in out.iterdir()} == {"a", "sub", "notes.txt", NOTE}


def test_what_others_made_or_changed_is_never_replaced(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "a").write_text("mine")
    for use in (check_output, write):
        with pytest.raises(UserError, match="own is not empty and was not written by this command"):
            use(own)
    assert contents(own) == {"a": "mine"}
    out = tmp_path / "out"
    write(out, a="1", b="2")
    (out / "b").write_text("changed")
    with pytest.raises(UserError, match=r"out/b was changed after it was written"):
        check_output(out)
    write(tmp_path / "taken", a="1")
    (tmp_path / "taken" / "b").write_text("mine")
    with pytest.raises(UserError, match=r"taken/b was not written by this command"):
        write(tmp_path / "taken", a="2", b="3")
    assert contents(tmp_path / "taken") == {"a": "1", "b": "mine"}
    with pytest.raises(UserError, match="is not a folder"):
        check_output(own / "a")


def test_an_error_on_the_way_leaves_everything_as_it_was(tmp_path):
    def fail(folder: Path) -> None:
        with output_folder(folder) as place:
            (place / "a").write_text("half")
            raise UserError("no")

    with pytest.raises(UserError, match="no"):
        fail(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    write(tmp_path / "out", a="1")
    with pytest.raises(UserError, match="no"):
        fail(tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": "1"}


def test_what_a_killed_command_left_stands_in_nobodys_way(tmp_path):
    left = tmp_path / ".tmp-000000000000-1-1-abc"
    left.mkdir()
    (left / "a").write_text("half")
    os.utime(left, (0, 0))
    write(tmp_path, a="1")
    assert contents(tmp_path) == {"a": "1"}


def test_a_file_is_written_once_or_the_same(tmp_path):
    path = tmp_path / "sub" / "page.html"
    write_new(path, "one\n")
    write_new(path, "one\n")
    with pytest.raises(UserError, match=r"page\.html is there already; remove it, or choose another folder"):
        write_new(path, "two\n")
    assert path.read_text() == "one\n"


SCORES = "video,label,score,role\n" + "".join(
    f"{role}{number}.mp4,{number % 2},{0.1 * number},{role}\n" for role in ("validation", "test") for number in range(8)
)


def test_a_report_replaces_neither_the_scores_nor_a_run(tmp_path, no_pictures):
    """The table that is evaluated used to be overwritten with other columns."""
    own, run = tmp_path / "mine", tmp_path / "runs" / "quickstart"
    for folder in (own, run):
        folder.mkdir(parents=True)
    (own / "scores.csv").write_text(SCORES)
    (run / "config.json").write_text("{}")
    (run / "results.json").write_text("{}")
    for out in (own, run):
        before = contents(out)
        with pytest.raises(UserError, match="is not empty and was not written by this command"):
            evaluate_scores(own / "scores.csv", out)
        assert contents(out) == before
    evaluate_scores(own / "scores.csv", tmp_path / "report")
    before = contents(tmp_path / "report")
    assert {"report.md", "report.html", "results.json", "scores.csv"} < set(before)
    evaluate_scores(own / "scores.csv", tmp_path / "report")
    assert contents(tmp_path / "report") == before
    (tmp_path / "report" / "scores.csv").write_text(SCORES)
    with pytest.raises(UserError, match=r"report/scores\.csv was changed"):
        evaluate_scores(tmp_path / "report" / "scores.csv", tmp_path / "report")
    assert (tmp_path / "report" / "scores.csv").read_text() == SCORES
