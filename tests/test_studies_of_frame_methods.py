"""Search, audit and frames curve with networks that are trained on frames."""

import dataclasses
import json
import tomllib

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Evaluation, Search
from fas_jax.commands import audit_leakage
from fas_jax.commands import frames_curve as frames_curve_command
from fas_jax.datasets.frames import PickedFrames
from fas_jax.evaluation import metrics
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.experiment import planning, stages
from fas_jax.experiment.configuration import experiment_from_dict
from fas_jax.methods.base import Job
from fas_jax.methods.end2end import End2End
from fas_jax.methods.finetune import Finetune, FinetuneSearch
from fas_jax.methods.inputs import Input
from fas_jax.methods.recurrent import Gru
from fas_jax.protocols.assignment import Assignment
from fas_jax.protocols.presets import make_protocol
from fas_jax.studies import frames_curve, one_method
from fas_jax.studies.audit import controls, frames
from fas_jax.studies.search import crossvalidation, space
from fas_jax.studies.search.space import Setting
from tests import stores
from tests.commands import DATA
from tests.framed_corpus import FramedCorpus
from tests.synthetic_stores import make_stores
from tests.test_finetune import METHOD

ITEM = Input("frames", "whole")
NET = dataclasses.replace(METHOD, search=FinetuneSearch(learning_rate=(1e-8, 1e-2)))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    corpus = FramedCorpus.of({"whole": make_stores(tmp_path_factory.mktemp("stores"), strength=1.5)})
    found = corpus.open()
    return found.with_features("whole", *found.loaded("whole"))


def assign(clips):
    """M left out; the sources' first three subjects of each dataset validate."""
    datasets = np.array([video.dataset[-1] for video in clips.videos])
    first = np.array([int(video.subject[1:]) < 3 for video in clips.videos])
    sources = datasets != "M"
    parts = (np.flatnonzero(sources & ~first), np.flatnonzero(sources & first), np.flatnonzero(datasets == "M"))
    return Assignment(make_protocol("strict", "OCI", "M"), *parts)


def test_a_search_draws_fits_and_ranks_settings_by_folds_they_have_not_seen(tmp_path, monkeypatch):
    own = stores.experiment(
        methods={"net": NET}, evaluation=Evaluation(targets=("M",)), search=Search(trials=2, folds=2)
    )
    drawn = space.draw_all(own)
    for setting in drawn:
        assert setting.values.keys() == {"learning_rate", "weight_decay"}
        assert 1e-8 <= setting.values["learning_rate"] <= 1e-2
    assert len({setting.values["learning_rate"] for setting in drawn}) == 2
    # One that learns nothing, and one that does.
    idle, good = (
        Setting("net", {"learning_rate": rate, "weight_decay": 1e-4}) for rate in (1e-8, METHOD.learning_rate)
    )
    monkeypatch.setattr(space, "draw", lambda experiment, names, number: (idle, good)[number])
    together = []
    really = Finetune.fit.__func__

    def noted(cls, jobs, clips, desk):
        together.append({job.method.learning_rate for job in jobs})
        return really(cls, jobs, clips, desk)

    monkeypatch.setattr(Finetune, "fit", classmethod(noted))
    corpus = FramedCorpus.of({"whole": stores.make_stores(tmp_path / "stores")})
    plans = planning.plan(own, corpus.videos)
    found = crossvalidation.search_protocol(own, plans, corpus, tmp_path)
    # The detectors of one setting alone are in memory.
    assert [len(rates) for rates in together] == [1, 1]
    assert [outcome.setting for outcome in found.outcomes] == [good, idle]
    assert np.mean(found.outcomes[0].figures.hter) < 0.2 < np.mean(found.outcomes[1].figures.hter)
    assert not any(found.outcomes[0].figures.failed)
    # The first fold by hand.
    opened = corpus.open(planning.source_videos(plans))
    task = next(task for own in planning.tasks_of(plans, opened, 2) for task in own[1:])
    (detector,) = really(Finetune, [Job(good.apply(NET), task)], opened, one_method.Desk("net", own.training))
    scores = [detector.score(opened.read(rows, [ITEM])).clip for rows in (task.validation, task.held)]
    tau = metrics.eer_threshold(scores[0], opened.labels[task.validation])
    assert found.outcomes[0].figures.hter[0] == metrics.rates(scores[1], opened.labels[task.held], tau).hter
    # Searched again, nothing is fitted.
    again = crossvalidation.search_protocol(own, plans, corpus, tmp_path)
    assert len(together) == 2
    assert [outcome.setting for outcome in again.outcomes] == [good, idle]


