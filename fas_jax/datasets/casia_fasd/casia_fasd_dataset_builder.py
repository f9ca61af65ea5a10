"""The TFDS builder of this layout; its name, `casia_fasd`, comes from this file's."""

from fas_jax.datasets.builder import LayoutBuilder
from fas_jax.datasets.casia_fasd import LAYOUT


class Builder(LayoutBuilder):
    """CASIA-FASD, read from the user's own copy."""

    LAYOUT = LAYOUT
