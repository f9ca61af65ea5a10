"""`fas-jax domain-shift`, run from a checkout."""

from fas_jax.commands.domain_shift import command

if __name__ == "__main__":
    command()
