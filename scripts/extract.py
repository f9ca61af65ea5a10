"""`fas-jax extract`, run from a checkout."""

from fas_jax.commands.extract import command

if __name__ == "__main__":
    command()
