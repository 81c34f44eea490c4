"""`report` shows what is known of a profile, also where no cell is known yet."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kmatrix.cli import main
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.plan import Plan, make_plan
from kmatrix.effects.disk.results import write_results
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.lock import read_lock, write_lock
from kmatrix.values.pins import UnresolvedPin
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.commanded_site import ENVIRONMENT
from tests.unit.support.projects import MATRIX, write_project

FINDING = Finding("release", "release-unresolved", "quay.io demands a credential")
PASSED = CellResult(
    cell="8.3.1-5.14.0-427.50.1.el9_4.x86_64",
    client="8.3.1",
    kernel="5.14.0-427.50.1.el9_4.x86_64",
    releases=("4.16.3",),
    verdict="passed",
    reason="every check passed",
    arch="x86_64",
    flavour="standard",
    stream="el9",
    gates=dict.fromkeys(("static", "boot", "mount"), "passed"),
)


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_ROOT", "KMATRIX_LOCK"):
        monkeypatch.delenv(name, raising=False)
    write_project(tmp_path)
    return tmp_path


def project_plan(site: Path) -> Plan:
    lock = read_lock((site / "matrix.lock").read_text(encoding="utf-8"), "matrix.lock")
    return make_plan("site", read_matrix(MATRIX).profile("site"), lock.profiles["site"])


def test_releases_without_any_cell_are_shown(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So it is for a profile without a pull secret: all of its releases are unresolved, and it has no cell."""
    (site / "matrix.lock").unlink()
    release = ReleaseResult("4.16.3", "x86_64", "unresolved", findings=(FINDING,))
    write_results(site / "build" / "results.json", "site", {}, [], releases=[release])
    assert main(["report", "--root", str(site)]) == 0
    shown = capsys.readouterr().out
    assert "unresolved" in shown
    assert "4.16.3 for x86_64: quay.io demands a credential" in shown


