"""`fas-jax gate-table`, run from a checkout."""

from fas_jax.commands.gate_table import command

if __name__ == "__main__":
    command()
