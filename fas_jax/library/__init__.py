"""The package from Python: what `fas_jax` exports at its top, over the same functions as the commands."""
