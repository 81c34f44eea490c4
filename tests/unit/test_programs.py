"""A test that lacks a program is skipped on a person's machine, and fails in continuous integration, which sets CI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.support.programs import require

ROOT = Path(__file__).parents[2]
ABSENT = "kmatrix-no-such-program"


@pytest.mark.parametrize("value", [None, "", "false"])
def test_without_ci_it_is_skipped(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("CI", raising=False)
    if value is not None:
        monkeypatch.setenv("CI", value)
    with pytest.raises(pytest.skip.Exception, match=ABSENT):
        require("sh", ABSENT)


@pytest.mark.parametrize("value", ["true", "1"])
def test_with_ci_it_fails(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CI", value)
    require("sh")
    with pytest.raises(pytest.fail.Exception, match=ABSENT):
        require("sh", ABSENT)


def test_bootstrap_installs_what_tests_need() -> None:
    table = (ROOT / "scripts/bootstrap").read_text(encoding="utf-8")
    installed = {Path(entry).name for entry in re.findall(r"^  (\S+):[a-z0-9.-]+$", table, re.MULTILINE)}
    needed = {
        program
        for file in Path(__file__).parent.rglob("*.py")
        if file.name != Path(__file__).name
        for call in re.findall(r"\b(?:needs|require|through)\(([^()]*)\)", file.read_text(encoding="utf-8"))
        for program in re.findall(r'"([a-z][\w-]+)"', call)
    }
    # Parts of a package that the table has under another program.
    parts = {"rpmsign", "rpmkeys", "rpm", "pzstd", "gzip"}
    assert {"rpmbuild", "createrepo_c", "pigz", "bgzip"} <= needed
    assert needed - parts <= installed
