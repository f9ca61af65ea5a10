"""`fas-jax synthesize`, run from a checkout."""

from fas_jax.commands.synthesize import command

if __name__ == "__main__":
    command()
