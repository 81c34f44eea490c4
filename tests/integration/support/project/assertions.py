"""Assertions on complete runs."""

from __future__ import annotations

from kmatrix.values.names import image_tag
from tests.integration.support.project.site import Run, Site


def assert_refused(site: Site, run: Run, cell: str, *codes: str) -> None:
    """Assert that `cell` alone failed, with exactly these finding codes, and that the other cells were published."""
    others = set(run.verdicts) - {cell}
    assert run.code == 1, run.stderr
    assert run.verdicts == {cell: "failed", **dict.fromkeys(others, "passed")}, run.stderr
    assert others, "a control needs a cell that passes"
    found = [finding["code"] for finding in run.cell(cell)["findings"]]
    assert sorted(found) == sorted(codes), run.cell(cell)
    assert run.cell(cell)["digest"] == ""
    assert codes[0] in run.cell(cell)["reason"] or "build: " in run.cell(cell)["reason"]
    assert site.tags == {image_tag(other) for other in others}
    assert site.registry.digest(site.repository, image_tag(min(others))) == run.cell(min(others))["digest"]
