"""The TFDS builder of this layout; its name, `oulu_npu`, comes from this file's."""

from fas_jax.datasets.builder import LayoutBuilder
from fas_jax.datasets.oulu_npu import LAYOUT


class Builder(LayoutBuilder):
    """OULU-NPU, read from the user's own copy."""

    LAYOUT = LAYOUT
