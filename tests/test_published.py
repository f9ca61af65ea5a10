"""A trained network's weights under published names: written from a bundle, and read back."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Features, Preparation
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.decision import Decision
from fas_jax.deployment.published import write_published
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.frame_settings import Made
from fas_jax.methods.frame_training import FrameDetector
from fas_jax.models import backbones
from tests.tiny_network import TINY


def test_a_trained_network_is_written_under_its_published_names_and_read_back(tmp_path):
    params, stats = TINY.init(4)
    detector = FrameDetector(Finetune(network="tiny"), {"backbone": params, "stats": stats, "head": {}}, Made())
    bundle = Bundle(
        about={},
        detectors={"net": detector},
        decisions={"net": Decision(0.5)},
        preparation=Preparation(),
        renditions={},
        features=Features(),
        backbone=backbones.get("efficientnet_lite0"),
        backbone_params={},
    )
    out = tmp_path / "own.safetensors"
    count = write_published(bundle, out)
    written = load_file(out)
    assert (len(written), written.keys()) == (count, TINY.export_weights(params, stats).keys())
    assert jax.tree.all(jax.tree.map(np.array_equal, TINY.import_weights(written), (params, stats)))
    with pytest.raises(UserError, match="unknown detector 'nut'; did you mean 'net'"):
        write_published(bundle, out, "nut")
    with pytest.raises(UserError, match="let the name end so"):
        write_published(bundle, tmp_path / "own.pth")
