"""`fas-jax launch`, run from a checkout."""

from fas_jax.commands.launch import command

if __name__ == "__main__":
    command()
