"""`fas-jax demo`, run from a checkout."""

from fas_jax.commands.demo import command

if __name__ == "__main__":
    command()
