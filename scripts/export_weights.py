"""`fas-jax export-weights`, run from a checkout."""

from fas_jax.commands.export_weights import command

if __name__ == "__main__":
    command()
