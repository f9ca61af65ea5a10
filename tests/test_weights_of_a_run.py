"""The file of weights that a network on frames began with: named if it does not fit, and never changed unnoticed."""

import dataclasses
import hashlib

import pytest
from safetensors.numpy import save_file

from fas_jax.base.errors import UserError
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.methods.base import Failed
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.frame_weights import begin_with
from fas_jax.models import trainable
from tests.made_up import METHODS, make_detector
from tests.tiny_network import TINY


def write(path, seed):
    save_file(TINY.export_weights(*TINY.init(seed)), path)


def test_a_detector_of_another_file_under_the_same_path_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    write(path, 0)
    method = dataclasses.replace(METHODS["finetune"], weights=str(path))
    assert method.files() == {"weights": hashlib.sha256(path.read_bytes()).hexdigest()}

    def store(files):
        return DetectorStore(tmp_path, "net", method, {"whole": "data", "broken": "data"}, files)

    detector = make_detector(method)
    for plan, found in (("whole", detector), ("broken", Failed("it failed"))):
        store(method.files()).save(plan, found)
        assert store(method.files()).holds(plan)
    write(path, 1)
    for plan in ("whole", "broken"):
        for use in (DetectorStore.holds, DetectorStore.load):
            with pytest.raises(UserError, match=r"methods.net: a file is another one .* weights = .*Put the old file"):
                use(store(method.files()), plan)
        # Evaluation needs no file of weights.
        path.unlink()
        assert store(None).holds(plan)
        store(None).load(plan)
        write(path, 1)
    write(path, 0)
    assert store(method.files()).holds("whole")


def test_random_weights_are_of_no_file():
    assert Finetune(network="tiny", weights="random").files() == {}


def test_weights_of_another_network_are_named(tmp_path):
    write(tmp_path / "tiny.safetensors", 0)
    method = dataclasses.replace(METHODS["finetune"], weights=str(tmp_path / "tiny.safetensors"))
    with pytest.raises(UserError, match=r"do not fit resnet18.*these are weights of tiny: set network"):
        begin_with(trainable.get("resnet18"), method, 0)
