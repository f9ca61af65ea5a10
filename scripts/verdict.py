"""`fas-jax verdict`, run from a checkout."""

from fas_jax.commands.verdict import command

if __name__ == "__main__":
    command()
