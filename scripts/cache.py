"""`fas-jax cache`, run from a checkout."""

from fas_jax.commands.cache import command

if __name__ == "__main__":
    command()
