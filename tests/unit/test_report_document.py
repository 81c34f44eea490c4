"""`index.json`: it has what the matrix shows, in the form that docs/report.schema.json promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from kmatrix.cli import main
from kmatrix.decide.report.document import document, read_document
from kmatrix.decide.report.junit import junit
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.results import write_results
from kmatrix.stages.report import write_report
from tests.unit.support.made_up_report import OLDER, large_report, logs_of, pending_cell, small_report
from tests.unit.support.projects import write_project

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
LATER = "2026-11-22T12:00:00Z"


def faults(content: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(content)]


def later(report: Report, **changed: Any) -> Report:
    return replace(report, made=LATER, previous=json.loads(document(report)), **changed)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


PARTLY = replace(small_report(), cells=small_report().cells[1:], pending=(pending_cell("9.0.0", OLDER),))


@pytest.mark.parametrize(
    "report",
    [small_report(), large_report(4, 30), PARTLY, replace(PARTLY, pending=None)],
    ids=["small", "large", "partly built", "plan not known"],
)
def test_the_document_has_the_promised_form(report: Report) -> None:
    assert faults(json.loads(document(report))) == []
    assert faults(json.loads(document(later(report, cells=report.cells[1:], releases=())))) == []


def test_the_document_has_everything_that_the_matrix_shows() -> None:
    report = small_report()
    content = json.loads(document(report))
    assert content["counts"] == {"passed": 5, "failed": 2, "errored": 1, "skipped": 1}
    assert content["clients"] == ["8.3.1", "7.4.6"]
    assert [each["cell"] for each in content["cells"]] == [cell.cell for cell in report.cells]
    failed = content["cells"][3]
    assert (failed["verdict"], failed["findings"]) == ("failed", ["compile-error"])
    assert failed["page"] == f"cells/{failed['cell']}.html"
    newest = content["releases"][0]
    assert (newest["version"], newest["state"]) == ("4.20.1", "unresolved")
    assert newest["findings"][0]["code"] == "release-unresolved"
    assert content["releases"][-2]["minutes_from_appearance"] == 165.0


def test_the_document_has_the_planned_cells_that_are_not_built() -> None:
    content = json.loads(document(PARTLY))
    assert [each["cell"] for each in content["pending"]] == [f"9.0.0-{OLDER}"]
    assert content["clients"] == ["9.0.0", "8.3.1", "7.4.6"]
    assert sum(content["counts"].values()) == len(PARTLY.cells)
    assert json.loads(document(replace(PARTLY, pending=None)))["pending"] is None


def _without_pending(content: dict[str, Any]) -> None:
    del content["pending"]


def test_every_page_that_the_document_names_is_there() -> None:
    files = dict(site_files(small_report(), logs_of))
    assert {each["page"] for each in json.loads(files["index.json"])["cells"]} <= files.keys()


def test_members_of_later_versions_are_permitted() -> None:
    content = json.loads(document(small_report()))
    content["new"] = content["cells"][0]["new"] = content["releases"][0]["new"] = 1
    assert faults(content) == []


def _without_digest(content: dict[str, Any]) -> None:
    del content["cells"][0]["digest"]


def _other_verdict(content: dict[str, Any]) -> None:
    content["cells"][0]["verdict"] = "green"


def _tag_as_digest(content: dict[str, Any]) -> None:
    content["cells"][0]["digest"] = "latest"


def _later_schema(content: dict[str, Any]) -> None:
    content["schema"] = 2


def _local_time(content: dict[str, Any]) -> None:
    content["made"] = "yesterday"


def _change_of_nothing(content: dict[str, Any]) -> None:
    content["changes"] = [{"at": LATER, "kind": "verdict", "from": "passed", "to": "failed"}]


def _change_of_the_wrong_thing(content: dict[str, Any]) -> None:
    content["changes"] = [{"at": LATER, "kind": "verdict", "release": "4.1.1", "arch": "x", "from": "", "to": ""}]


@pytest.mark.parametrize(
    "damage",
    [
        _without_digest,
        _without_pending,
        _other_verdict,
        _tag_as_digest,
        _later_schema,
        _local_time,
        _change_of_nothing,
        _change_of_the_wrong_thing,
    ],
)
def test_the_schema_refuses_what_is_wrong(damage: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(document(small_report()))
    damage(content)
    assert len(faults(content)) == 1


def test_a_cell_is_one_line_so_that_documents_can_be_compared() -> None:
    lines = document(small_report()).splitlines()
    assert sum(line.startswith('{"cell": ') for line in lines) == len(small_report().cells)


def test_text_from_outside_is_written_as_ascii() -> None:
    odd = replace(small_report().cells[0], releases=("4\ud800\u202e.1",))
    text = document(replace(small_report(), cells=(odd,)))
    assert text.isascii()
    assert json.loads(text)["cells"][0]["releases"] == list(odd.releases)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("[]", "no object"),
        ("[" * 100_000, "too deeply"),
        ('{"schema": 2, "profile": "ocp"}', "its schema is 2, and 1 was expected"),
        ('{"schema": 1, "profile": "okd"}', "it is about profile 'okd', not ocp"),
        ('{"schema": 1, "profile": "ocp"}', "'made' is missing"),
        ('{"schema": 1, "profile": "ocp", "made": 1}', "1 is no text"),
        ('{"schema": 1, "profile": "ocp", "made": "now"}', "'now' is no time"),
        ('{"schema": 1, "profile": "ocp", "made": "2026-01-01T00:00:00Z", "cells": {}}', "no list of objects"),
        (
            '{"schema": 1, "profile": "ocp", "made": "2026-01-01T00:00:00Z", "cells": [{"cell": "a"}]}',
            "'verdict' is missing",
        ),
        (
            '{"schema": 1, "profile": "ocp", "made": "2026-01-01T00:00:00Z", "cells": [], "releases": [],'
            ' "changes": [{"kind": "odd"}]}',
            "'odd' is no kind of change",
        ),
    ],
)
def test_a_document_that_is_none_of_ours_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_document(text, "ocp")


def test_the_first_report_is_written_without_a_warning(tmp_path: Path) -> None:
    said: list[str] = []
    write_report(tmp_path, small_report, said.append)
    write_report(tmp_path, small_report, said.append)
    assert said == []


@pytest.mark.parametrize("text", ["{", '{"schema": 7}', '\xff{"schema": 1}'])
def test_a_previous_document_that_cannot_be_read_is_named_and_replaced(tmp_path: Path, text: str) -> None:
    said: list[str] = []
    folder = write_report(tmp_path, small_report, said.append).folder
    (folder / "index.json").write_text(text, encoding="latin-1")
    write_report(tmp_path, small_report, said.append)
    (warning,) = said
    assert warning.startswith("warning: this report shows no changes: cannot compare it with")
    assert str(folder / "index.json") in warning
    content = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert (content["compared_with"], content["changes"]) == ("", [])


def test_the_command_says_it_on_standard_error_and_does_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_ROOT", "KMATRIX_LOCK"):
        monkeypatch.delenv(name, raising=False)
    write_project(tmp_path)
    (good,) = small_report().cells[:1]
    write_results(tmp_path / "build" / "results.json", "site", {good.cell: good}, [good.cell])
    assert main(["report", "--root", str(tmp_path)]) == 0
    assert "warning: this report" not in capsys.readouterr().err
    (tmp_path / "build" / "report" / "index.json").write_text("{")
    assert main(["report", "--root", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "warning: this report shows no changes" in shown.err
    assert "warning: this report" not in shown.out


def test_the_site_has_the_results_as_junit() -> None:
    report = small_report()
    text = dict(site_files(report, logs_of))["junit.xml"]
    assert text == junit("ocp", report.cells, report.releases)
    assert ElementTree.fromstring(text).attrib["failures"] == "2"


def test_no_name_breaks_the_junit() -> None:
    odd = replace(small_report().cells[0], cell="a\x00<b>", client="\x1b[31m&", reason="x")
    suite = ElementTree.fromstring(junit("p\x01", [odd]))
    assert suite[0].attrib["name"] == "a<b>"
