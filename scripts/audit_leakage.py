"""`fas-jax audit-leakage`, run from a checkout."""

from fas_jax.commands.audit_leakage import command

if __name__ == "__main__":
    command()
