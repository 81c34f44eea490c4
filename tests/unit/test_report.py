"""`report` shows what is known of a profile, also where no cell is known yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmatrix.cli import main
from kmatrix.effects.disk.results import write_results
from kmatrix.values.cells import Finding
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.projects import write_project

FINDING = Finding("release", "release-unresolved", "quay.io demands a credential")


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_ROOT", "KMATRIX_LOCK"):
        monkeypatch.delenv(name, raising=False)
    write_project(tmp_path)
    return tmp_path


def test_releases_without_any_cell_are_shown(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So it is for a profile without a pull secret: all of its releases are unresolved, and it has no cell."""
    release = ReleaseResult("4.16.3", "x86_64", "unresolved", findings=(FINDING,))
    write_results(site / "build" / "results.json", "site", {}, [], releases=[release])
    assert main(["report", "--root", str(site)]) == 0
    shown = capsys.readouterr().out
    assert "unresolved" in shown
    assert "4.16.3 for x86_64: quay.io demands a credential" in shown


def test_without_any_result_the_next_step_is_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--root", str(site)]) == 2
    assert "there are no results of profile site" in capsys.readouterr().err
