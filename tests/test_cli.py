"""Scripts whose output goes nowhere, into a terminal of another encoding, or where it cannot be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def ran(body: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A script with this body of its main function."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    code = f"import sys\nfrom fas_jax.runtime import cli\ndef main() -> int:\n{lines}\ncli.main(main)\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False, timeout=60
    )


@pytest.mark.parametrize("line", ['print("x", flush=True)', 'print("x" * 100_000)', 'print("x")', "tyro.cli(main)"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_traceback(line, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    # The last asks for help, as `script.py --help | head` does.
    found = ran(f"import tyro\nsys.argv = ['script', '--help']\n{line}\nreturn 0", writer, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)
    assert (found.returncode, found.stderr) == (141, b"")


def test_another_broken_pipe_is_still_a_fault_of_the_program():
    assert b"BrokenPipeError: a worker" in ran("raise BrokenPipeError('a worker')").stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_in_any_encoding(encoding):
    names = "é ± 影 \udcff"
    body = f"print({names!r})\nprint({names!r}, file=sys.stderr)\ncli.print_json({names!r})"
    found = ran(body, PYTHONIOENCODING=encoding)
    assert found.returncode == 0, found.stderr
    shown, as_json = found.stdout.decode(encoding).splitlines()
    assert shown == names.encode(encoding, "backslashreplace").decode(encoding) == found.stderr.decode(encoding).strip()
    assert json.loads(as_json) == names


def test_a_file_where_a_folder_is_needed_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    found = ran(f"from pathlib import Path\nany(Path({str(tmp_path / 'file')!r}).iterdir())")
    assert found.returncode == 2
    assert found.stderr.decode().splitlines() == [f"error: {tmp_path / 'file'}: Not a directory"]
