"""`fas-jax compare`, run from a checkout."""

from fas_jax.commands.compare import command

if __name__ == "__main__":
    command()
