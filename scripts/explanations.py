"""`fas-jax explanations`, run from a checkout."""

from fas_jax.commands.explanations import command

if __name__ == "__main__":
    command()
