"""`fas-jax unlabelled`, run from a checkout."""

from fas_jax.commands.unlabelled import command

if __name__ == "__main__":
    command()
