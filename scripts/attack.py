"""`fas-jax attack`, run from a checkout."""

from fas_jax.commands.attack import command

if __name__ == "__main__":
    command()
