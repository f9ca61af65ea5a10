"""`fas-jax frames-curve`, run from a checkout."""

from fas_jax.commands.frames_curve import command

if __name__ == "__main__":
    command()
