"""`fas-jax evaluate`, run from a checkout."""

from fas_jax.commands.evaluate import command

if __name__ == "__main__":
    command()
