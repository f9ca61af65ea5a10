"""The score table: exact round trips, and no faulty table."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.evaluation.scores import COLUMNS, ScoreTable


def videos(count, dataset="M"):
    return [
        Video(
            f"v{i}.mov",
            dataset,
            f"s{i // 2}",
            "test",
            i % 2,
            ("print", "bonafide")[i % 2],
            "photo",
            "phone",
            "",
        )
        for i in range(count)
    ]


def table(scores, **changed):
    arguments = {"protocol": "OCI_to_M", "seed": 0, "role": "test", "model": "gru"} | changed
    return ScoreTable.from_videos(videos=videos(len(scores)), scores=np.array(scores, float), **arguments)


def assert_equal(found, wanted):
    for name in COLUMNS:
        assert type(getattr(found, name)) is type(getattr(wanted, name))
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from(',"\n\r;\udc80'),
    min_size=1,
)


@given(
    st.lists(
        st.tuples(names, st.floats(allow_nan=False, allow_infinity=False), st.booleans()),
        unique_by=lambda row: row[0],
        max_size=8,
        min_size=1,
    )
)
def test_csv_round_trip_is_exact(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "scores.csv"
    listed = [dataclasses.replace(v, path=name) for v, (name, _, _) in zip(videos(len(rows)), rows, strict=True)]
    scores = np.array([score if answered else np.nan for _, score, answered in rows])
    reasons = ["" if answered else 'no, "frame"\nleft' for _, _, answered in rows]
    written = ScoreTable.from_videos("OCI_to_M", 3, "validation", "lstm", listed, scores, reasons)
    written.write_csv(path)
    read = ScoreTable.read_csv(path)
    assert_equal(read, written)
    assert read.score.tobytes() == written.score.tobytes()
    read.write_csv(path.with_name("again.csv"))
    assert path.with_name("again.csv").read_bytes() == path.read_bytes()


def test_logits_are_written_beside_scores_and_read_back(tmp_path):
    scores, logits = np.array([1.0, 0.25, np.nan, 0.0, 0.5]), np.array([41.5, np.log(1 / 3), np.nan, -np.inf, np.nan])
    reasons = ["", "", "no frame", "", ""]
    written = table([0.5] * 5).scored_by("lstm", scores, reasons, logits)
    path = tmp_path / "scores.csv"
    written.write_csv(path)
    read = ScoreTable.read_csv(path)
    assert_equal(read, written)
    assert read.logit.tobytes() == written.logit.tobytes()
    assert_equal(ScoreTable.concatenate([read.rows(np.arange(2)), read.rows(np.arange(2, 5))]), written)


def test_a_table_without_logits_is_read_as_it_was_written(tmp_path):
    """Blanks included: before there were logits, all other columns made a file that is read to the letter."""
    path = tmp_path / "scores.csv"
    listed = [dataclasses.replace(each, path=f" {each.path} ") for each in videos(2)]
    ScoreTable.from_videos("OCI_to_M", 0, "test", "gru", listed, np.array([0.1, 0.9])).write_csv(path)
    old = path.read_text().replace(",logit", "").replace(",\n", "\n")
    path.write_text(old)
    found = ScoreTable.read_csv(path)
    assert found.video.tolist() == [" v0.mov ", " v1.mov "]
    assert np.isnan(found.logit).all()


@pytest.mark.parametrize(
    ("score", "logit", "message"), [("", "1.5", "a logit, but no score"), ("0.5", "much", "line 2: logit 'much'")]
)
def test_faulty_logits_are_refused(tmp_path, score, logit, message):
    path = tmp_path / "scores.csv"
    path.write_text(f"video,label,score,logit\na,1,{score},{logit}\n")
    with pytest.raises(UserError, match=message):
        ScoreTable.read_csv(path)


def test_concatenate_select_and_distinct():
    first, second = table([0.1, 0.9]), table([0.2, 0.8, 0.3], model="lstm", seed=1)
    both = ScoreTable.concatenate([first, second])
    assert len(both) == 5
    assert_equal(both.select(model="gru"), first)
    assert_equal(both.select(model="lstm", seed=1, role="test"), second)
    assert len(both.select(model="lstm", seed=0)) == 0
    assert both.distinct("model") == ["gru", "lstm"]
    assert both.distinct("seed") == [0, 1]
    assert len(ScoreTable.concatenate([])) == 0
    with pytest.raises(UserError, match=r"twice: protocol OCI_to_M, seed 0, role test, model gru, .* v0.mov"):
        ScoreTable.concatenate([first, table([0.4])])
    # The same video may be scored again in another role, seed, protocol or model.
    ScoreTable.concatenate([first, table([0.4], role="validation"), table([0.4], protocol="IM_to_C")])


def test_non_responses_need_a_reason():
    good = table([0.5, np.nan], reasons=["", "the file is empty"])
    np.testing.assert_array_equal(good.answered, [True, False])
    with pytest.raises(UserError, match=r"row 2 \(M v1.mov\): there is no score, and no reason"):
        table([0.5, np.nan])
    with pytest.raises(UserError, match=r"row 1 .*a reason why there is none"):
        table([0.5, 0.6], reasons=["", "x"][::-1])
    with pytest.raises(ValueError, match="2 videos, 2 scores and 1 reasons"):
        table([0.5, 0.6], reasons=[""])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("role", "train", "the role must be"),
        ("label", 2, "the label must be"),
        ("score", np.inf, "infinite"),
        ("pai", "bonafide", "an attack cannot be"),
        ("video", "", "no name"),
        ("protocol", None, "differ in length"),
    ],
)
def test_faulty_tables_are_errors(column, value, message):
    good = table([0.5, 0.6])
    changed = getattr(good, column).tolist()
    changed = changed[1:] if value is None else [value, *changed[1:]]
    with pytest.raises(UserError, match=message):
        dataclasses.replace(good, **{column: np.array(changed)})


def test_a_video_has_one_label():
    good = table([0.5, 0.6])
    other = dataclasses.replace(table([0.5, 0.6], model="lstm"), subject=np.array(["s9", "s0"]))
    with pytest.raises(UserError, match=r"v0.mov: label, subject or PAI species differ"):
        ScoreTable.concatenate([good, other])


def test_columns_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        table([0.5]).score[0] = 1


def test_tables_of_other_tools(tmp_path):
    path = tmp_path / "foreign.csv"
    path.write_text("is_bonafide,attack_type,score,video_key\r\nTrue,,0.75,a/1\r\nFalse,print,,a/2\r\n")
    read = ScoreTable.read_csv(path)
    assert read.label.tolist() == [1, 0]
    assert read.video.tolist() == ["a/1", "a/2"]
    assert read.pai.tolist() == ["", "print"]
    assert read.reason.tolist() == ["", "no score in foreign.csv"]
    assert read.score[0] == 0.75
    assert read.role.tolist() == ["test", "test"]


PLAIN = [["video", "label", "score", "role"], ["a/1", "0", "0.25", "validation"], ["a/2", "1", "1e-3", "test"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("separator", "comma", "blank"), [(",", ".", ""), (",", ".", " "), (";", ",", ""), (";", ".", " "), ("\t", ",", "")]
)
def test_tables_of_spreadsheets(tmp_path, encoding, separator, comma, blank):
    path = tmp_path / "sheet.csv"
    lines = [(separator + blank).join(cell.replace(".", comma) for cell in row) for row in PLAIN]
    path.write_bytes("\r\n".join(lines).encode(encoding))
    read = ScoreTable.read_csv(path)
    assert read.video.tolist() == ["a/1", "a/2"]
    assert read.label.tolist() == [0, 1]
    assert read.score.tolist() == [0.25, 1e-3]
    assert read.role.tolist() == ["validation", "test"]


CASES = Path(__file__).parents[2] / "shared" / "cases" / "scores"


@pytest.mark.skipif(not CASES.exists(), reason="the files that people had are elsewhere")
@pytest.mark.parametrize("name", ["float-label.csv", "space.csv", "semicolon-comma.csv"])
def test_tables_as_people_have_them(name):
    assert_equal(ScoreTable.read_csv(CASES / name), ScoreTable.read_csv(CASES / "plain.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "video,label,score,split\na,1,0.5,test\nb,1,0.5,dev\n",
            r"1 rows are of other splits than test \(line 3: dev\), and no column role",
        ),
        ("video,label,score,Roles\na,1,0.5,validation\n", "unknown column 'roles'; did you mean 'role'?"),
        (",video,label,score\n0,a,1,0.5\n", r"column 1 has no name.*index=False"),
        ("", "no column video, label, score"),
        ("video,label,score\n", "holds no scores"),
        ("video,label\na,1\n", "no column score"),
        ("video,label,score,video\na,1,1,b\n", "named twice"),
        (
            "video,label,score\na,1,0.5\nb,real,0.5\nc,1,x\nd,1\n",
            r"line 3: label 'real'.*line 4: score 'x'.*line 5: 2",
        ),
        ("video,label,score,seed\na,1,0.5,x\n", "line 2: seed 'x'"),
        ("video,label,score\na,1,0.5\na,1,0.6\n", r"bad.csv: scores: twice: .*video a"),
        ("video,label,score\na,1,inf\n", "infinite"),
        ('video,label,score\n"a,1,0.5\n', "not a readable CSV"),
    ],
)
def test_faulty_files_are_errors(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        ScoreTable.read_csv(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        ScoreTable.read_csv(tmp_path / "none.csv")
    with pytest.raises(UserError, match="not a readable CSV"):
        ScoreTable.read_csv(tmp_path)


def test_another_models_scores_share_what_describes_the_videos():
    listed, scores, reasons = videos(3), np.array([0.25, np.nan, 1.0]), ["", "no face", ""]
    first = ScoreTable.from_videos("OCI_to_M", 3, "test", "gru", listed, np.zeros(3))
    found = first.scored_by("lstm", scores, reasons)
    wanted = ScoreTable.from_videos("OCI_to_M", 3, "test", "lstm", listed, scores, reasons)
    assert_equal(found, wanted)
    assert np.shares_memory(found.video.codes, first.video.codes)
    with pytest.raises(UserError, match="no reason why"):
        first.scored_by("lstm", scores)


def test_attributes_are_kept_on_reading_and_writing(tmp_path):
    known = {"M": {"skin-type": {"v0.mov": "II", "v2.mov": ' VI, "dark"'}, "rig": {"v1.mov": "a"}}, "O": {"age": {}}}
    scores = table([0.1, 0.2, np.nan], reasons=["", "", "no"]).with_attributes(known)
    assert scores.attribute("skin-type").tolist() == ["II", "", ' VI, "dark"']
    assert scores.attribute("age").tolist() == ["", "", ""]
    scores.write_csv(tmp_path / "scores.csv")
    found = ScoreTable.read_csv(tmp_path / "scores.csv")
    assert_equal(found, scores)
    assert {name: column.tolist() for name, column in found.attributes.items()} == {
        name: column.tolist() for name, column in scores.attributes.items()
    }
    picked = found.rows(np.array([2, 0])).scored_by("other", np.array([0.5, 0.6]))
    assert picked.attribute("skin-type").tolist() == [' VI, "dark"', "II"]
    # A table without attributes, such as an old one, has empty ones beside another that has them.
    both = ScoreTable.concatenate([table([0.1, 0.2, 0.3], model="old"), found])
    assert both.attribute("rig").tolist() == ["", "", "", "", "a", ""]
    assert both.select(model="old").with_attributes({}).attributes == {}


def test_attributes_in_tables_of_other_tools(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("Video, Label ,score,ATTR.Skin\na,1,0.5, dark \nb,0,0.1,\n")
    assert ScoreTable.read_csv(path).attribute("Skin").tolist() == ["dark", ""]
    for column, message in (("attr.", "names no attribute"), ("attr.Skin,attr.Skin", "named twice")):
        path.write_text(f"video,label,score,{column}\na,1,0.5,x,y\n")
        with pytest.raises(UserError, match=message):
            ScoreTable.read_csv(path)
    path.write_text("video,label,score,model,attr.x\na,1,0.5,m,1\na,1,0.5,n,2\n")
    with pytest.raises(UserError, match="attribute x has several values for one video"):
        ScoreTable.read_csv(path)
