"""`fas-jax robustness`, run from a checkout."""

from fas_jax.commands.robustness import command

if __name__ == "__main__":
    command()
