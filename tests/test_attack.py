"""Adversarial frames and their detection: bounds, losses, entropy by its definition, and the table by hand."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.commands import attack as command
from fas_jax.reporting.extra_figures import read_extra_figures
from fas_jax.reporting.extra_tables import read_extra_tables
from fas_jax.studies.attack.bench import Clip, Measured, measure, rightly_decided
from fas_jax.studies.attack.clips import thinned
from fas_jax.studies.attack.entropy import spatial_entropy
from fas_jax.studies.attack.page import grid_of, join_report, write_page
from fas_jax.studies.attack.perturbing import KINDS, Attacker
from tests.made_up import METHODS
from tests.test_attribution import chain_for, clip

STRENGTH = 4


@pytest.fixture(scope="module")
def attacker() -> Attacker:
    """Against a network whose scores are below the threshold."""
    chain = chain_for(METHODS["finetune"])
    first = Attacker.of(chain, guided=True)
    highest = max(first.logit(clip(2, seed=seed)) for seed in range(3))
    return Attacker.of(dataclasses.replace(chain, threshold=highest + 0.1), guided=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("towards", [1, -1])
def test_frames_stay_within_the_strength_and_are_whole_grey_levels(attacker, kind, towards) -> None:
    frames = clip(2)
    frames[0, :4], frames[0, 4:8] = 0, 255
    found = attacker.perturbed(kind, frames, STRENGTH, towards)
    assert found.dtype == np.uint8
    change = np.abs(found.astype(int) - frames)
    assert 0 < change.max() <= STRENGTH
    assert attacker.perturbed(kind, frames, 0, towards) is frames
    if kind != "adaptive":
        assert towards * attacker.logit(found) > towards * attacker.logit(frames)


def test_pgd_gets_further_than_fgsm_and_more_strength_gets_further(attacker) -> None:
    clips = [clip(2, seed=seed) for seed in range(3)]
    start = np.array([attacker.logit(each) for each in clips])
    gained = {
        (kind, strength): np.array([attacker.logit(attacker.perturbed(kind, each, strength, 1)) for each in clips])
        - start
        for kind in ("fgsm", "pgd")
        for strength in (1, STRENGTH)
    }
    for strength in (1, STRENGTH):
        assert gained["pgd", strength].mean() >= gained["fgsm", strength].mean() > 0
    assert gained["pgd", STRENGTH].mean() > gained["pgd", 1].mean()


def test_the_attack_that_knows_the_defence_keeps_the_entropy_lower(attacker) -> None:
    for seed in range(2):
        plain, knowing = (attacker.perturbed(kind, clip(2, seed=seed), STRENGTH, 1) for kind in ("pgd", "adaptive"))
        if all(attacker.logit(each) >= attacker.chain.threshold for each in (plain, knowing)):
            assert attacker.entropy(knowing) < attacker.entropy(plain)
            return
    pytest.fail("no attack was accepted")


def by_definition(response: np.ndarray) -> float:
    found = []
    for frame in response:
        for top in range(frame.shape[0] - 2):
            for left in range(frame.shape[1] - 2):
                square = frame[top : top + 3, left : left + 3].ravel().astype(float)
                shares = square / square.sum() if square.sum() else square
                found.append(-sum(share * np.log2(share) for share in shares if share > 0))
    return float(np.mean(found))


def test_entropy_is_its_definition() -> None:
    rng, entropy = np.random.default_rng(0), jax.jit(spatial_entropy)
    response = rng.exponential(size=(2, 9, 7)).astype(np.float32) ** 3
    response[0, :4, :4] = 0
    whole = jnp.ones(2, bool)
    assert float(entropy(jnp.asarray(response), whole)) == pytest.approx(by_definition(response), abs=1e-4)
    assert float(entropy(jnp.asarray(1e-7 * response), whole)) == pytest.approx(by_definition(response), abs=1e-3)
    one = entropy(jnp.asarray(response), jnp.array([True, False]))
    assert float(one) == pytest.approx(by_definition(response[:1]), abs=1e-4)
    assert float(entropy(jnp.ones((1, 5, 5)), whole[:1])) == pytest.approx(np.log2(9), abs=1e-5)
    assert float(entropy(jnp.zeros((1, 5, 5)), whole[:1])) == 0
    slope = jax.jit(jax.grad(spatial_entropy))(jnp.asarray(response), whole)
    assert bool(jnp.isfinite(slope).all())


def test_entropy_without_rectifiers_is_that_of_the_gradient() -> None:
    chain, frames = chain_for(METHODS["finetune"]), clip(2)
    plain = Attacker.of(chain, guided=False)
    own, mask = jnp.asarray(frames, jnp.float32), jnp.ones((1, 2), bool)
    slope = jax.jit(jax.grad(lambda x: chain.logits(chain.weights, x[None], mask)[0]))(own)
    assert plain.entropy(frames) == pytest.approx(by_definition(np.abs(np.asarray(slope)).sum(-1)), abs=1e-3)
    assert plain.entropy(frames) != pytest.approx(Attacker.of(chain, guided=True).entropy(frames), abs=1e-3)


def measured(won: list[int], entropies: list[float], **changes) -> Measured:
    clean = np.linspace(1, 2, 20)
    found = Measured("pgd", 2, False, np.array(won, bool), np.array(entropies), clean)
    return dataclasses.replace(found, **changes)


def test_figures_by_hand() -> None:
    found = measured([1, 1, 0, 1], [1.5, 2.5, 3.0, 2.0])
    # The highest of 20 clean clips is the 95th percentile that no more than 5 % lie above.
    assert found.limit == 2.0
    assert (found.success, found.unnoticed) == (0.75, 0.5)
    # 1.5 lies above 10 of 20 clean clips, 2.0 above 19 and beside one, the others above all.
    assert found.auc == pytest.approx((10 + 19.5 + 20 + 20) / 80)
    false, true = found.roc()
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(found.auc)


def test_a_strength_of_zero_changes_no_decision_and_no_entropy(attacker) -> None:
    clips = [Clip(str(seed), False, clip(2, seed=seed)) for seed in range(2)]
    (found,) = measure(attacker, clips, [0], ["pgd"])
    assert found.success == found.unnoticed == 0
    np.testing.assert_array_equal(found.entropies, found.clean)
    assert found.auc == 0.5


def test_only_clips_that_are_decided_rightly_are_attacked(attacker) -> None:
    above = dataclasses.replace(attacker, chain=dataclasses.replace(attacker.chain, threshold=-np.inf))
    clips = [Clip(str(seed), bool(seed % 2), clip(2, seed=seed)) for seed in range(6)]
    with pytest.raises(UserError, match="accepts no bona fide clip as it is"):
        rightly_decided(attacker, clips, 4)
    with pytest.raises(UserError, match="rejects no attack as it is"):
        rightly_decided(above, clips, 4)
    values = sorted(attacker.logit(each.frames) for each in clips)
    middle = dataclasses.replace(attacker, chain=dataclasses.replace(attacker.chain, threshold=np.mean(values[2:4])))
    turned = [each._replace(bona_fide=middle.logit(each.frames) >= middle.chain.threshold) for each in clips]
    assert {each.name for each in rightly_decided(middle, turned, 6)} == set("012345")
    wrong = turned[0]._replace(bona_fide=not turned[0].bona_fide)
    found = rightly_decided(middle, [wrong, *turned[1:]], 6)
    assert {each.name for each in found} == set("12345")
    assert [each.bona_fide for each in found] == sorted(each.bona_fide for each in found)
    assert len(rightly_decided(middle, turned, 2)) == 2


def test_clips_can_be_thinned_evenly(attacker) -> None:
    clips = [Clip("long", True, clip(6)), Clip("short", False, clip(1))]
    long, short = thinned(clips, attacker.chain, 2)
    np.testing.assert_array_equal(long.frames, clip(6)[[1, 4]])
    assert short is clips[1]
    assert [each is own for each, own in zip(thinned(clips, attacker.chain, 0), clips, strict=True)] == [True, True]
    bursts = dataclasses.replace(attacker.chain, settings=Rendition(burst=3))
    with pytest.raises(UserError, match="reads bursts, of which no frame can be left out"):
        next(thinned(clips, bursts, 2))


def test_table_and_figure_join_the_report_or_a_folder(tmp_path: Path) -> None:
    every = [
        measured([1, 0], [1.0, 3.0], kind=kind, strength=strength, bona_fide=bona_fide)
        for bona_fide in (False, True)
        for kind in KINDS
        for strength in (1, 2)
    ]
    grid = grid_of(every)
    assert len(grid.rows) == 12
    assert grid.rows[1] == ["attacks", "FGSM", "2", "2", "50", "50", "51", "1.500", "2.000"]
    path = join_report(tmp_path / "run", "gru", "OCI_to_M", every, guided=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    (table,), (figure,) = read_extra_tables(tmp_path / "run"), read_extra_figures(tmp_path / "run")
    assert table.grid.rows == grid.rows
    assert "guided back-propagation" in table.text
    assert figure.title == table.title == "Adversarial frames against gru, OCI_to_M"
    text = write_page(tmp_path / "out", "gru", every, False, ["Rendered videos."])
    assert "the gradient, because the network has no rectifiers" in text
    assert {each.name for each in (tmp_path / "out").iterdir()} >= {"attack.md", "attack.csv", "attack.png"}


@pytest.mark.usefixtures("capsys")
def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"strengths": (1, 300)}, r"from 0 to 255, not \[300\]"),
        ({"clips": 1}, "at least 2"),
        ({"kinds": ("pdg",)}, "did you mean 'pgd'"),
        ({"kinds": ()}, "name at least one attack"),
        ({"videos": tmp_path}, "is a run, whose own test videos are attacked"),
    ):
        with pytest.raises(UserError, match=message):
            command.main(tmp_path, **options)
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(UserError, match="is a bundle, which has no videos of its own"):
        command.main(tmp_path, videos=tmp_path)
