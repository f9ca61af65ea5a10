"""`fas-jax doctor`, run from a checkout."""

from fas_jax.commands.doctor import command

if __name__ == "__main__":
    command()
