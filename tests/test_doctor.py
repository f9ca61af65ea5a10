"""`fas-jax doctor`: what it tells of the machine, and that it notices what is broken."""

import re

from fas_jax.commands import doctor as doctor_command
from fas_jax.library import doctor


def test_the_doctor_is_content_with_this_machine(capsys) -> None:
    assert doctor_command.main() == 0
    shown = capsys.readouterr().out
    for name in ("cores", "memory", "devices", "decoders", "detectors", "packages"):
        assert re.search(rf"^{name} +\S", shown, re.MULTILINE), name
    assert len(re.findall(r"^(?:pass|skip)  ", shown, re.MULTILINE)) == 5
    assert len(re.findall(r"^pass  ", shown, re.MULTILINE)) >= 4
    assert shown.endswith("all is well\n")


def test_the_doctor_tells_of_a_part_that_fails(monkeypatch, capsys) -> None:
    def broken() -> str:
        raise ValueError("no such device")

    for name in ("_render", "_score"):
        monkeypatch.setattr(doctor, name, lambda *_: broken())
    monkeypatch.setattr(doctor, "describe_machine", lambda: iter([]))
    assert doctor_command.main() == 1
    shown = capsys.readouterr().out
    assert "fail  render a clip" in shown
    assert "ValueError: no such device" in shown
    assert "skip  find its face" in shown
    assert "2 parts failed" in shown