def test_what_is_picked_is_picked_of_frames_and_features_alike(clips):
    features, mask = clips.features("whole")
    stored = clips.frames("whole")
    for changed in (
        controls.shuffle_frames(clips, "whole", 0),
        controls.middle_frame(clips, "whole"),
        frames_curve.keep_evenly(clips, "whole", 2),
    ):
        picked, own = changed.frames("whole"), changed.features("whole")
        assert isinstance(picked, PickedFrames)
        assert np.array_equal(picked.mask, own[1])
        assert np.array_equal(changed.mask(ITEM), own[1])
        every = changed.read(np.arange(len(clips)), [ITEM]).data[ITEM]
        for row in range(len(clips)):
            for number in range(int(own[1][row].sum())):
                (place,) = np.flatnonzero((features[row][mask[row]] == own[0][row, number]).all(1))
                assert np.array_equal(picked.frame(row, number), stored.frame(row, int(place)))
                assert np.array_equal(every[row, number], picked.frame(row, number))
            assert not every[row, int(own[1][row].sum()) :].any()


def test_noise_has_the_real_lengths_and_nothing_of_the_frames(clips):
    noise = controls.noise_of_real_lengths(clips, "whole", 0).frames("whole")
    assert np.array_equal(noise.mask, clips.features("whole")[1])
    assert noise.frame(3, 1).shape == clips.frames("whole").frame(3, 1).shape
    assert np.array_equal(noise.frame(3, 1), noise.some(3, [0, 1])[1])
    assert not np.array_equal(noise.frame(3, 1), noise.frame(4, 1))
    left = np.array([noise.frame(row, 0)[:, :16].mean() for row in range(len(clips))])
    assert abs(metrics.auc(left, clips.labels) - 0.5) < 0.2
    masked = clips.with_frames("whole", frames.WithoutMiddle.of).frames("whole")
    assert np.array_equal(masked.frame(2, 1), frames.mask_middle(clips.frames("whole").frame(2, 1)[None])[0])


def test_controls_of_a_network_and_what_is_left_out(clips):
    skipped = controls.left_out(NET, features=False)
    assert set(skipped) == {controls.SHUFFLED, "mean-feature"}
    assert skipped[controls.SHUFFLED] == (
        "frames shuffled: left out, because a finetune scores each frame by itself and takes their mean, which has no "
        "order."
    )
    assert not controls.left_out(Gru(), features=True)
    moving = End2End(network="tiny", weights="random", differences="frames")
    assert set(controls.left_out(moving, features=True)) == {controls.ONE_FRAME}
    assert not controls.left_out(End2End(network="tiny", weights="random"), features=True)
    assignment = assign(clips)
    background = clips.with_frames("whole", frames.WithoutMiddle.of)
    results = evaluate(controls.run_controls(clips, "whole", assignment, [0], NET, background, skipped))
    reached = {each.model: each.mean["auc"] for each in results.summaries}
    assert reached.keys() == {
        controls.METHOD, controls.ONE_FRAME, controls.NOISE, controls.BACKGROUND, "colour", "metadata"
    }  # fmt: skip
    # What sets the classes apart lies outside of the middle, too.
    for name in (controls.METHOD, controls.ONE_FRAME, controls.BACKGROUND):
        assert reached[name] > 0.9, name
    assert abs(reached[controls.NOISE] - 0.5) < 0.3


def test_the_curve_of_a_network_counts_its_frames_and_its_own_time(clips):
    net = dataclasses.replace(NET, steps=10, validate_every=5)
    methods = {"net": net, "mean-feature": one_method.baselines("whole")["mean-feature"]}
    results = evaluate(frames_curve.curve(clips, "whole", assign(clips), (1, 3), [0], {"net": net}))
    table, _ = frames_curve.report(results, (1, 3), {"net": 0.01})
    assert [row[:2] for row in table.grid.rows] == [["net", "1"], ["net", "3"]]
    assert [row[-1] for row in table.grid.rows] == ["10.0", "30.0"]
    # By hand: what the network says of clips of three frames, trained on such.
    own = frames_curve.keep_evenly(clips, "whole", 3)
    scores = one_method.fit_and_score(net, own, assign(clips), 0, "net, 3")
    test = assign(clips).test
    (three,) = [each for each in results.summaries if each.model == "net, 3"]
    assert three.mean["auc"] == pytest.approx(metrics.auc(scores.clip[test], clips.labels[test]))
    spent = frames_curve.seconds_of({"net": methods["net"]}, clips, stores.experiment().features, 32, 4)
    assert 0 < spent["net"] < 1


