"""Face presentation-attack detection on JAX."""

__version__ = "0.1.0"
