"""Settings of the training of a network on frames. Imports no JAX."""

from dataclasses import dataclass
from typing import Literal

from fas_jax.base.declarations import how, rounding, what


@dataclass(frozen=True)
class NetworkTraining:
    """Optimiser, schedule, averaging, precision, and when the training ends."""

    steps: int = what(300, at_least=1)
    """Steps after which training ends in any case."""
    optimiser: Literal["adamw", "adam", "sgd"] = what("adamw")
    """AdamW, Adam, or gradient descent with momentum 0.9."""
    learning_rate: float = what(1e-4, above=0)
    """After the warm-up."""
    backbone_rate: float = what(1.0, at_least=0)
    """Factor of the learning rate for the backbone; 0 keeps its weights as they are."""
    head_rate: float = what(1.0, above=0)
    """Factor of the learning rate for what is added to the backbone."""
    layer_decay: float = what(1.0, later=True, above=0, at_most=1)
    """Factor by which the learning rate falls from one stage of the backbone to the one before it, so that early stages
    change less. The rate of the last stage is multiplied by it once. 1 gives all stages the same rate."""
    schedule: Literal["constant", "cosine", "step"] = what("cosine")
    """How the learning rate falls: not at all, along half a cosine to zero, or by a factor every so many steps."""
    warm_up: int = what(20, at_least=0)
    """Steps over which the learning rate rises from zero."""
    drop_every: int = what(100, at_least=1)
    """Steps between two falls of schedule `step`."""
    drop_at: tuple[int, ...] = what((), later=True, at_least=1)
    """Steps after which schedule `step` falls, if it is not to fall every `drop_every` steps."""
    drop_factor: float = what(0.1, above=0, at_most=1)
    """By which schedule `step` multiplies the rate."""
    weight_decay: float = what(1e-4, at_least=0)
    """Decoupled in AdamW, part of the gradient in Adam and gradient descent."""
    decay_all: bool = what(False, later=True)
    """Whether scales and biases decay, too, as they do in PyTorch's optimisers; otherwise kernels alone."""
    clip_norm: float = what(0.0, at_least=0)
    """Largest norm of a gradient, which is shortened to it; 0 leaves gradients as they are."""
    average: float = what(0.98, at_least=0, below=1)
    """Decay of the exponential average of weights and statistics, which is validated and kept; less at the beginning.
    0 keeps the weights of the last step."""
    momentum: float = what(0.1, above=0, at_most=1)
    """Share of a batch in the running statistics of normalisations."""
    precision: Literal["float32", "bfloat16"] = what("float32")
    """What the network multiplies in; weights, statistics and losses are float32 in any case."""
    accumulate: int = what(1, at_least=1)
    """Parts in which a batch is computed, one after the other, to save memory. Normalisations then see the statistics
    of a part, and losses that compare clips compare those of a part, so that the result is another one than that of
    the whole batch."""
    rematerialise: bool = rounding(False)
    """Computes the inside of blocks again in the backward pass: less memory, about a third more time."""
    validate_every: int = what(50, at_least=1)
    """Steps between two validations."""
    patience: int = what(300, at_least=1)
    """Steps without a better validation score after which training stops."""
    monitor: Literal["accuracy", "loss", "eer"] = what("loss")
    """Which validation score says what is better; a tie is not better. The equal error rate (eer) then stands in place
    of the loss in learning curves."""
    loaders: int = how(0, at_least=0)
    """Worker processes that read and change frames; 0 does it in threads."""
