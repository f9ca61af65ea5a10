"""Files are whole or absent, and hashes mean what they say."""

import math
import os
import resource
import signal
import stat

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path, fingerprint, inside, read_json, write_json, write_text
from fas_jax.base.parameters import load_tree, save_tree


def test_an_error_on_the_way_leaves_the_old_file(tmp_path):
    target = tmp_path / "sub" / "file.txt"
    write_text(target, "old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_files_are_as_readable_as_others(tmp_path):
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_a_place_that_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / "file" / "below", "x")


def test_json_refuses_nan_and_tells_broken_files(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": math.nan})
    assert not (tmp_path / "x.json").exists()
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"x\.json is not readable JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "none.json")


def test_fingerprint_does_not_depend_on_order_but_on_content():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_no_path_leads_out_of_its_root(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to("/etc")
    assert inside(tmp_path / "root", "a/../b") == (tmp_path / "root" / "b").resolve()
    for path in ("../x", "/etc/passwd", "link/passwd", "a/../../x"):
        with pytest.raises(UserError, match="leads out of"):
            inside(tmp_path / "root", path)


def test_trees_of_arrays_come_back_and_damage_is_told(tmp_path):
    import numpy as np

    path = tmp_path / "tree.safetensors"
    turned = np.arange(6).reshape(2, 3).T
    save_tree(path, {"a": {"b": turned}, "c": np.float32([np.nan]), "number": np.float64(0.5)}, {"what": "test"})
    tree, about = load_tree(path)
    np.testing.assert_array_equal(tree["a"]["b"], turned)
    assert tree["number"].shape == ()
    assert tree["number"] == 0.5
    assert about == {"what": "test"}
    whole = path.read_bytes()
    for _ in range(5):
        save_tree(path, tree, about)
        assert path.read_bytes() == whole
    path.write_bytes(whole[:20])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_tree(path)
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"is damaged|not a readable"):
            load_tree(path)


def test_names_that_are_not_utf8_are_written_and_read_back(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    write_json(tmp_path / "x.json", {"name": name, "é": 1})
    assert read_json(tmp_path / "x.json") == {"name": name, "é": 1}
    assert len({fingerprint(each) for each in (name, "caf\\udce9.mp4", "caf\\\\udce9.mp4", "café.mp4")}) == 4


def test_a_full_disk_below_a_tree_is_told_and_the_old_file_stays(tmp_path):
    """A limit on the size of files stands for the full disk: both fail in write()."""
    import numpy as np

    path = tmp_path / "tree.safetensors"
    save_tree(path, {"a": np.zeros(3)}, {})
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*tree\.safetensors: .*File too large"):
            save_tree(path, {"a": np.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handled)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]
