"""`fas-jax runs`, run from a checkout."""

from fas_jax.commands.runs import command

if __name__ == "__main__":
    command()