def index(site: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((site / "build" / "report" / "index.json").read_text(encoding="utf-8"))
    return content


def test_planned_cells_without_a_result_are_counted_and_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A build is under way, was interrupted, or was about some cells: the others are not built yet."""
    cells = [cell.id for cell in project_plan(site).cells]
    one = replace(PASSED, cell=cells[0], client="7.4.6", kernel=cells[0].removeprefix("7.4.6-"))
    write_results(site / "build" / "results.json", "site", {one.cell: one}, cells)
    assert main(["report", "--root", str(site)]) == 0
    assert "5 of 6 cells are not built yet" in capsys.readouterr().err
    assert [each["cell"] for each in index(site)["pending"]] == cells[1:]
    folder = site / "build" / "report"
    assert "5 of 6 planned cells are not built yet" in (folder / "index.html").read_text(encoding="utf-8")
    assert "1 of 6 cells, 5 not built yet" in (folder / "badges" / "all.svg").read_text(encoding="utf-8")


def test_planned_cells_without_a_result_are_counted_in_the_summary_of_a_step(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that was lost leaves no result, and a summary that counts results alone looks complete."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(site / "summary"))
    cells = [cell.id for cell in project_plan(site).cells]
    one = replace(PASSED, cell=cells[0], client="7.4.6", kernel=cells[0].removeprefix("7.4.6-"))
    write_results(site / "build" / "results.json", "site", {one.cell: one}, cells)
    assert main(["report", "--root", str(site)]) == 0
    assert "<p>✓ 1 passed, ○ 5 not built yet</p>" in (site / "summary").read_text(encoding="utf-8")
    write_results(site / "build" / "results.json", "site", {each: replace(one, cell=each) for each in cells}, cells)
    (site / "summary").unlink()
    assert main(["report", "--root", str(site)]) == 0
    assert "<p>✓ 6 passed</p>" in (site / "summary").read_text(encoding="utf-8")


def test_a_release_that_discovery_found_since_the_last_run_is_shown_with_its_cells(site: Path) -> None:
    cells = [cell for cell in project_plan(site).cells if "el10" not in cell.kernel]
    known = {
        cell.id: replace(PASSED, cell=cell.id, client=str(cell.client), kernel=cell.kernel, releases=("4.12.45",))
        for cell in cells
    }
    write_results(site / "build" / "results.json", "site", known, list(known))
    assert main(["report", "--root", str(site)]) == 0
    newest = index(site)["releases"][0]
    assert (newest["version"], newest["state"]) == ("4.22.1", "incomplete")
    assert {each["kernel"] for each in index(site)["pending"]} == set(newest["kernels"])
    served = {each["kernel"]: each["releases"] for each in index(site)["cells"]}
    assert served == {cell.kernel: list(cell.releases) for cell in cells}, "the lock says which releases a cell serves"


def test_cells_and_releases_that_the_plan_does_not_have_are_kept(site: Path) -> None:
    release = ReleaseResult("4.11.1", "x86_64", "published", ("el8",))
    write_results(site / "build" / "results.json", "site", {PASSED.cell: PASSED}, [PASSED.cell], releases=[release])
    assert main(["report", "--root", str(site)]) == 0
    assert [each["cell"] for each in index(site)["cells"]] == [PASSED.cell]
    assert index(site)["releases"][-1]["version"] == "4.11.1"
    assert len(index(site)["pending"]) == 6


def test_a_release_of_results_whose_version_is_of_another_form_costs_no_report(site: Path) -> None:
    releases = [ReleaseResult(version, "x86_64", "published") for version in ("4.9.1", "nightly", "4.100.1")]
    write_results(site / "build" / "results.json", "site", {PASSED.cell: PASSED}, [PASSED.cell], releases=releases)
    assert main(["report", "--root", str(site)]) == 0
    shown = [each["version"] for each in index(site)["releases"]]
    assert (shown[0], shown[-2:]) == ("4.100.1", ["4.9.1", "nightly"])


def test_results_without_a_lock_are_never_called_complete(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They were copied here from another machine."""
    (site / "matrix.lock").unlink()
    write_results(site / "build" / "results.json", "site", {PASSED.cell: PASSED}, [PASSED.cell])
    assert main(["report", "--root", str(site)]) == 0
    assert "warning: how many cells are planned is not known: matrix.lock has nothing" in capsys.readouterr().err
    assert index(site)["pending"] is None
    folder = site / "build" / "report"
    assert "How many cells are planned is not known." in (folder / "index.html").read_text(encoding="utf-8")
    assert "1 of 1 known kernel<" in (folder / "badges" / "8.3.1.svg").read_text(encoding="utf-8")


def test_an_unresolved_release_that_only_the_lock_has_is_shown(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Discovery found it after the last build."""
    path = site / "matrix.lock"
    lock = read_lock(path.read_text(encoding="utf-8"), "matrix.lock")
    pin = UnresolvedPin.model_validate(
        {
            "version": "4.16.9",
            "arch": "x86_64",
            "channels": ["stable-4.16"],
            "payload": f"quay.io/x/release@sha256:{'a' * 64}",
            "obstacle": "credential",
            "reason": "quay.io demands a credential",
            "since": "2026-11-20",
        }
    )
    pins = lock.profiles["site"].model_copy(update={"unresolved": (pin,)})
    path.write_text(write_lock(lock.with_profile("site", pins)), encoding="utf-8")
    known = ReleaseResult("4.17.1", "x86_64", "incomplete", ("el9",))
    write_results(site / "build" / "results.json", "site", {}, [], releases=[known])
    assert main(["report", "--root", str(site)]) == 0
    shown = capsys.readouterr().out
    assert "4.16.9 for x86_64: unresolved since 2026-11-20: quay.io demands a credential" in shown
    assert shown.index("4.16.9") < shown.index("4.17.1"), "oldest first"


def test_a_lock_that_cannot_be_used_is_named_and_the_results_are_shown(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "matrix.lock").write_text("{", encoding="utf-8")
    write_results(site / "build" / "results.json", "site", {PASSED.cell: PASSED}, [PASSED.cell])
    assert main(["report", "--root", str(site)]) == 0
    shown = capsys.readouterr()
    assert (
        "warning: how many cells are planned is not known, and releases that only the lock has are not shown: "
        in shown.err
    )
    assert PASSED.cell in shown.out


def test_pages_are_written_although_a_cell_failed_and_json_writes_none(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = replace(PASSED, verdict="failed", reason="build: it does not compile")
    write_results(site / "build" / "results.json", "site", {failed.cell: failed}, [failed.cell])
    assert main(["report", "--json", "--root", str(site)]) == 1
    assert json.loads(capsys.readouterr().out)["cells"][0]["verdict"] == "failed"
    assert not (site / "build" / "report").exists()
    assert main(["report", "--root", str(site)]) == 1
    page = site / "build" / "report" / "index.html"
    assert page.is_file()
    assert f"report: {page}" in capsys.readouterr().err


def test_a_port_without_a_server_is_a_usage_error(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--port", "8123", "--root", str(site)]) == 2
    assert "report: --port has no effect without --serve" in capsys.readouterr().err
    assert main(["report", "--port", "70000", "--serve", "--root", str(site)]) == 2
    assert "'70000' is not a port from 1 to 65535" in capsys.readouterr().err


def test_the_report_is_served_until_an_interruption_which_is_a_success(site: Path) -> None:
    failed = replace(PASSED, verdict="failed")
    write_results(site / "build" / "results.json", "site", {failed.cell: failed}, [failed.cell])
    arguments = [sys.executable, "-m", "kmatrix", "report", "--serve", "--root", str(site)]
    with subprocess.Popen(
        arguments, text=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as command:
        try:
            assert command.stderr is not None
            said = next(line for line in command.stderr if "Serving" in line)
            found = re.search(r"http://127\.0\.0\.1:(\d+)/ until Ctrl-C", said)
            assert found is not None, said
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
            connection.request("GET", "/")
            assert failed.cell.encode() in connection.getresponse().read()
            connection.close()
            command.send_signal(signal.SIGINT)
            assert command.wait(timeout=60) == 0
            assert command.stderr.read() == "Stopped serving the report.\n"
        finally:
            command.kill()


def test_without_any_result_the_next_step_is_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--root", str(site)]) == 2
    assert "there are no results of profile site" in capsys.readouterr().err
