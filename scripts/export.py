"""`fas-jax export`, run from a checkout."""

from fas_jax.commands.export import command

if __name__ == "__main__":
    command()
