"""`fas-jax null`, run from a checkout."""

from fas_jax.commands.null import command

if __name__ == "__main__":
    command()
