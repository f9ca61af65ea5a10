"""Rendered stand-ins for the four datasets, and random domains.

They exercise the pipeline and prove mechanisms, and say nothing about real attacks.
"""

from fas_jax.synthetic.rendering import MARKER, VERSION, Workers, render_dataset, render_domain, render_variety

__all__ = ["MARKER", "VERSION", "Workers", "render_dataset", "render_domain", "render_variety"]