def test_what_cannot_be_studied_is_refused_before_work(clips):
    moving = End2End(network="tiny", weights="random", differences="features")
    frames_curve.check_counts(moving, (2, 3))
    frames_curve.check_counts(NET, (1, 3))
    with pytest.raises(
        UserError, match=r"this end2end reads what changes between frames .* give --counts of 2 and more"
    ):
        frames_curve.check_counts(moving, (1, 3))
    one_method.check_reads(NET, clips, features=False)
    with pytest.raises(UserError, match=r"gru reads features, and the stores were made with features.backbone none"):
        one_method.check_reads(Gru(), clips, features=False)
    with pytest.raises(
        UserError, match="finetune reads frames: give the folders of the prepared datasets by --prepared"
    ):
        one_method.check_reads(NET, dataclasses.replace(clips, opened_frames=None), features=True)
    bursts = clips.with_frames("whole", lambda stored: dataclasses.replace(stored, burst=2))
    with pytest.raises(UserError, match="finetune would read bursts of 2 frames"):
        one_method.check_reads(NET, bursts, features=True)


def test_a_kind_without_settings_is_quick_or_has_its_defaults():
    assert one_method.quick("gru") == one_method.QUICK
    assert one_method.quick("finetune") == ()
    method = one_method.method_of("finetune", ("network=tiny", "weights=random"), "face")
    assert method == Finetune(network="tiny", weights="random", rendition="face")
    with pytest.raises(UserError, match='finetune: a finetune reads single frames; set take to "random"'):
        one_method.method_of("finetune", ("network=tiny", "weights=random", "take=burst"), "face")


SETTINGS = ("network=tiny", "weights=random", "steps=2", "validate_every=1", "warm_up=0", "per_class=2")


@pytest.mark.slow
def test_the_commands_take_frames_from_prepared_datasets(tiny_cache, tmp_path):
    own = experiment_from_dict(tomllib.loads(DATA + '[methods.mean-feature]\nkind = "mean-feature"\n'), "test")
    opened = stages.train(dataclasses.replace(own, cache=str(tiny_cache), runs=str(tmp_path)))
    made = tuple(store.path for store in opened.corpus.stores["whole"])
    prepared = tuple(reversed(opened.corpus.prepared))
    common = {"stores": made, "kind": "finetune", "settings": SETTINGS, "seeds": 1}
    with pytest.raises(UserError, match="finetune reads frames: give the folders"):
        frames_curve_command.main(**common, out=tmp_path / "curve", counts=(1, 2))
    with pytest.raises(UserError, match=r"--prepared names no dataset .* give the folder of synth-"):
        frames_curve_command.main(**common, prepared=prepared[1:], out=tmp_path / "curve", counts=(1, 2))
    frames_curve_command.main(**common, prepared=prepared, out=tmp_path / "curve", counts=(1, 2), batch_size=4)
    rows = json.loads((tmp_path / "curve" / "frames.json").read_text())["rows"]
    assert [row[:2] for row in rows] == [[name, count] for name in ("finetune", "mean-feature") for count in "12"]
    assert all(float(row[-1]) > 0 for row in rows)
    audit_leakage.main(**common, prepared=prepared, background=True, published=False, out=tmp_path / "audit")
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    (table,) = [each for each in found["tables"] if each["title"] == "Controls"]
    assert {row[0] for row in table["rows"]} == {
        controls.METHOD, controls.ONE_FRAME, controls.NOISE, controls.BACKGROUND, "mean-feature", "colour", "metadata"
    }  # fmt: skip
    assert any(line.startswith("frames shuffled: left out, because a finetune") for line in found["statements"])
    (tiny_cache / "targets.jsonl").unlink()
