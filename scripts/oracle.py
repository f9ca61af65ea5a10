"""`fas-jax oracle`, run from a checkout."""

from fas_jax.commands.oracle import command

if __name__ == "__main__":
    command()
