"""A step that does not fit: the error names a batch that does, and nothing is changed in silence."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.training import out_of_memory
from fas_jax.training.networks import train_network
from fas_jax.training.objectives import Objective
from tests.network_trial import SETTINGS, batch_of
from tests.tiny_network import TINY


@dataclass(frozen=True)
class Greedy(Objective):
    """One weight; each frame of a batch takes so many bytes."""

    bytes_of_frame: int = 0

    def head(self, seed):
        return {}

    def log_odds(self, params, stats, frames):
        pytest.fail("scored")

    def loss(self, params, stats, batch, key, step, axis):
        count = len(batch["labels"])
        side = int((self.bytes_of_frame * count / 4) ** 0.5)
        # Of a value that is not known before, and sorted, or the compiler would not make it.
        table = jnp.sort(jnp.full((side, side), params["backbone"]["w"]) + jnp.arange(float(side))[:, None], axis=0)
        value = params["backbone"]["w"] * jnp.mean(batch["frames"].astype(jnp.float32))
        return value + 0 * jax.lax.stop_gradient(table[-1, 0]), stats


def trained(bytes_of_frame, settings=SETTINGS, validate=None):
    params = {"backbone": {"w": np.ones((), np.float32)}}
    validate = validate or (lambda *_: pytest.fail("validated"))
    return train_network(
        Greedy(TINY, bytes_of_frame=bytes_of_frame),
        params,
        {},
        batch_of,
        validate,
        settings,
        Execution(),
        0,
        title="net",
    )


def no_memory(*_):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")


def test_what_really_does_not_fit_is_told_with_what_helps():
    # More than any machine has.
    with pytest.raises(UserError, match=r"net: a step does not fit .*a batch of 8 frames of 32x32 pixels") as caught:
        trained(1 << 46)
    assert "No accumulate makes it fit" in str(caught.value)
    for other in ("rematerialise = true", "bfloat16", "a smaller per_class"):
        assert other in str(caught.value)


def test_the_number_of_parts_is_the_least_that_fits(monkeypatch):
    # By the compiler's own count, in a memory that holds the tables of two frames and not those of four.
    monkeypatch.setattr(out_of_memory, "_capacity", lambda: 3 << 24)
    monkeypatch.setattr("fas_jax.training.networks._Clock.note", no_memory)
    with pytest.raises(
        UserError, match=r"accumulate = 4 \(2 frames at a time on each device\) takes 0.0 of the 0.0 GiB"
    ):
        trained(1 << 24, dataclasses.replace(SETTINGS, rematerialise=True))


def test_without_the_compilers_count_the_next_divisor_is_proposed(monkeypatch):
    monkeypatch.setattr(out_of_memory, "_bytes", lambda _: 0)
    monkeypatch.setattr("fas_jax.training.networks._Clock.note", no_memory)
    settings = dataclasses.replace(SETTINGS, accumulate=2, rematerialise=True)
    with pytest.raises(UserError, match=r"in 2 parts.*accumulate = 4 \(2 frames at a time.*may fit") as caught:
        trained(1 << 10, settings)
    assert "batch statistics are then those of 2 frames" in str(caught.value)
    assert "rematerialise" not in str(caught.value)


@pytest.mark.slow
def test_a_validation_that_does_not_fit_names_its_own_setting():
    with pytest.raises(UserError, match="lower score_frames"):
        trained(1 << 10, dataclasses.replace(SETTINGS, steps=1), no_memory)


@pytest.mark.parametrize(
    "said",
    ["RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes", "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"],
)
def test_every_platforms_words_are_known(said):
    with pytest.raises(UserError, match="take less"), out_of_memory.told(lambda: "take less"):
        raise jax.errors.JaxRuntimeError(said)


def test_other_errors_of_a_device_stay_what_they_are():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), out_of_memory.told(lambda: "memory"):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")
