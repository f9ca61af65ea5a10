"""`fas-jax prepare`, run from a checkout."""

from fas_jax.commands.prepare import command

if __name__ == "__main__":
    command()
