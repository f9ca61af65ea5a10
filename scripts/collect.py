"""`fas-jax collect`, run from a checkout."""

from fas_jax.commands.collect import command

if __name__ == "__main__":
    command()
