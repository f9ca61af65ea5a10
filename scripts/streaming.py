"""`fas-jax streaming`, run from a checkout."""

from fas_jax.commands.streaming import command

if __name__ == "__main__":
    command()
