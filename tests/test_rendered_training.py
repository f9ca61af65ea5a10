"""Rendered domains in training: who they are, that they only train, in which share, and that every page says so."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.rendered_settings import Rendered
from fas_jax.base.settings import Evaluation
from fas_jax.base.video_table import VideoTable
from fas_jax.deployment.card import card
from fas_jax.experiment import planning, rendered
from fas_jax.experiment.configuration import Experiment, experiment_from_dict, experiment_to_dict
from fas_jax.methods.finetune import Finetune
from fas_jax.synthetic.variety import RANGES, RATIOS, SPECIES, draw_variety, variety_conditions, variety_videos
from fas_jax.training.drawing import make_sampler
from tests.commands import DATA, done
from tests.populations import population
from tests.test_drawing import table
from tests.test_reporting import provenance, write
from tests.test_reporting import table as scored

WIDE = Rendered(domains=5, validation_domains=2, test_domains=2, subjects=3, videos_per_subject=4)
EXPERIMENT = Experiment(rendered={"wide": WIDE})
REAL = population(M=(5, 5, 5), C=(5, 5, 5), O=(5, 5, 5))


def listed() -> list:
    (listing,) = rendered.rendered_listings(EXPERIMENT)
    return list(listing.videos)


def planned(videos, **evaluation):
    own = dataclasses.replace(EXPERIMENT, evaluation=dataclasses.replace(Evaluation(), **evaluation))
    return planning.plan(own, VideoTable.of(videos))


def names(videos, rows):
    return {(videos[row].dataset, videos[row].path) for row in np.asarray(rows).tolist()}


def test_domains_differ_in_everything_and_have_both_classes_and_all_species():
    values = [draw_variety("wide", 0, number) for number in range(40)]
    for name, (low, high) in {**RANGES, **RATIOS}.items():
        own = np.array([each[name] for each in values])
        assert (own >= low).all()
        assert (own <= high).all()
        assert len(set(own)) == 40
        assert (own < (low + high) / 2).any()
        assert (own > np.sqrt(max(low, 1e-9) * high)).any()
    assert draw_variety("wide", 0, 7) == values[7] != draw_variety("wide", 1, 7) != draw_variety("other", 0, 7)
    videos = variety_videos("wide", dataclasses.replace(WIDE, subjects=8))
    for number in range(9):
        own = [each for each in videos if each.device == f"{number:02d}"]
        assert sum(each.bona_fide for each in own) == len(own) / 2
        assert {each.fine for each in own} == {"bonafide", *SPECIES}
    cameras = {variety_conditions("wide", WIDE, each).camera for each in videos}
    assert len(cameras) == 9
    # A video of a domain depends on no other domain or subject.
    fewer = variety_videos("wide", dataclasses.replace(WIDE, domains=9, validation_domains=0, test_domains=0))
    assert {each.path for each in fewer} < {each.path for each in videos}


def test_parts_share_no_domain_and_domains_no_subject():
    videos = listed()
    assert {each.dataset for each in videos} == {"synth-wide"}
    domains = {split: {each.device for each in videos if each.split == split} for split in ("train", "dev", "test")}
    assert [len(each) for each in domains.values()] == [5, 2, 2]
    assert len(set.union(*domains.values())) == 9
    assert len({each.subject for each in videos}) == 9 * 3
    assert all(len({each.device for each in videos if each.subject == one}) == 1 for one in {videos[0].subject})


@pytest.mark.parametrize(
    "asked", [{"targets": ("M", "C")}, {"targets": ("O",), "preset": "dle2023"}, {"protocols": ("intra-M",)}]
)
@pytest.mark.parametrize("first", [True, False])
def test_beside_other_data_they_only_train(asked, first):
    own = listed()
    videos = [*own, *REAL] if first else [*REAL, *own]
    with_rendered, without = planned(videos, **asked), planned(REAL, **asked)
    assert len(with_rendered) == len(without)
    for one, other in zip(with_rendered, without, strict=True):
        assert one.name == other.name
        for part in ("train", "validation", "test"):
            found = names(videos, getattr(one.assignment, part))
            assert found == names(REAL, getattr(other.assignment, part))
        assert names(videos, one.rendered) == {(each.dataset, each.path) for each in own if each.split == "train"}
        assert not len(other.rendered)
    for _, inner in planning.cross_source_plans(with_rendered, VideoTable.of(videos)):
        assert inner.protocol.target != "synth-wide"
        assert names(videos, inner.rendered) == names(videos, with_rendered[0].rendered)
    assert set(planning.source_videos(with_rendered)) >= set(with_rendered[0].rendered)


def test_alone_or_asked_for_by_name_they_are_a_dataset_like_any_other():
    own = listed()
    (alone,) = planned(own, protocols=("intra-wide",))
    for part, split in (("train", "train"), ("validation", "dev"), ("test", "test")):
        rows = getattr(alone.assignment, part)
        assert {own[row].path for row in rows} == {each.path for each in own if each.split == split}
    assert not len(alone.rendered)
    videos = [*REAL, *own]
    (to_real,) = planned(videos, protocols=("synth-wide_to_M",))
    for part in ("train", "validation"):
        assert {videos[row].dataset for row in getattr(to_real.assignment, part)} == {"synth-wide"}
    assert {videos[row].dataset for row in to_real.assignment.test} == {"M"}
    assert not len(to_real.rendered)


def test_settings_without_rendered_domains_keep_their_keys_and_are_read_back():
    assert "rendered" not in key(Experiment())
    assert "rendered" not in experiment_to_dict(Experiment())
    assert experiment_from_dict(experiment_to_dict(EXPERIMENT), "here") == EXPERIMENT
    assert key(EXPERIMENT)["rendered"]["wide"]["domains"] == 5


VIDEOS = table(("A", 1, 9), ("A", 0, 17), ("synth-wide", 1, 13), ("synth-wide", 0, 11))
OWN, JOINED = np.arange(26), np.arange(26, 50)


def sampler(balanced, count, share, seed=0, joined=JOINED):
    return make_sampler(balanced, count, OWN, VIDEOS, seed, "net", rendered=joined, rendered_share=share)


@given(
    count=st.integers(1, 8),
    share=st.floats(0, 1),
    step=st.integers(0, 100),
    balanced=st.sampled_from(["class", "none"]),
)
def test_every_step_has_its_share_of_rendered_clips(count, share, step, balanced):
    rows = sampler(balanced, count, share).draw(step)
    method = Finetune(balanced=balanced, per_class=count, rendered_share=share)
    drawn = np.isin(rows, JOINED)
    assert drawn.mean() == pytest.approx(method.rendered_part(1, 1), abs=1e-12)
    assert abs(drawn.mean() - share) <= 0.5 / count + 1e-9
    if balanced == "class":
        for label in (0, 1):
            of_class = VIDEOS.label[rows] == label
            assert of_class.sum() == count
            assert drawn[of_class].sum() == round(share * count)


def test_clips_of_both_kinds_are_seen_equally_often_and_equal_parts_of_a_batch_are_alike():
    own = sampler("class", 4, 0.5)
    seen = np.bincount(np.concatenate([own.draw(step) for step in range(300)]), minlength=len(VIDEOS))
    for pool in own.pools:
        for rows in (pool.rows, pool.rendered):
            assert np.ptp(seen[rows]) <= 1
            assert seen[rows].sum() == 600
    for part in np.split(own.draw(5), 2):
        assert np.isin(part, JOINED).sum() == 2
        assert VIDEOS.label[part].sum() == 2


def test_without_rendered_clips_batches_are_what_they_were():
    for balanced in ("class", "none", "domain"):
        plain = make_sampler(balanced, 3, OWN, VIDEOS, 4, "net")
        for step in (0, 7):
            np.testing.assert_array_equal(
                sampler(balanced, 3, 0.5, 4, np.zeros(0, np.int32)).draw(step), plain.draw(step)
            )


def test_balanced_datasets_count_a_table_as_one_more():
    rows = sampler("domain", 3, 0.9).draw(2)
    found = np.asarray(VIDEOS.dataset[rows])
    assert (found == "synth-wide").sum() == (found == "A").sum() == 6
    assert Finetune(balanced="domain").rendered_part(3, 1) == 0.25


def test_too_few_rendered_clips_are_named():
    with pytest.raises(UserError, match="there is no attack clip"):
        sampler("class", 4, 0.5, joined=JOINED[VIDEOS.label[JOINED] == 1])


def test_every_page_and_table_says_whose_training_had_rendered_videos(tmp_path, no_pictures):
    datasets = [*provenance()["datasets"], {"dataset": "synth-wide", "synthetic": True, "complete": True}]
    joined = {"clips": {"synth-wide": 48}, "share": {"zeta": 0.5, "gru": 0.0}}
    about = provenance(preset="strict", rendered=joined) | {"datasets": datasets}
    main, full = write(tmp_path / "run", scored("", protocols=("OCI_to_M",)), about)
    page = (tmp_path / "run" / "report.html").read_text()
    for text in (main, full, page):
        assert "zeta (50% rendered)" in text
        assert "Rendered videos (synth-wide: 48 videos) were in the training of zeta (50% of its clips)." in text
        assert "exercises the pipeline" not in text
    header, *rows = [line.split(",") for line in (tmp_path / "run" / "results.csv").read_text().splitlines()]
    assert header[-1] == "rendered_share"
    assert {(row[1], row[-1]) for row in rows} >= {("zeta", "0.5"), ("gru", "0.0")}


def test_a_card_says_what_a_bundle_has_seen():
    row = {"method": {"kind": "finetune"}, "inputs": [["frames", "face"]], "threshold": 0.5}
    inputs = {"features": {"backbone": "none", "weights": "none"}, "renditions": {}}
    about = {
        "sources": ["O"], "protocol": "OCI_to_M", "seed": 0, "detectors": {"net": row}, "inputs": inputs,
        "lineage": {"run": "mine"},
    }  # fmt: skip
    assert "rendered videos" not in card(about)
    beside = card(about | {"rendered": {"clips": {"synth-wide": 48}, "share": {"net": 0.5}}})
    assert "used in training alone: synth-wide (48)" in beside
    assert "| net | finetune | frames of face | 0.5 | 50% |" in beside
    alone = card(about | {"sources": ["synth-wide"]})
    assert "no real attack" in alone
    assert "| 100% |" in alone


JOINED_RUN = """
[rendered.wide]
domains = 2
subjects = 2
frames = 2
[methods.net]
kind = "finetune"
network = "resnet18"
weights = "random"
steps = 2
validate_every = 2
warm_up = 0
per_class = 2
[methods.colour]
kind = "colour"
"""


@pytest.mark.slow
def test_a_run_trains_on_them_and_says_so(tiny_cache, tmp_path):
    (tmp_path / "tiny.toml").write_text(DATA.replace('["M", "I"]', '["M"]') + JOINED_RUN)
    done("run", "--config", "tiny.toml", "--cache", tiny_cache, cwd=tmp_path)
    run = tmp_path / "runs" / "tiny"
    assert "synth-wide" not in (run / "scores.csv").read_text()
    report = (run / "report.md").read_text()
    assert "net (50% rendered)" in report
    assert "colour (" not in report
    assert "were in the training of net (50% of its clips)" in report
    assert "| net | finetune |" in (run / "bundles" / "OCI_to_M" / "CARD.md").read_text()
