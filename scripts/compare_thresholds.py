"""`fas-jax compare-thresholds`, run from a checkout."""

from fas_jax.commands.compare_thresholds import command

if __name__ == "__main__":
    command()
