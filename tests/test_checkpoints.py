"""Checkpoints that are damaged, unfinished or foreign are never taken for good ones."""

import numpy as np
import pytest
from orbax.checkpoint import v1 as orbax

from fas_jax.base.errors import UserError
from fas_jax.training.checkpoints import Checkpoints, describe_differences


def tree(value: float) -> dict:
    return {"params": {"w": np.full((3, 4), value, np.float32)}, "count": np.full(1, 7, np.int32)}


def test_newest_comes_back_whole_and_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"a": 1})
    assert checkpoints.restore(tree(0)) is None
    for step in (1, 2, 30):
        checkpoints.save(step, tree(step))
    step, found = Checkpoints(tmp_path, {"a": 1}).restore(tree(0))
    assert step == 30
    np.testing.assert_array_equal(found["params"]["w"], tree(30)["params"]["w"])
    assert found["count"].dtype == np.int32
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_every_flipped_bit_is_found(tmp_path):
    """Orbax loads such a step without a word; the step before is used, and that is said."""
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, tree(1))
    checkpoints.save(2, tree(2))
    rng = np.random.default_rng(0)
    files = [path for path in sorted((tmp_path / "00000002").rglob("*")) if path.is_file() and path.stat().st_size]
    assert len(files) > 3
    for file in files:
        whole = file.read_bytes()
        broken = bytearray(whole)
        broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        file.write_bytes(broken)
        if file.name == "sha256.json":
            # A broken list may not even be JSON; either way the step is not used.
            pass
        with pytest.warns(UserWarning, match="damaged or unfinished"):
            step, found = checkpoints.restore(tree(0))
        assert step == 1
        np.testing.assert_array_equal(found["params"]["w"], 1)
        file.write_bytes(whole)
    assert checkpoints.restore(tree(0))[0] == 2


def test_unfinished_step_is_passed_over_and_cleared(tmp_path):
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, tree(1))
    (tmp_path / "00000002").mkdir()
    (tmp_path / "00000002.orbax-checkpoint-tmp-1").mkdir()
    with pytest.warns(UserWarning, match="damaged or unfinished"):
        assert checkpoints.restore(tree(0))[0] == 1
    checkpoints.save(2, tree(2))
    assert checkpoints.restore(tree(0))[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["00000001", "00000002"]


def test_no_save_is_skipped(tmp_path, monkeypatch):
    """Each is on disk when the call returns, however quickly they follow each other."""
    checkpoints = Checkpoints(tmp_path, {})
    for step in range(1, 13):
        checkpoints.save(step, tree(step))
        found, values = Checkpoints(tmp_path, {}).restore(tree(0))
        assert found == step
        np.testing.assert_array_equal(values["params"]["w"], step)
    monkeypatch.setattr(orbax, "save", lambda *_: None)
    with pytest.raises(UserError, match="was not written"):
        checkpoints.save(13, tree(13))
    assert checkpoints.restore(tree(0))[0] == 12


def test_other_settings_are_refused_with_the_difference(tmp_path):
    Checkpoints(tmp_path, {"training": {"learning_rate": 0.1, "batch_size": 32}})
    with pytest.raises(UserError, match=r"training\.learning_rate: 0\.1 there, 0\.2 now"):
        Checkpoints(tmp_path, {"training": {"learning_rate": 0.2, "batch_size": 32}})


def test_differences_name_missing_keys():
    assert describe_differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {}}) == ["b.c: 2 there, None now"]


@pytest.mark.parametrize("other", [{"values": np.zeros(7)}, {"others": np.zeros(3)}], ids=["shape", "name"])
def test_a_step_of_other_arrays_is_told(tmp_path, other):
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, {"values": np.zeros(3)})
    with pytest.raises(UserError, match=r"00000001 holds other arrays.*remove"):
        checkpoints.restore(other)


def test_what_kills_left_is_cleared_and_two_whole_steps_stay(tmp_path):
    """Unfinished steps pile up nowhere, and never push a whole one out."""
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, tree(1))
    checkpoints.save(2, tree(2))
    for leftover in ("00000003", "00000004", "00000005.orbax-checkpoint-tmp"):
        (tmp_path / leftover).mkdir()
    again = Checkpoints(tmp_path, {})
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["00000001", "00000002"]
    assert again.restore(tree(0))[0] == 2


def test_a_damaged_step_goes_when_the_next_is_saved(tmp_path):
    Checkpoints(tmp_path, {}).save(1, tree(1))
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(9, tree(9))
    (tmp_path / "00000009" / "sha256.json").write_text("{}")
    with pytest.warns(UserWarning, match="damaged"):
        assert checkpoints.restore(tree(0))[0] == 1
    checkpoints.save(2, tree(2))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["00000001", "00000002"]
