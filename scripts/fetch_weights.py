"""`fas-jax fetch-weights`, run from a checkout."""

from fas_jax.commands.fetch_weights import command

if __name__ == "__main__":
    command()
