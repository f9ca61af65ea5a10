"""What cannot be trained or tested is refused from names and lists, before a video is rendered or opened."""

import dataclasses
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Data, Evaluation, Features, Synthesis
from fas_jax.datasets.layouts import LAYOUTS, scan
from fas_jax.experiment import stages as experiment
from fas_jax.experiment.configuration import Experiment
from fas_jax.methods.registry import method_from_dict
from fas_jax.synthetic.layouts import protocol_files
from fas_jax.synthetic.listing import planned_listing
from fas_jax.synthetic.plan import planned_videos
from fas_jax.synthetic.rendering import MARKER

SYNTHESIS = Synthesis(subjects=9, videos_per_subject=5)


@pytest.fixture(autouse=True)
def nothing_is_rendered_or_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("work has begun")

    for name in ("render_dataset", "prepare_listing"):
        monkeypatch.setattr(experiment, name, refuse)


def manifest(root: Path, rows: str) -> str:
    """Rows of subject, label and split; the files hold no video."""
    lines = ["video,label,subject,split"]
    for number, row in enumerate(rows.split()):
        subject, label, split = row.split(",")
        (root / f"{number}.mp4").write_bytes(bytes(number + 1))
        lines.append(f"{number}.mp4,{label},{subject},{split}")
    (root / "mine.csv").write_text("\n".join(lines))
    return str(root / "mine.csv")


GOOD = "a,attack,train a,bonafide,train b,attack,train b,bonafide,train c,attack,test c,bonafide,test"


def settings(root: Path, *protocols: str, rows: str = GOOD, synthesize: bool = False, **changes: object) -> Experiment:
    evaluation = Evaluation(protocols=protocols, **changes)  # type: ignore[arg-type]
    return Experiment(
        cache=str(root / "cache"),
        data=Data(manifests=(manifest(root, rows),), synthesize=synthesize),
        synthesis=SYNTHESIS,
        features=Features(weights="random"),
        evaluation=evaluation,
    )


def names(found: Experiment) -> list[str]:
    return [protocol.name for protocol in experiment.check(found)]


@pytest.mark.parametrize("change", [{"size": 32}, {"burst": 3}, {"size": 0}])
def test_renditions_that_train_side_by_side_have_frames_of_one_size(tmp_path: Path, change: dict[str, int]) -> None:
    net = method_from_dict("net", {"kind": "finetune", "weights": "random", "further_renditions": ["other"]}, "test")
    renditions = {"whole": Rendition(size=64), "other": Rendition(**{"size": 64, **change})}  # type: ignore[arg-type]
    found = dataclasses.replace(settings(tmp_path, "intra-mine"), methods={"net": net}, renditions=renditions)
    with pytest.raises(UserError, match=r"methods.net trains on renditions whole and other .* differ in size or burst"):
        experiment.check(found)


def test_one_dataset_by_itself_is_enough(tmp_path: Path) -> None:
    assert names(settings(tmp_path, "intra-mine")) == ["intra-mine"]
    assert names(settings(tmp_path, "kfold-mine-3")) == [f"kfold-mine-3_{fold}" for fold in (1, 2, 3)]
    assert names(settings(tmp_path, "deploy")) == ["deploy"]


@pytest.mark.parametrize(
    ("rows", "protocol", "message"),
    [
        (GOOD.replace("c,bonafide,test", ""), "intra-mine", "no bona fide video in test"),
        (GOOD.replace("b,bonafide,train", ""), "intra-mine", "cannot be cut"),
        (GOOD.replace("c,", "A,"), "intra-mine", "subject A of mine is in train .as a of mine. and in test"),
        (GOOD, "kfold-mine-4", "ask for fewer folds"),
        (GOOD, "loso-mine", "has only unknown"),
    ],
)
def test_datasets_that_do_not_suffice(tmp_path: Path, rows: str, protocol: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment.check(settings(tmp_path, protocol, rows=rows))


def test_the_same_content_on_both_sides(tmp_path: Path) -> None:
    found = settings(tmp_path, "intra-mine")
    (tmp_path / "5.mp4").write_bytes((tmp_path / "0.mp4").read_bytes())
    with pytest.raises(UserError, match=r"mine 0.mp4, in \w+, and mine 5.mp4, in test, are the same recording"):
        experiment.check(found)


def test_rendered_beside_real_where_asked_for(tmp_path: Path) -> None:
    """A real dataset beside rendered ones used to be refused only after all features had been extracted."""
    wanted = ("synth-O+synth-C_to_mine", "mine_to_synth-I")
    checked = experiment.check(settings(tmp_path, *wanted, synthesize=True))
    assert [protocol.rendered for protocol in checked] == [("synth-O", "synth-C"), ("synth-I",)]
    with pytest.raises(UserError, match=r"as in synth-O\+synth-C_to_mine"):
        experiment.check(settings(tmp_path, "O+C_to_mine", synthesize=True))
    with pytest.raises(UserError, match="beside real ones"):
        experiment.check(settings(tmp_path, synthesize=True))


def test_rendered_datasets_alone_are_named_as_ever(tmp_path: Path) -> None:
    found = Experiment(data=Data(synthesize=True), synthesis=SYNTHESIS, features=Features(weights="random"))
    assert names(found) == ["OCI_to_M", "OMI_to_C", "OCM_to_I", "ICM_to_O"]


def test_every_seed_is_checked_and_settings_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="validation_fraction"):
        experiment.check(settings(tmp_path, "intra-mine", validation_fraction=1.5))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_plan_lists_what_its_tree_will_hold(layout: str, tmp_path: Path) -> None:
    videos = planned_videos(layout, SYNTHESIS)
    for name, text in {**dict.fromkeys((video.path for video in videos), ""), **protocol_files(layout, videos)}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / MARKER).write_text(f'{{"dataset": "synth-{LAYOUTS[layout].letter}"}}')
    planned, found = planned_listing(LAYOUTS[layout], tmp_path, SYNTHESIS), scan(tmp_path)
    assert (planned.dataset, planned.videos, planned.root) == (found.dataset, found.videos, found.root)
    assert planned.synthetic
    assert len(planned.videos) == 45
