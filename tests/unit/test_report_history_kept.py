"""Reports of one folder that are made at the same time, or of several profiles, lose no change that one found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.report.model import Report
from kmatrix.effects.disk.site import replace_site
from kmatrix.stages import report as stage
from tests.unit.support.made_up_report import small_report


def test_a_report_that_waited_for_another_is_compared_with_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small_report()
    other = replace(first, made="2026-11-22T12:00:00Z", cells=first.cells[1:])
    waiting = replace(first, made="2026-11-23T12:00:00Z")
    stage.write_report(tmp_path, lambda: first, print)

    def after_the_other(folder: Path, files: Iterable[tuple[str, str]]) -> int:
        monkeypatch.setattr(stage, "replace_site", replace_site)
        stage.write_report(tmp_path, lambda: other, print)
        return replace_site(folder, files)

    monkeypatch.setattr(stage, "replace_site", after_the_other)
    written = stage.write_report(tmp_path, lambda: waiting, print)
    found = json.loads((written.folder / "index.json").read_text(encoding="utf-8"))
    assert found["compared_with"] == other.made
    assert [(each["at"], each["kind"]) for each in found["changes"]] == [
        (waiting.made, "cell-new"),
        (other.made, "cell-gone"),
    ]


def made(root: Path, report: Report, profile: str, day: int, said: list[str]) -> dict[str, Any]:
    own = replace(report, profile=profile, made=f"2026-11-{day}T12:00:00Z")
    written = stage.write_report(root, lambda: own, said.append)
    content: dict[str, Any] = json.loads((written.folder / "index.json").read_text(encoding="utf-8"))
    return content


def test_every_profile_has_a_history_of_its_own(tmp_path: Path) -> None:
    report, said = small_report(), list[str]()
    fewer = replace(report, cells=report.cells[1:])
    made(tmp_path, report, "ocp", 22, said)
    assert made(tmp_path, fewer, "okd", 23, said)["compared_with"] == ""
    again = made(tmp_path, fewer, "ocp", 24, said)
    assert again["compared_with"] == "2026-11-22T12:00:00Z"
    assert [each["kind"] for each in again["changes"]] == ["cell-gone"]
    assert made(tmp_path, fewer, "ocp", 25, said)["compared_with"] == "2026-11-24T12:00:00Z"
    other = made(tmp_path, report, "okd", 26, said)
    assert other["compared_with"] == "2026-11-23T12:00:00Z"
    assert made(tmp_path, report, "ocp", 27, said)["compared_with"] == "2026-11-25T12:00:00Z"
    assert said == []


def test_a_site_tells_nothing_of_other_profiles(tmp_path: Path) -> None:
    said: list[str] = []
    made(tmp_path, replace(small_report(), target="secret.example/team"), "private", 22, said)
    made(tmp_path, small_report(), "public", 23, said)
    site = tmp_path / "build" / "report"
    assert not [path for path in site.rglob("*") if path.is_file() and "secret.example" in path.read_text("utf-8")]


def test_a_kept_document_that_is_damaged_is_named(tmp_path: Path) -> None:
    said: list[str] = []
    made(tmp_path, small_report(), "okd", 22, said)
    path = tmp_path / "build" / "reports" / "ocp.json"
    path.parent.mkdir()
    path.write_text("{", encoding="utf-8")
    assert made(tmp_path, small_report(), "ocp", 23, said)["changes"] == []
    (warning,) = said
    assert str(path) in warning


@pytest.mark.parametrize("profile", [1, None, ["ocp"]])
def test_a_document_whose_profile_is_no_text_is_named_and_kept_for_nobody(tmp_path: Path, profile: object) -> None:
    said: list[str] = []
    content = made(tmp_path, small_report(), "ocp", 22, said)
    path = tmp_path / "build" / "report" / "index.json"
    path.write_text(json.dumps({**content, "profile": profile}), encoding="utf-8")
    made(tmp_path, small_report(), "ocp", 23, said)
    assert len(said) == 1
    assert not (tmp_path / "build" / "reports").exists()
