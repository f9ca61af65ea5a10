"""The command line `fas-jax COMMAND`, also `python -m fas_jax COMMAND`. Imports only the command that is asked for."""

import ast
import os
import sys
from importlib import import_module
from pathlib import Path

from fas_jax import commands
from fas_jax.base import huge_pages
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.versions import VERSION


def main() -> None:
    """Runs the command that the first argument names, with the options behind it."""
    asked, *options = sys.argv[1:] or ["--help"]
    if asked in ("-h", "--help", "--version"):
        try:
            print(VERSION if asked == "--version" else overview(), flush=True)
        except BrokenPipeError:  # the reader has gone, as in `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        return
    huge_pages.ask()
    try:
        module = import_module(f"{commands.__name__}.{_module(asked)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"fas-jax {asked}", *options]
    module.command()


def overview() -> str:
    """All commands with the first lines of their modules, which are read and not imported: imports take seconds."""
    lines = ["usage: fas-jax COMMAND [options]", "", "Face presentation-attack detection on JAX."]
    width = max(len(name) for names in commands.GROUPS.values() for name in names)
    for group, names in commands.GROUPS.items():
        lines += ["", f"{group}:"]
        for name in names:
            source = (Path(commands.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
            summary = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
            lines.append(f"  {_word(name):{width}}  {summary}")
    return "\n".join([*lines, "", "fas-jax COMMAND --help explains a command and all its options."])


def _word(name: str) -> str:
    return name.replace("_", "-")


def _module(asked: str) -> str:
    """The module of a command; raises `UserError` for an unknown one."""
    known = {_word(name): name for names in commands.GROUPS.values() for name in names}
    if asked not in known:
        raise unknown_name("command", asked, known)
    return known[asked]


if __name__ == "__main__":
    main()
