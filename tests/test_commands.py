"""The command `fas-jax`: what it lists, what it refuses, and the scripts that do the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from fas_jax import commands
from fas_jax.__main__ import main, overview
from fas_jax.base.errors import UserError
from fas_jax.experiment.configuration import find_configuration

ROOT = Path(__file__).parents[1]
LISTED = [name for names in commands.GROUPS.values() for name in names]


def test_help_lists_every_module_once() -> None:
    modules = {path.stem for path in (ROOT / "fas_jax" / "commands").glob("*.py")} - {"__init__"}
    assert sorted(LISTED) == sorted(modules)
    lines = overview().splitlines()
    for name in LISTED:
        (line,) = [each for each in lines if each.split()[:1] == [name.replace("_", "-")]]
        assert line.endswith((".", "?"))
        assert len(line) <= 120, line


def test_scripts_are_thin_mains_of_the_same_names() -> None:
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py")}
    assert scripts.keys() - {"bootstrap"} == set(LISTED)
    for name in LISTED:
        assert f"from fas_jax.commands.{name} import command" in scripts[name]
        assert len(scripts[name].splitlines()) == 6


def test_help_imports_no_command_and_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['fas-jax', '--help']; from fas_jax.__main__ import main; main();"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'jax', 'numpy', 'tyro', 'cv2'}))"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
    assert "fas-jax COMMAND --help" in found.stdout


def test_a_mistyped_command_names_the_nearest(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fas-jax", "pedict", "--bundle", "x"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "did you mean 'predict'?" in capsys.readouterr().err


def test_a_command_takes_its_options_and_its_name(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fas-jax", "fetch-weights", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: fas-jax fetch-weights" in shown
    assert "--folder" in shown


def test_a_configuration_is_found_by_name_or_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_configuration(Path("quickstart")) == ROOT / "configs" / "quickstart.toml"
    Path("quickstart").write_text("")
    assert find_configuration(Path("quickstart")) == Path("quickstart")
    assert find_configuration(Path("mine.toml")) == Path("mine.toml")
    with pytest.raises(UserError, match="did you mean 'paper'"):
        find_configuration(Path("papr"))
