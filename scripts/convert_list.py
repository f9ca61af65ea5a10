"""`fas-jax convert-list`, run from a checkout."""

from fas_jax.commands.convert_list import command

if __name__ == "__main__":
    command()
