"""The names that `import fas_jax` offers, on top of the same functions as the commands."""
