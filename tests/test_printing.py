"""Names of files that are no text do not end a script when it prints them."""

import subprocess
import sys

import pytest

PRINT = """
import os, sys
from fas_jax.base.errors import UserError
from fas_jax.runtime import cli

def work():
    print(os.fsdecode(b"caf\\xe9"), "caf\\u00e9")
    raise UserError(os.fsdecode(b"caf\\xe9") + " is wrong")

cli.exit_with(work)
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_cannot_be_shown_are_printed_all_the_same(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINT], capture_output=True, env={"PYTHONIOENCODING": encoding}, check=False
    )
    assert done.returncode == 2
    assert done.stdout.startswith(rb"caf\udce9 caf")
    assert done.stderr == b"error: caf\\udce9 is wrong\n"
