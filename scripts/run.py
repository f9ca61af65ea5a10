"""`fas-jax run`, run from a checkout."""

from fas_jax.commands.run import command

if __name__ == "__main__":
    command()
