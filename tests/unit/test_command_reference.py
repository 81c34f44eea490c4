"""docs/commands.md is up to date with the parser, and names every command, option, variable and exit code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kmatrix.cli import main
from kmatrix.cli.commands import COMMANDS
from kmatrix.cli.options import ARGUMENT, OPTIONS, options_of
from kmatrix.values.errors import Exit
from tests.unit.support.command_reference import command_reference, write_reference

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="text", scope="module")
def _text() -> str:
    return command_reference((ROOT / "noxfile.py").read_text(encoding="utf-8"))


def section(text: str, name: str) -> str:
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_page_is_up_to_date(text: str) -> None:
    if os.environ.get("KMATRIX_UPDATE_GOLDEN"):
        write_reference(ROOT)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == text, "KMATRIX_UPDATE_GOLDEN=1 nox -s tests -- tests/unit/test_command_reference.py writes it again"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_the_options_of_its_help_text(
    text: str, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    helped = set(re.findall(r"(?m)^  (--[a-z-]+)", capsys.readouterr().out))
    assert helped == {each.flag for each in options_of(command) if each.group != ARGUMENT}
    assert helped <= set(re.findall(r"--[a-z-]+", section(text, command)))


def test_every_variable_and_exit_code_is_on_the_page(text: str) -> None:
    assert {each.variable for each in OPTIONS if each.variable} <= set(re.findall(r"\bKMATRIX_[A-Z_]+", text))
    codes = re.findall(r"(?m)^\| (\d+) \|", section(text, "Exit codes"))
    assert codes == [str(int(code)) for code in Exit]


def test_nothing_on_the_page_is_taken_for_html(text: str) -> None:
    assert "<" not in text.replace("<!-- Generated", "")


def test_every_link_within_the_page_has_its_heading(text: str) -> None:
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"(?m)^## (.+)$", text)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
