"""Rendered stand-ins for the four datasets: they exercise the pipeline and say nothing about real attacks."""

from fas_jax.synthetic.rendering import MARKER, VERSION, render_dataset

__all__ = ["MARKER", "VERSION", "render_dataset"]
