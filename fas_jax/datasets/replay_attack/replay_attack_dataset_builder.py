"""The TFDS builder of this layout; its name, `replay_attack`, comes from this file's."""

from fas_jax.datasets.builder import LayoutBuilder
from fas_jax.datasets.replay_attack import LAYOUT


class Builder(LayoutBuilder):
    """Idiap Replay-Attack, read from the user's own copy."""

    LAYOUT = LAYOUT
