"""`fas-jax quality-table`, run from a checkout."""

from fas_jax.commands.quality_table import command

if __name__ == "__main__":
    command()
