"""The TFDS builder of this layout; its name, `msu_mfsd`, comes from this file's."""

from fas_jax.datasets.builder import LayoutBuilder
from fas_jax.datasets.msu_mfsd import LAYOUT


class Builder(LayoutBuilder):
    """MSU-MFSD, read from the user's own copy."""

    LAYOUT = LAYOUT
