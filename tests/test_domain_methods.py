"""SSDG and SA-FAS as methods: fitted on clips in memory, kept, and rebuilt without the clips."""

import dataclasses

import jax
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.evaluation import metrics
from fas_jax.methods.base import identity
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.frame_training import equal_error
from fas_jax.methods.safas import Safas
from fas_jax.methods.ssdg import Ssdg
from fas_jax.training.batches import codes_of
from fas_jax.training.taking import Take
from tests.test_finetune import TASK, clips, fit
from tests.test_frame_batches import PLAIN

SHORT = {
    "network": "tiny",
    "weights": "random",
    "steps": 30,
    "learning_rate": 3e-2,
    "per_class": 3,
    "validate_every": 10,
    "warm_up": 2,
    "average": 0.5,
}
METHODS = {"ssdg": Ssdg(width=16, **SHORT), "safas": Safas(align_from=10, **SHORT)}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_it_learns_and_is_rebuilt_without_the_clips(name):
    method = METHODS[name]
    detector = fit(method)
    given, rows = clips(), np.arange(32, 40)
    batch = given.read(rows, method.inputs())
    found = detector.score(batch).clip
    known = ~np.isnan(found)
    np.testing.assert_array_equal(found[known] >= 0.5, given.labels[rows][known] == 1)
    assert detector.about["domains"] == 2
    again = method.rebuild(detector.params, detector.about)
    np.testing.assert_array_equal(again.score(batch).clip, found)
    with pytest.raises(UserError, match=f"the parameters of a {name} do not have the shapes of its network"):
        method.rebuild(detector.params, {**detector.about, "domains": 3})


def test_domains_are_those_of_the_training_clips():
    """A target whose name lies between the sources' takes no number."""
    videos = clips().videos
    train = np.flatnonzero(np.asarray(videos.dataset) == "B")
    codes = codes_of(videos, train)["domains"]
    assert set(codes[train]) == {0}
    assert set(np.delete(codes, train)) == {-1}


def test_views_of_a_frame_are_changed_each_by_itself():
    from fas_jax.training.batches import FrameBatches
    from fas_jax.training.drawing import make_sampler

    given = clips(empty=())
    sampler = make_sampler("class", 3, TASK.train, given.videos, 0, "net")
    frames, codes = given.frames("whole"), codes_of(given.videos, TASK.train)
    augmentation = dataclasses.replace(PLAIN, noise=1.0)
    plain, one, two = (
        FrameBatches(frames, sampler, each, 0, codes, views=views)(4)["frames"]
        for each, views in ((PLAIN, 2), (augmentation, 1), (augmentation, 2))
    )
    assert (one.shape, two.shape) == ((6, 32, 32, 3), (6, 2, 32, 32, 3))
    np.testing.assert_array_equal(plain[:, 0], plain[:, 1])
    np.testing.assert_array_equal(two[:, 0], one)
    assert (two[:, 0] != two[:, 1]).any((1, 2, 3)).all()
    first = FrameBatches(frames, sampler, PLAIN, 0, codes, Take.parse("frame:0", "net"))
    for step in range(4):
        wanted = frames[sampler.draw(step)][:, 0]
        np.testing.assert_array_equal(first(step)["frames"], wanted)


@pytest.mark.parametrize("seed", range(5))
def test_the_monitored_eer_is_that_of_evaluations(seed):
    rng = np.random.default_rng(seed)
    scores, labels = np.round(rng.random(30), 1 + seed % 2), rng.integers(0, 2, 30)
    rates = metrics.rates(scores, labels, metrics.eer_threshold(scores, labels))
    # Where several thresholds have the least difference, either may take another one of them.
    gap = abs(rates.far - rates.frr)
    assert abs(equal_error(scores, labels) - rates.hter) <= max(gap, 1e-9)
    assert np.isnan(equal_error(np.append(scores, np.nan), np.append(labels, 0)))


def test_settings_that_joined_later_are_in_no_key_of_finetune():
    known = identity(Finetune())
    assert not {"drop_at", "decay_all", "take"} & known.keys()
    assert not {"crop_by", "turn_first"} & known["augment"].keys()
    assert identity(Finetune(drop_at=(5,)))["drop_at"] == [5]


def test_defaults_have_the_publications_losses_and_finetunes_optimiser():
    ssdg, safas = Ssdg().objective(), Safas().objective()
    assert (ssdg.triplet, ssdg.margin, ssdg.adversarial, ssdg.dropout, ssdg.width) == (1.0, 0.1, 0.5, 0.5, 512)
    assert (safas.contrast, safas.temperature, safas.keep, safas.views) == (0.1, 0.1, 0.995, 2)
    assert ssdg.steps == Ssdg().steps
    for method in (Ssdg(), Safas()):
        assert (method.network, method.weights, method.optimiser) == ("efficientnet_lite0", "package", "adamw")
        assert jax.tree.leaves(method.objective().head(0))
