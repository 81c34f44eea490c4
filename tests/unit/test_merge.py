"""Results of shards are merged without losing a cell; input that is no shard's is refused with its file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kmatrix.cli import main
from kmatrix.commands.merge import CONSOLES
from kmatrix.decide.merged_results import merge
from kmatrix.effects.disk.bundles import read_bundles, write_bundles
from kmatrix.effects.disk.results import read_releases, read_results, write_results
from kmatrix.stages import report as report_stage
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.lock import read_lock, write_lock
from tests.unit.support.made_up_profile import KERNELS
from tests.unit.support.projects import write_project

CELLS = [f"{client}-{kernel}" for client in ("7.4.6", "8.2.2") for _, _, kernel in KERNELS.values()]
DIGEST = "sha256:" + "a" * 64


def result(cell: str, verdict: Verdict = "passed", at: str = "2026-01-01T00:00:00Z") -> CellResult:
    """The result of a cell, published if it passed, with a log."""
    client, _, kernel = cell.partition("-")
    published = verdict == "passed"
    return CellResult(
        cell=cell,
        client=client,
        kernel=kernel,
        releases=("4.16.3",),
        verdict=verdict,
        reason=f"it {verdict}",
        digest=DIGEST if published else "",
        log=f"build/logs/site/{cell}.log",
        gates={"static": "passed"} if published else {},
        at=at,
        seen=at if published else "",
    )


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout that results are merged into."""
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_ROOT", "KMATRIX_LOCK"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "site"
    root.mkdir()
    write_project(root)
    return root


def write_shard(folder: Path, *results: CellResult, profile: str = "site") -> Path:
    """Write a folder as a shard leaves it, with a log for each result."""
    entries = {each.cell: each for each in results}
    write_results(folder / "results.json", profile, entries, list(entries))
    for each in results:
        log = folder / each.log.removeprefix("build/")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{folder.name}: {each.reason}\n", encoding="utf-8")
    return folder


def merged(site: Path, *folders: Path) -> dict[str, CellResult]:
    """Merge folders, and return the results of the checkout."""
    assert main(["merge", *map(str, folders), "--root", str(site)]) == 0
    return read_results(site / "build" / "results.json", "site")


def refusal(site: Path, capsys: pytest.CaptureFixture[str], *folders: Path) -> str:
    """Merge folders that are refused; return what is printed."""
    before = (site / "build" / "results.json").exists()
    assert main(["merge", *map(str, folders), "--root", str(site)]) == 2
    assert (site / "build" / "results.json").exists() == before, "nothing may be merged then"
    return capsys.readouterr().err


