"""What the step tests train on, here and in PyTorch: objectives, settings, batches and dropout masks, from seeds."""

from collections.abc import Sequence

import jax
import numpy as np

from fas_jax.training.classification import Classification
from fas_jax.training.domain_heads import DomainHeads
from fas_jax.training.network_settings import NetworkTraining
from fas_jax.training.objectives import Objective
from fas_jax.training.single_side import SingleSide
from tests.tiny_network import TINY

# At another seed (4) a rectifier or triplet turns on or off within rounding, and the steps part.
STEPS, DOMAINS, SEED = 50, 3, 5
PLAIN = {"steps": STEPS, "warm_up": 0, "schedule": "step", "average": 0.0, "weight_decay": 5e-4, "decay_all": True}
OBJECTIVES: dict[str, Objective] = {
    "finetune": Classification(TINY),
    "ssdg": SingleSide(TINY, width=16, triplet=2.0, adversarial=0.1, steps=STEPS, domains=DOMAINS),
    "safas": DomainHeads(TINY, align_from=20, domains=DOMAINS),
}
# Learning rates above the releases': fifty steps are to move the parameters.
SETTINGS = {
    "finetune": NetworkTraining(optimiser="adam", learning_rate=1e-3, drop_at=(40,), **PLAIN),
    "ssdg": NetworkTraining(optimiser="sgd", learning_rate=1e-2, drop_at=(30,), **PLAIN),
    "safas": NetworkTraining(optimiser="sgd", learning_rate=5e-3, drop_every=20, drop_factor=0.5, **PLAIN),
}


def rate(name: str, step: int) -> float:
    """The learning rate of a step, as the releases' schedulers say it."""
    if name == "safas":
        return 5e-3 * 0.5 ** (step // 20)
    first, drop = (1e-3, 40) if name == "finetune" else (1e-2, 30)
    return first if step < drop else first / 10


def flat(tree: object) -> dict[str, np.ndarray]:
    """Arrays of nested dictionaries by their path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(each.key for each in path): np.asarray(leaf) for path, leaf in leaves}


def start(name: str) -> tuple[dict, dict]:
    """Parameters and statistics to begin with."""
    objective = OBJECTIVES[name]
    params, stats = TINY.init(SEED)
    return {"backbone": params, "head": objective.head(SEED)}, stats


def batch(name: str, step: int) -> dict[str, np.ndarray]:
    """Two bona fide and two attack clips of each domain; bona fide ones are lighter on the left, domains differ."""
    rng = np.random.default_rng([7, step])
    labels = np.tile([1, 0], 2 * DOMAINS).astype(np.int32)
    domains = np.repeat(np.arange(DOMAINS), 4).astype(np.int32)
    views = OBJECTIVES[name].views
    frames = rng.integers(0, 160, (len(labels), views, 32, 32, 3))
    frames[:, :, :, :16] += 60 * labels[:, None, None, None, None]
    frames[:, :, :16] += 12 * domains[:, None, None, None, None]
    if name == "safas" and step % 3 == 0:  # a step without a domain
        domains = np.where(domains == 1, 2, domains)
    frames = frames.astype(np.uint8)
    slots = np.arange(len(labels), dtype=np.int32)
    return {"frames": frames if views > 1 else frames[:, 0], "labels": labels, "domains": domains, "slots": slots}


def masks(name: str, step: int) -> Sequence[np.ndarray]:
    """What dropout keeps of bottleneck and discriminator in a step, [b w] each."""
    if name != "ssdg":
        return ()
    key = jax.random.fold_in(jax.random.key(SEED), step)

    def kept(key: jax.Array) -> np.ndarray:
        slots = range(4 * DOMAINS)
        return np.stack([np.asarray(jax.random.bernoulli(jax.random.fold_in(key, slot), 0.5, (16,))) for slot in slots])

    return [kept(each) for each in jax.random.split(key)]
