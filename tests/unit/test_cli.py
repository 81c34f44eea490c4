"""The command line without an engine: refusals with their hints; `plan` and `render` need the lock alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kmatrix.cli import main
from kmatrix.effects.disk.results import write_results
from kmatrix.values.cells import CellResult
from tests.unit.support.made_up_profile import KERNELS
from tests.unit.support.projects import MATRIX, write_project

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_GRAPH", "KMATRIX_ROOT", "KMATRIX_LOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    write_project(tmp_path)
    return tmp_path


def test_a_plan_needs_the_lock_alone(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json", "--root", str(site)]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert len(cells) == 2 * len(KERNELS)


def test_a_plan_has_what_earlier_runs_found_out_about_modules(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = f"8.2.2-{KERNELS['el9'][2]}"
    result = CellResult(cell, "8.2.2", KERNELS["el9"][2], (), "skipped", "", gates={"static": "passed"})
    result = replace(result, abi="0" * 16, reusable_from=("8.2.2-x",))
    write_results(site / "build" / "results.json", "site", {cell: result}, [cell])
    assert main(["plan", "--json", "--root", str(site)]) == 0
    plan = json.loads(capsys.readouterr().out)
    known = {each["cell"]: (each["abi"], each["reusable_from"]) for each in plan["cells"]}
    assert known.pop(cell) == ("0" * 16, ["8.2.2-x"])
    assert set(known.values()) == {(None, None)}
    assert [(line["stream"], line["cells"], line["classes"]) for line in plan["abi_classes"]] == [("el9", 1, 1)]


def test_results_that_cannot_be_read_are_not_taken_for_none(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "build").mkdir(exist_ok=True)
    (site / "build" / "results.json").write_text('{"schema": 1}', encoding="utf-8")
    assert main(["plan", "--json", "--root", str(site)]) == 2
    shown = capsys.readouterr()
    assert (shown.out, "results.json" in shown.err, "Delete the file." in shown.err) == ("", True, True)
    assert main(["plan", "--root", str(site)]) == 0, "the plan itself needs the lock alone"


def test_the_plan_for_people_goes_to_stdout(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--root", str(site)]) == 0
    shown = capsys.readouterr()
    assert "8.2.2-4.18.0-372.19.1.el8_6.x86_64" in shown.out
    assert "6 cells in, 0 out" in shown.err


def test_render_writes_every_cell_and_check_finds_a_change(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--root", str(site)]) == 0
    assert main(["render", "--check", "--root", str(site)]) == 0
    one = sorted((site / "dockerfiles" / "site").glob("*/Dockerfile"))[0]
    one.write_text("FROM scratch\n", encoding="utf-8")
    capsys.readouterr()
    # An option that the next step must name too.
    assert main(["render", "--check", "--lock", "matrix.lock", "--root", str(site)]) == 2
    shown = capsys.readouterr().err
    assert str(one.relative_to(site)) in shown
    assert f"`nox -s render -- --profile site --root {site} --lock matrix.lock`" in shown


def test_a_matrix_that_changed_since_discover_is_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "matrix.yaml").write_text(MATRIX.replace("[7.4.6, 8.2.2]", "[7.4.6]"), encoding="utf-8")
    assert main(["plan", "--root", str(site)]) == 2
    assert "nox -s discover -- --profile site" in capsys.readouterr().err


def test_every_problem_of_the_matrix_is_told_at_once(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = MATRIX.replace("flavours: [standard, rt]", "flavors: [standard]").replace("8.2.2", "8.x")
    (site / "matrix.yaml").write_text(broken, encoding="utf-8")
    assert main(["plan", "--root", str(site)]) == 2
    shown = capsys.readouterr().err
    assert "matrix.yaml:13" in shown
    assert "matrix.yaml:14" in shown


def test_nothing_is_built_without_a_target(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--root", str(site)]) == 2
    shown = capsys.readouterr().err
    assert "--target" in shown
    assert "KMATRIX_TARGET" in shown


def test_a_glob_that_matches_nothing_is_an_error(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--only", "9*", "--root", str(site)]) == 2
    assert "matches no cell" in capsys.readouterr().err


def test_a_folder_without_a_matrix_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--root", str(tmp_path)]) == 2
    assert "has no matrix.yaml" in capsys.readouterr().err


def test_there_is_no_report_before_a_run(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--root", str(site)]) == 2
    assert "nox -s build" in capsys.readouterr().err


def test_an_engine_out_of_reach_is_told_as_such(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{site}/no.sock")
    assert main(["build", "--target", "127.0.0.1:1/none", "--root", str(site)]) == 4
    shown = capsys.readouterr().err
    assert "container engine" in shown
    assert "scripts/bootstrap" in shown


def test_another_key_than_the_pinned_one_is_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--key-fingerprint", "F" * 40, "--root", str(site)]) == 2
    shown = capsys.readouterr().err
    assert "F" * 40 in shown
    assert "nox -s discover" in shown


def test_another_base_than_the_pinned_one_is_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--base", "other.example/base:1", "--root", str(site)]) == 2
    assert "other.example/base" in capsys.readouterr().err


def test_a_plan_without_cells_renders_nothing_and_removes_nothing(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", "--root", str(site)]) == 0
    exclude = "    excludes: [{kernel: '*', reason: all of them}]\n"
    (site / "matrix.yaml").write_text(MATRIX + exclude, encoding="utf-8")
    assert main(["render", "--root", str(site)]) == 2
    assert "has no cells" in capsys.readouterr().err
    assert len(list((site / "dockerfiles" / "site").iterdir())) == 6


def test_a_lock_that_cannot_be_read_says_how_to_go_on(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "matrix.lock").write_text('{"schema": 1', encoding="utf-8")
    assert main(["discover", "--root", str(site)]) == 2
    assert "remove it" in capsys.readouterr().err


def test_a_generated_file_that_is_no_text_is_written_anew(site: Path) -> None:
    assert main(["render", "--root", str(site)]) == 0
    one = sorted((site / "dockerfiles" / "site").glob("*/Dockerfile"))[0]
    one.write_bytes(b"\xff\xfe")
    assert main(["render", "--check", "--root", str(site)]) == 2
    assert main(["render", "--root", str(site)]) == 0
    assert main(["render", "--check", "--root", str(site)]) == 0
