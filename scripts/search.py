"""`fas-jax search`, run from a checkout."""

from fas_jax.commands.search import command

if __name__ == "__main__":
    command()
