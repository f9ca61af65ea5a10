"""The recurrent cells against PyTorch's, and what padding and batch mates must not do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.models.architecture import bona_fide_probability, padded
from fas_jax.models.recurrent import RecurrentClassifier
from tests import make_golden_recurrent as golden

LENGTHS = np.array(golden.LENGTHS)
MASK = np.arange(LENGTHS.max()) < LENGTHS[:, None]


def from_torch(kind: str, weights: dict[str, np.ndarray]) -> dict:
    """PyTorch's weights as this project's parameters; its two biases are one, but for the GRU's candidate."""

    def direction(suffix: str) -> dict:
        w, u, b, c = (weights[f"{name}_l0{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        cell = {"input_weights": w, "recurrent_weights": u}
        if kind != "gru":
            return cell | {"bias": b + c}
        candidate = slice(2 * golden.HIDDEN, None)
        joint = b + c
        joint[candidate] = b[candidate]
        return cell | {"bias": joint, "candidate_bias": c[candidate]}

    if kind != "bilstm":
        return direction("")
    forward, backward = direction(""), direction("_reverse")
    joined = {name: np.concatenate([forward[name], backward[name]]) for name in ("input_weights", "bias")}
    return joined | {
        "forward_weights": forward["recurrent_weights"], "backward_weights": backward["recurrent_weights"]
    }  # fmt: skip


def states(kind: str) -> np.ndarray:
    """Hidden states of this project's cell, read through an output layer that is the identity on two units."""
    weights, inputs = golden.draw(kind)
    architecture = RecurrentClassifier(kind, golden.FEATURES, golden.HIDDEN, "he")
    width = golden.HIDDEN * (2 if kind == "bilstm" else 1)
    pairs = []
    for first in range(0, width, 2):
        kernel = np.zeros((width, 2), np.float32)
        for column in range(min(2, width - first)):
            kernel[first + column, column] = 1
        params = {"cell": from_torch(kind, weights), "output_kernel": kernel, "output_bias": np.zeros(2, np.float32)}
        pairs.append(jax.jit(architecture.apply)(params, padded(inputs, MASK)))
    return np.concatenate(pairs, axis=-1)[..., :width] * MASK[..., None]


@pytest.mark.parametrize("kind", golden.KINDS)
def test_equals_golden_outputs_of_pytorch(kind):
    expected = np.load(golden.GOLDEN)[kind]
    assert np.abs(states(kind) - expected).max() / np.abs(expected).max() < 1e-5


@pytest.mark.peer
@pytest.mark.parametrize("kind", golden.KINDS)
def test_equals_pytorch_live(kind):
    pytest.importorskip("torch")
    expected = golden.outputs_of_torch(kind)
    assert np.abs(states(kind) - expected).max() / np.abs(expected).max() < 1e-5


@functools.cache
def small_model(kind: str):
    """A compiled function to P(bona fide), so that hypothesis' examples share the compilation."""
    architecture = RecurrentClassifier(kind, 3, 4, "he")
    params = architecture.init(jax.random.key(1))
    return jax.jit(lambda inputs, mask: bona_fide_probability(architecture.apply(params, padded(inputs, mask))))


@pytest.mark.parametrize("kind", golden.KINDS)
@given(data=st.data())
def test_padding_and_batch_mates_do_not_change_scores(kind, data):
    """Garbage behind a clip's end, longer padding, another order and other batch mates: the same scores."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    lengths = np.array(data.draw(st.lists(st.integers(1, 5), min_size=4, max_size=4)))
    apply = small_model(kind)
    inputs = rng.normal(size=(4, 5, 3)).astype(np.float32)
    mask = np.arange(5) < lengths[:, None]
    alone = np.asarray(apply(inputs, mask))

    order = rng.permutation(4)
    longer = rng.normal(scale=100, size=(4, 8, 3)).astype(np.float32)
    longer[:, :5][mask] = inputs[mask]
    longer_mask = np.arange(8) < lengths[:, None]
    again = np.asarray(apply(longer[order], longer_mask[order]))[np.argsort(order)]
    np.testing.assert_allclose(again[:, :5][mask], alone[mask], atol=1e-6)

    mates = longer.copy()
    mates[1:] = rng.normal(size=mates[1:].shape)
    np.testing.assert_allclose(np.asarray(apply(mates, longer_mask))[0, :5][mask[0]], alone[0][mask[0]], atol=1e-6)


def test_initialisation_is_the_papers():
    """Glorot inputs, forget bias 1, He or orthogonal recurrent weights (method.md; MATLAB's layer defaults)."""
    lstm = RecurrentClassifier("lstm", 300, 200, "orthogonal").init(jax.random.key(0))
    cell = lstm["cell"]
    limit = np.sqrt(6 / (300 + 800))
    assert 0.98 * limit < np.abs(cell["input_weights"]).max() <= limit
    np.testing.assert_array_equal(cell["bias"][200:400], 1)
    assert not np.asarray(cell["bias"])[:200].any()
    assert not np.asarray(cell["bias"])[400:].any()
    gram = np.asarray(cell["recurrent_weights"].T @ cell["recurrent_weights"])
    np.testing.assert_allclose(gram, np.eye(200), atol=1e-5)
    gru = RecurrentClassifier("gru", 300, 200, "he").init(jax.random.key(0))
    assert np.std(gru["cell"]["recurrent_weights"]) == pytest.approx(np.sqrt(2 / 200), rel=0.02)
    assert np.std(gru["output_kernel"]) == pytest.approx(np.sqrt(2 / 200), rel=0.1)


def test_gradients_of_padded_frames_are_zero():
    architecture = RecurrentClassifier("bilstm", 3, 4, "he")
    params = architecture.init(jax.random.key(1))
    inputs = jnp.ones((2, 4, 3))
    mask = jnp.array([[True, True, False, False], [True, True, True, True]])

    def loss(inputs):
        return jnp.sum(jnp.where(mask, bona_fide_probability(architecture.apply(params, padded(inputs, mask))), 0))

    gradient = np.asarray(jax.grad(loss)(inputs))
    assert not gradient[0, 2:].any()
    assert gradient[0, :2].all()
