"""The files of a report: which there are, and that equal values give equal bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from kmatrix.values.errors import InputError
from tests.unit.support.made_up_report import logs_of, small_report


def test_the_site_has_a_page_for_every_cell_and_every_log() -> None:
    report = small_report()
    files = dict(site_files(report, logs_of))
    assert {"index.html", "changes.html", "releases.html", "kernels.html", "findings.html"} <= files.keys()
    for cell in report.cells:
        assert f"cells/{cell.cell}.html" in files
        for log in logs_of(cell):
            assert {f"logs/{log.name}.html", f"logs/{log.name}.txt"} <= files.keys()


def test_equal_values_give_equal_bytes() -> None:
    assert [*site_files(small_report(), logs_of)] == [*site_files(small_report(), logs_of)]


def test_a_site_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    replace_site(folder, [("index.html", "old"), ("cells/gone.html", "old")])
    size = replace_site(folder, [("index.html", "näw")])
    assert size == len("näw".encode())
    assert [path.name for path in sorted(folder.iterdir())] == [".written-by-kmatrix", "index.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="did not create it"):
        replace_site(tmp_path, [("index.html", "")])


def test_a_failure_leaves_the_site_of_before(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    replace_site(folder, [("index.html", "old")])

    def files() -> object:
        yield "index.html", "new"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        replace_site(folder, files())  # type: ignore[arg-type]
    assert (folder / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
