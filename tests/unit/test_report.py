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

import pytest

from kmatrix.cli import main
from kmatrix.effects.disk.results import write_results
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.lock import read_lock, write_lock
from kmatrix.values.pins import UnresolvedPin
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.commanded_site import ENVIRONMENT
from tests.unit.support.projects import write_project

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
)


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
    assert "warning: releases that only the lock has are not shown: " in shown.err
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
