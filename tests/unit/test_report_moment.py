"""A report shows one moment: cells and releases of one state of results.json, the state when it begins to write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kmatrix.cli import main
from kmatrix.effects.disk.results import write_results
from kmatrix.effects.disk.site import replace_site
from kmatrix.stages import report as stage
from kmatrix.values.cells import CellResult
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.made_up_report import OLDER, cell
from tests.unit.support.projects import write_project

PASSED = cell("8.3.1", OLDER)


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without results."""
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_ROOT", "KMATRIX_LOCK"):
        monkeypatch.delenv(name, raising=False)
    write_project(tmp_path)
    (tmp_path / "matrix.lock").unlink()
    return tmp_path


def written(site: Path, result: CellResult, state: Any) -> None:
    release = ReleaseResult("4.16.3", "x86_64", state)
    write_results(site / "build" / "results.json", "site", {result.cell: result}, [result.cell], releases=[release])


def written_after_a_read(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a build write other results right after somebody has read results.json."""
    read = Path.read_text

    def then_the_build_writes(path: Path, *arguments: Any, **options: Any) -> str:
        text = read(path, *arguments, **options)
        if path.name == "results.json":
            monkeypatch.setattr(Path, "read_text", read)
            written(site, PASSED, "published")
        return text

    monkeypatch.setattr(Path, "read_text", then_the_build_writes)


def shown(site: Path) -> tuple[str, str]:
    content = json.loads((site / "build" / "report" / "index.json").read_text(encoding="utf-8"))
    return content["cells"][0]["verdict"], content["releases"][0]["state"]


def test_a_build_that_writes_while_the_results_are_read_cannot_mix_them(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(site, replace(PASSED, verdict="failed"), "incomplete")
    written_after_a_read(site, monkeypatch)
    assert main(["report", "--root", str(site)]) == 1
    assert shown(site) == ("failed", "incomplete")


def test_the_exit_code_is_that_of_the_printed_json(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(site, replace(PASSED, verdict="failed"), "incomplete")
    written_after_a_read(site, monkeypatch)
    code = main(["report", "--json", "--root", str(site)])
    assert (code, json.loads(capsys.readouterr().out)["cells"][0]["verdict"]) == (0, "passed")


def test_a_report_that_waited_for_another_has_the_results_of_after_the_wait(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(site, replace(PASSED, verdict="failed"), "incomplete")

    def after_the_wait(folder: Path, files: Iterable[tuple[str, str]]) -> int:
        written(site, PASSED, "published")
        return replace_site(folder, files)

    monkeypatch.setattr(stage, "replace_site", after_the_wait)
    assert main(["report", "--root", str(site)]) == 0
    assert shown(site) == ("passed", "published")
