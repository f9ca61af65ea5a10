"""The command starts again with large pages: once, as the same process, with the same arguments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import os, sys
from fas_jax.base import huge_pages
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])
huge_pages.ask()
"""


def printed(program: str = PROGRAM, **given: str) -> list[str]:
    own = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", program, "--option", "two words"]
    done = subprocess.run(command, env=own | given, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone reads the variable")
def test_it_starts_again_once_with_the_same_arguments():
    first, second = printed()
    number = first.split()[0]
    assert first == f"{number} None ['--option', 'two words']"
    assert second == f"{number} glibc.malloc.hugetlb=1 ['--option', 'two words']"


def test_a_program_that_calls_a_command_does_not_begin_anew():
    """Such as one that runs tests: it sets the command's arguments itself."""
    assert len(printed(PROGRAM.replace("huge_pages.ask()", "sys.argv = ['fas-jax', 'doctor']; huge_pages.ask()"))) == 1
    assert len(printed(PROGRAM.replace("huge_pages.ask()", "sys.executable = ''; huge_pages.ask()"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone reads the variable")
def test_what_the_user_says_is_kept():
    assert [line.split()[1] for line in printed(GLIBC_TUNABLES="glibc.malloc.check=0")] == [
        "glibc.malloc.check=0",
        "glibc.malloc.check=0:glibc.malloc.hugetlb=1",
    ]
    assert len(printed(GLIBC_TUNABLES="glibc.malloc.hugetlb=0")) == 1
