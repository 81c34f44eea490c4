"""Reports of one folder that are made at the same time lose no change that one of them found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

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
