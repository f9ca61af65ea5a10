"""`fas-jax reproduce`, run from a checkout."""

from fas_jax.commands.reproduce import command

if __name__ == "__main__":
    command()