def test_every_cell_of_every_shard_is_there_in_the_plans_order(site: Path, tmp_path: Path) -> None:
    first = write_shard(tmp_path / "one", result(CELLS[4]), result(CELLS[0], "failed"))
    second = write_shard(tmp_path / "two", *map(result, (CELLS[1], CELLS[2], CELLS[3], CELLS[5])))
    found = merged(site, first, second)
    assert list(found) == CELLS
    assert found[CELLS[0]].verdict == "failed"
    suite = ElementTree.parse(site / "build" / "results.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("6", "1")


def test_logs_come_along(site: Path, tmp_path: Path) -> None:
    merged(site, write_shard(tmp_path / "one", result(CELLS[0])), write_shard(tmp_path / "two", result(CELLS[1])))
    for cell, shard in ((CELLS[0], "one"), (CELLS[1], "two")):
        assert (site / result(cell).log).read_text(encoding="utf-8") == f"{shard}: it passed\n"


def test_a_report_after_a_merge_shows_the_cells_and_all_logs_of_every_shard(site: Path, tmp_path: Path) -> None:
    one = write_shard(tmp_path / "one", result(CELLS[0], "failed"))
    two = write_shard(tmp_path / "two", result(CELLS[1]))
    for ending in CONSOLES:
        console = one / "logs" / "site" / f"{CELLS[0]}{ending}"
        console.write_text(f"of {ending}\n", encoding="utf-8")
    merged(site, one, two)
    assert main(["report", "--root", str(site)]) == 1
    pages = site / "build" / "report"
    assert all((pages / "cells" / f"{cell}.html").is_file() for cell in CELLS[:2])
    texts = {path.name: path.read_text(encoding="utf-8") for path in (pages / "logs").glob("*.txt")}
    assert texts == {
        f"{CELLS[0]}.log.txt": "one: it failed\n",
        f"{CELLS[1]}.log.txt": "two: it passed\n",
        **{f"{CELLS[0]}{ending}.txt": f"of {ending}\n" for ending in CONSOLES},
    }


def test_merge_copies_every_kind_of_log_that_a_report_shows() -> None:
    assert {ending for ending, _ in report_stage._LOGS} == {".log", *CONSOLES}


def test_the_order_of_the_folders_changes_nothing(site: Path, tmp_path: Path) -> None:
    one = write_shard(tmp_path / "one", result(CELLS[0], "failed", "2026-01-02T00:00:00Z"), result(CELLS[1]))
    two = write_shard(tmp_path / "two", result(CELLS[0]), result(CELLS[2]))
    there = merged(site, one, two)
    shutil.rmtree(site / "build")
    assert merged(site, two, one) == there
    assert there[CELLS[0]].verdict == "failed"
    assert (site / result(CELLS[0]).log).read_text(encoding="utf-8") == "one: it failed\n"


def test_an_old_result_of_a_checkout_that_is_used_again_does_not_hide_a_newer_one(site: Path, tmp_path: Path) -> None:
    """The cell moved to another shard when the plan grew; the old shard's file was written last all the same."""
    one = write_shard(tmp_path / "one", result(CELLS[0], "failed", "2026-03-01T00:00:00Z"))
    two = write_shard(tmp_path / "two", result(CELLS[0]), result(CELLS[1], at="2026-03-01T09:00:00Z"))
    assert merged(site, one, two)[CELLS[0]].verdict == "failed"


def test_results_that_were_known_here_stay(site: Path, tmp_path: Path) -> None:
    path = site / "build" / "results.json"
    write_results(path, "site", {cell: result(cell) for cell in (CELLS[0], "gone")}, [CELLS[0], "gone"])
    write_results(path, "other", {"x": result("x")}, ["x"])
    found = merged(site, write_shard(tmp_path / "one", result(CELLS[1])))
    assert list(found) == CELLS[:2], "but not of cells that left the plan"
    assert list(read_results(path, "other")) == ["x"]


def test_a_later_error_keeps_the_published_image_in_the_result(site: Path, tmp_path: Path) -> None:
    one = write_shard(tmp_path / "one", result(CELLS[0]))
    two = write_shard(tmp_path / "two", result(CELLS[0], "errored", "2026-03-01T00:00:00Z"))
    found = merged(site, one, two)[CELLS[0]]
    assert (found.verdict, found.digest, found.gates) == ("errored", DIGEST, {"static": "passed"})


def test_merging_twice_changes_no_byte(site: Path, tmp_path: Path) -> None:
    one = write_shard(tmp_path / "one", result(CELLS[0]))
    two = write_shard(tmp_path / "two", result(CELLS[0], "errored", "2026-03-01T00:00:00Z"))
    merged(site, one, two)
    before = (site / "build" / "results.json").read_bytes()
    merged(site, one, two)
    assert (site / "build" / "results.json").read_bytes() == before


def test_a_cell_that_the_plan_lacks_is_kept_and_named(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = merged(site, write_shard(tmp_path / "one", result("8.2.2-6.99.0-1.x86_64"), result(CELLS[0])))
    assert list(found) == [CELLS[0], "8.2.2-6.99.0-1.x86_64"]
    said = capsys.readouterr().err
    assert "kept, although the plan does not have them: 8.2.2-6.99.0-1.x86_64" in said
    assert f"no shard has a result of {CELLS[1]}" in said


def test_a_folder_of_folders_and_a_checkout_are_taken_too(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "shards" / "001", result(CELLS[0]))
    write_shard(tmp_path / "shards" / "002", result(CELLS[1]))
    (tmp_path / "shards" / "003").mkdir()
    write_shard(tmp_path / "checkout" / "build", result(CELLS[2]))
    (tmp_path / "checkout" / "docs").mkdir()
    assert list(merged(site, tmp_path / "shards", tmp_path / "checkout")) == CELLS[:3]
    said = capsys.readouterr().err
    assert said.count(" has no results") == 1
    assert "003 has no results: its run ended before its first cell was done" in said
    assert "merged 3 cells of 3 shards into build/results.json" in said


def test_bundles_are_merged_by_client(site: Path, tmp_path: Path) -> None:
    old = BundleResult("8.2.2", "r/x:8.2.2", "passed", "ok", digest=DIGEST, seen="2026-01-01T00:00:00Z")
    new = replace(old, digest="sha256:" + "b" * 64, seen="2026-02-01T00:00:00Z")
    write_bundles(tmp_path / "one" / "bundles.json", "site", [new])
    write_bundles(tmp_path / "two" / "bundles.json", "site", [old, replace(old, client="7.4.6")])
    merged(site, tmp_path / "one", tmp_path / "two")
    found = read_bundles(site / "build" / "bundles.json", "site")
    assert {client: bundle.digest[-1] for client, bundle in found.items()} == {"8.2.2": "b", "7.4.6": "a"}


def test_a_folder_without_results_is_refused(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_shard(tmp_path / "one", result(CELLS[0]))
    (tmp_path / "other" / "docs").mkdir(parents=True)
    assert str(tmp_path / "other") in refusal(site, capsys, one, tmp_path / "other")
    assert "is not a folder" in refusal(site, capsys, one, tmp_path / "nowhere")


def test_results_of_another_profile_are_refused(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_shard(tmp_path / "one", result(CELLS[0]))
    other = write_shard(tmp_path / "other", result("x"), profile="okd")
    said = refusal(site, capsys, one, other)
    assert f"{other / 'results.json'} has results of profile okd, and none of site" in said


@pytest.mark.parametrize("change", [{"schema": 99}, {"cells": [{"cell": 1}]}, {"cells": {}}])
def test_a_damaged_file_is_named_and_nothing_is_merged(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    one = write_shard(tmp_path / "one", result(CELLS[0]))
    two = write_shard(tmp_path / "two", result(CELLS[1]))
    content = json.loads((two / "results.json").read_text(encoding="utf-8"))
    (two / "results.json").write_text(json.dumps({**content, **change}), encoding="utf-8")
    assert str(two / "results.json") in refusal(site, capsys, one, two)


@pytest.mark.parametrize(
    "log", ["/etc/passwd", "build/logs/site/../../../../secret", "build/logs/other/x.log", "logs/site/x.log"]
)
def test_a_log_elsewhere_is_not_copied(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str
) -> None:
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    one = tmp_path / "one"
    write_results(one / "results.json", "site", {CELLS[0]: replace(result(CELLS[0]), log=log)}, CELLS)
    assert "names the log" in refusal(site, capsys, one)


def test_a_log_that_links_elsewhere_is_not_copied(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    one = write_shard(tmp_path / "one", result(CELLS[0]))
    log = one / result(CELLS[0]).log.removeprefix("build/")
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    assert "names the log" in refusal(site, capsys, one)


def test_a_log_that_is_missing_is_named(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_shard(tmp_path / "one", result(CELLS[0]))
    shutil.rmtree(one / "logs")
    assert list(merged(site, one)) == CELLS[:1]
    assert f"does not have its log {result(CELLS[0]).log}" in capsys.readouterr().err


def test_of_two_entries_of_one_time_the_later_input_wins() -> None:
    found = merge({"a": "1"}, [{"a": "2"}, {"a": "3", "b": "4"}], lambda _: "", lambda new, _old, _now: new)
    assert {name: (each.entry, each.source) for name, each in found.items()} == {"a": ("3", 1), "b": ("4", 1)}


def test_a_night_without_shards_merges_nothing(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shards").mkdir()
    assert merged(site, tmp_path / "shards") == {}
    assert "shards is empty" in capsys.readouterr().err
    assert not (site / "build" / "results.json").exists(), "`report` would find no cell in it"


@pytest.mark.usefixtures("two_gates")
def test_a_release_is_published_when_the_shard_with_its_last_cell_is_merged(site: Path, tmp_path: Path) -> None:
    release, _, kernel = KERNELS["el9"]
    own = [f"{client}-{kernel}" for client in ("7.4.6", "8.2.2")]
    both: dict[str, Verdict] = {"static": "passed", "boot": "passed"}
    times = ("2026-01-01T00:00:00Z", "2026-01-01T00:07:00Z")
    folders = [
        write_shard(tmp_path / at[-6:-4], replace(result(cell, at=at), gates=both, pushed=at))
        for cell, at in zip(own, times, strict=True)
    ]
    path = site / "build" / "results.json"
    merged(site, folders[0])
    states = {each.version: (each.state, each.published) for each in read_releases(path, "site")}
    assert states[release] == ("incomplete", "")
    merged(site, folders[1])
    states = {each.version: (each.state, each.published) for each in read_releases(path, "site")}
    assert states[release] == ("published", times[1])


def test_cells_that_no_job_can_build_are_recorded_and_merging_again_changes_no_byte(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of a CI system has the cells that can be built alone."""
    times = iter(("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"))
    monkeypatch.setattr("kmatrix.commands.merge.utc_now", lambda: next(times))
    lock = read_lock((site / "matrix.lock").read_text(encoding="utf-8"))
    pins = lock.profiles["site"]
    first, *others = pins.releases
    node = "4.18.0-999.1.1.el8_6.x86_64"
    changed = pins.model_copy(update={"releases": (first.model_copy(update={"node_kernel": node}), *others)})
    (site / "matrix.lock").write_text(write_lock(lock.with_profile("site", changed)), encoding="utf-8")
    (tmp_path / "shards").mkdir()
    found = merged(site, tmp_path / "shards")
    assert {cell: each.verdict for cell, each in found.items()} == {
        f"{client}-{node}": "errored" for client in ("7.4.6", "8.2.2")
    }
    assert {finding.code for each in found.values() for finding in each.findings} == {"toolkit-kernel-mismatch"}
    before = (site / "build" / "results.json").read_bytes()
    merged(site, tmp_path / "shards")
    assert (site / "build" / "results.json").read_bytes() == before
