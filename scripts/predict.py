"""`fas-jax predict`, run from a checkout."""

from fas_jax.commands.predict import command

if __name__ == "__main__":
    command()
