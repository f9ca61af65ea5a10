"""`fas-jax tile-maps`, run from a checkout."""

from fas_jax.commands.tile_maps import command

if __name__ == "__main__":
    command()
