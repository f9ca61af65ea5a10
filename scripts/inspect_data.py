"""`fas-jax inspect-data`, run from a checkout."""

from fas_jax.commands.inspect_data import command

if __name__ == "__main__":
    command()
