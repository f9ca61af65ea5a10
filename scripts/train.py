"""`fas-jax train`, run from a checkout."""

from fas_jax.commands.train import command

if __name__ == "__main__":
    command()
