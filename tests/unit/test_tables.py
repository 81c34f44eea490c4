"""Tables on a terminal of any width: complete cell ids and verdicts, and fewer columns where not all have room."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from kmatrix.commands.bundle import print_bundles
from kmatrix.decide.plan import Plan
from kmatrix.stages import tables
from kmatrix.stages.progress import LiveProgress, line_of
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.cells import CellResult, Finding, Verdict
from kmatrix.values.release_result import ReleaseResult

KERNELS = ["5.14.0-427.50.1.el9_4.x86_64", "5.14.0-427.50.1.el9_4.x86_64+rt", "6.1.0-56-amd64"]
WIDTHS = [10, 20, 40, 60, 80, 120, 200]
RESULT = CellResult(
    cell="",
    client="8.3.1",
    kernel="",
    releases=("4.16.5", "4.16.6", "4.16.7", "4.16.8"),
    verdict="passed",
    reason="good",
    digest="sha256:0123456789abcdef",
    stages={"boot": 7.25, "build": 10.0},
    gates={"static": "passed", "boot": "passed"},
)
RESULTS = [replace(RESULT, cell=f"8.3.1-{kernel}", kernel=kernel) for kernel in KERNELS]
GATES = ("static", "boot")
REASON = "excluded: the vendor's release notes say that this client does not support that line"


def on(width: int, show: Callable[[Console], None]) -> list[str]:
    out = io.StringIO()
    show(Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue().splitlines()


def row_of(lines: list[str], first: str) -> list[str]:
    """Return the words of the row that begins so; where it has no room, its others stand on the next line."""
    (at,) = [at for at, line in enumerate(lines) if line.split()[:1] == [first]]
    more = lines[at + 1].split() if lines[at].strip() == first and lines[at + 1].startswith("  ") else []
    return lines[at].split() + more


@pytest.mark.parametrize("width", WIDTHS)
def test_every_result_has_its_whole_id_and_verdict(width: int) -> None:
    lines = on(width, lambda console: tables.print_results(console, RESULTS, "lab", GATES))
    for result in RESULTS:
        assert row_of(lines, result.cell)[:2] == [result.cell, "passed"]


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (20, "gates, releases, seconds, digest"),
        (40, "gates, releases, seconds, digest"),
        (66, "releases, seconds, digest"),
        (80, "releases, seconds"),
        (92, "releases"),
        (112, ""),
    ],
)
def test_columns_are_left_out_whole_and_named(width: int, left_out: str) -> None:
    lines = on(width, lambda console: tables.print_results(console, RESULTS, "lab", GATES))
    said = [line.partition(": ")[2] for line in lines if line.startswith("left out")]
    assert said == ([left_out] if left_out else [])
    gone = left_out.split(", ") if left_out else []
    names = ["cell", "verdict", "gates", "releases", "seconds", "digest"]
    assert row_of(lines, "cell") == [name for name in names if name not in gone]


def test_a_table_that_fits_is_not_wider_than_the_terminal() -> None:
    for width in range(66, 200):
        lines = on(width, lambda console: tables.print_results(console, RESULTS, "lab", GATES))
        assert max(cell_len(line.rstrip()) for line in lines if not line.startswith("left out")) <= width, width


@pytest.mark.parametrize("width", range(60, 200, 4))
def test_a_cell_of_many_releases_is_one_row_on_every_terminal(width: int) -> None:
    many = tuple(f"4.{minor}.{patch}" for minor in (16, 17) for patch in range(30))
    results = [replace(result, releases=many) for result in RESULTS]
    lines = on(width, lambda console: tables.print_results(console, results, "lab", GATES))
    said = [line for line in lines if not line.startswith("left out")]
    assert [line.split()[0] for line in said[:-1]] == ["cell", *(result.cell for result in results)]
    assert all(len(line.rstrip()) <= width for line in said)


def test_texts_become_shorter_before_a_column_is_left_out() -> None:
    results = [replace(RESULTS[0], gates={"static": "passed", "boot": "passed"}), *RESULTS[1:]]

    def row(width: int) -> str:
        lines = on(width, lambda console: tables.print_results(console, results, "lab", (*GATES, "mount")))
        return " ".join(lines[1].partition("passed")[2].split())

    assert row(140) == "static, boot 7.2 s, mount NOT RUN 4.16.5, 4.16.6, 4.16.7, 4.16.8 17.2 0123456789ab"
    assert row(128) == "static, boot 7.2 s, mount NOT RUN 4.16.5 … 4.16.8 (4) 17.2 0123456789ab"
    assert row(120) == "static, boot, mount NOT RUN 4.16.5 … 4.16.8 (4) 17.2 0123456789ab"
    assert row(80) == "static, boot, mount NOT RUN"


@pytest.mark.parametrize(
    ("releases", "told"),
    [((), "-"), (("4.16.5",), "4.16.5"), (("4.16.5", "4.16.6"), "4.16.5 … 4.16.6 (2)")],
)
def test_releases_are_shortened_to_their_ends(releases: tuple[str, ...], told: str) -> None:
    results = [replace(RESULT, cell="8.3.1-k", releases=releases), replace(RESULT, cell="9", releases=("4.1",) * 99)]
    lines = on(90, lambda console: tables.print_results(console, results, "lab", GATES))
    assert f"boot 7.2 s  {told} " in lines[1]


def test_a_cell_without_a_verdict_has_its_reason_and_the_next_step_below_the_table() -> None:
    errored = replace(RESULTS[0], verdict="errored", reason="the disk is full", next_step="make room on it.")
    failed = replace(RESULTS[1], verdict="failed", reason="crc-mismatch: x")
    passed = replace(RESULTS[2], next_step="do nothing.")
    lines = on(80, lambda console: tables.print_results(console, [errored, failed, passed], "lab", GATES))
    at = lines.index(f"{errored.cell}: the disk is full")
    assert lines[at + 1].rstrip() == "       Make room on it."
    assert lines[at + 2] == f"       Repeat this cell: `nox -s build -- --profile lab --only {errored.cell}`"
    assert lines[at + 3] == f"{failed.cell}: crc-mismatch: x"
    assert lines[at + 4] == f"       Repeat this cell: `nox -s build -- --profile lab --only {failed.cell}`"
    assert lines[at + 5] == "1 passed, 1 failed, 1 errored"


def test_the_command_that_repeats_a_cell_is_the_one_that_was_run_and_stands_there_once() -> None:
    failed = replace(RESULTS[0], verdict="failed", reason="x")
    again = f"`nox -s build -- --profile ocp --force --only {failed.cell}`"
    lines = on(120, lambda console: tables.print_results(console, [failed], "ocp", GATES, "build", ("--force",)))
    assert lines[3] == f"       Repeat this cell: {again}"
    told = replace(failed, next_step=f"Run {again}.")
    said = "\n".join(
        on(120, lambda console: tables.print_results(console, [told], "ocp", GATES, "build", ("--force",)))
    )
    assert said.count(again) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_failure_has_its_reason_its_log_and_the_command_below_a_table_that_is_whole(width: int) -> None:
    log = f"build/logs/lab/{RESULTS[0].cell}.log"
    failed = replace(RESULTS[0], verdict="failed", reason="compile-error: super.c:12: error: no such field", log=log)
    skipped = replace(RESULTS[1], verdict="skipped", reason="already published", stages={})
    lines = on(width, lambda console: tables.print_results(console, [failed, skipped], "lab", GATES))
    assert [row_of(lines, each.cell)[1] for each in (failed, skipped)] == ["failed", "skipped"]
    at = lines.index(f"{failed.cell}: {failed.reason}")
    table = [line for line in lines[:at] if not line.startswith("left out")]
    assert all(cell_len(line.rstrip()) <= width for line in table), "a folded line"
    assert lines[at + 1 : at + 3] == [
        f"       Log: {log}",
        f"       Repeat this cell: `nox -s build -- --profile lab --only {failed.cell}`",
    ]
    assert lines[-1] == "1 failed, 1 skipped"


def test_the_row_of_a_skipped_cell_keeps_what_is_known_of_it() -> None:
    skipped = replace(RESULTS[0], verdict="skipped", reason="already published")
    lines = on(200, lambda console: tables.print_results(console, [skipped], "lab", GATES))
    releases = ", ".join(skipped.releases)
    known = f"{skipped.cell} skipped static, boot 7.2 s {releases} (17.2) 0123456789ab"
    assert " ".join(lines[1].split()) == known
    assert line_of(skipped, 1, 1).plain == f"[1/1] {skipped.cell} skipped: already published"


def test_a_quiet_session_ends_with_its_failures_and_the_warnings_and_counts_of_all_cells() -> None:
    failed = replace(RESULTS[0], verdict="failed", reason="no such field")
    warned = replace(RESULTS[1], warnings=(Finding("features", "feature-lost", "KERNEL_HAS_A"),))
    results = [failed, warned, RESULTS[2]]
    lines = on(120, lambda console: tables.print_results(console, results, "lab", GATES, failures_only=True))
    assert [line.split()[0] for line in lines[:2]] == ["cell", failed.cell]
    assert lines[2:] == [
        f"{failed.cell}: no such field",
        f"       Repeat this cell: `nox -s build -- --profile lab --only {failed.cell}`",
        f"{warned.cell}: warning: feature-lost: KERNEL_HAS_A",
        "       What to do: docs/findings.md#feature-lost",
        "2 passed, 1 failed, 1 warning",
    ]
    good = on(120, lambda console: tables.print_results(console, [RESULTS[2]], "lab", GATES, failures_only=True))
    assert good == ["1 passed"]


@pytest.mark.parametrize(
    ("verdict", "gates", "shown"),
    [
        ("passed", {"static": "passed", "boot": "passed"}, "static, boot 7.2 s"),
        ("passed", {"static": "passed"}, "static, boot NOT RUN"),
        ("skipped", {"static": "passed"}, "static, boot NOT RUN"),
        ("failed", {"static": "failed"}, "static FAILED"),
        ("errored", {"static": "passed", "boot": "errored"}, "static, boot ERRORED"),
        ("failed", {}, "-"),
    ],
)
def test_gates_are_shown_with_what_was_not_passed(verdict: Verdict, gates: dict[str, Verdict], shown: str) -> None:
    result = replace(RESULTS[2], verdict=verdict, gates=gates)
    lines = on(120, lambda console: tables.print_results(console, [result], "lab", GATES))
    assert f" {shown} " in lines[1]


def test_an_open_cell_is_not_to_be_repeated() -> None:
    finding = Finding("release", "toolkit-kernel-mismatch", "its toolkit has another kernel")
    result = replace(RESULT, verdict="errored", reason="open: no toolkit has this kernel", next_step="Report it.")
    lines = on(200, lambda console: tables.print_results(console, [result], "lab", GATES))
    assert any("Repeat this cell" in line for line in lines)
    lines = on(200, lambda console: tables.print_results(console, [replace(result, findings=(finding,))], "lab", GATES))
    assert not any("Repeat this cell" in line for line in lines)
    assert any("Report it." in line for line in lines)


def test_releases_are_shown_that_are_new_or_lack_cells() -> None:
    old = ReleaseResult("4.16.1", "x86_64", "published", ("el9",), published="2026-01-01T00:00:00Z")
    new = replace(old, version="4.16.2", found="2026-01-01T00:00:00Z", minutes_from_discovery=4.0)
    finding = Finding("release", "release-unresolved", "its payload is no release payload")
    faulty = ReleaseResult("4.16.3", "x86_64", "unresolved", findings=(finding,))
    lines = on(200, lambda console: tables.print_releases(console, [old, new, faulty]))
    assert [line.split() for line in lines[1:3]] == [
        ["4.16.2", "published", "x86_64", "el9", "2026-01-01T00:00:00Z", "-", "4.0"],
        ["4.16.3", "unresolved", "x86_64", "-", "-", "-", "-"],
    ]
    assert lines[3] == "4.16.3 for x86_64: its payload is no release payload"
    assert on(200, lambda console: tables.print_releases(console, [old])) == []


def test_gates_that_were_left_out_are_counted_in_words() -> None:
    lacking = replace(RESULT, gates={"static": "passed"})
    failed = replace(RESULT, verdict="failed", gates={"static": "failed"})
    assert tables.left_out([RESULT, failed], GATES) == ""
    assert tables.left_out([RESULT, failed, lacking], GATES) == "gate boot NOT RUN on 1 cell"
    skipped = replace(RESULT, verdict="skipped", gates={})
    assert tables.left_out([skipped, lacking], GATES) == "gates static, boot NOT RUN on 2 cells"


def planned() -> Plan:
    rows = [SimpleNamespace(id=r.cell, state="out", flavour="standard", stream="el9", reason=REASON) for r in RESULTS]
    return cast("Plan", SimpleNamespace(rows=rows))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_plan_has_whole_ids_and_reasons_of_words(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(console: Console) -> None:
        monkeypatch.setattr(tables, "wide_console", lambda: console)
        tables.print_plan(planned())

    lines = on(width, show)
    assert sum(line.split()[:1] == [result.cell] for line in lines for result in RESULTS) == len(RESULTS)
    why = "why" in lines[0]
    assert why or any("why" in line for line in lines if line.startswith("left out"))
    assert not why or any("vendor's" in line for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_bundle_s_row_is_whole(width: int) -> None:
    image: Any = SimpleNamespace(arch="x86_64", kernels={"k": 20_000}, bytes=11_000_000, toolkit_bytes=459_000_000)
    fields = {"client": "8.3.1", "verdict": "passed", "digest": "sha256:0123456789ab", "images": (image,)}
    rest = {"earlier": (), "missing": (), "lacking": {}, "dropped": (), "kept": {}, "findings": (), "reason": ""}
    result = cast("BundleResult", SimpleNamespace(**fields, **rest))
    lines = on(width, lambda console: print_bundles(console, [result]))
    assert row_of(lines, "bundle")[:2] == ["bundle", "verdict"]
    assert row_of(lines, "8.3.1")[:2] == ["8.3.1", "passed"]


@pytest.mark.parametrize("width", WIDTHS)
def test_what_runs_is_shown_with_its_stage_and_its_time(width: int) -> None:
    def show(console: Console) -> None:
        progress = LiveProgress(console, 3)
        for result in RESULTS:
            progress.stage(result.cell, "build")
        console.print(progress._render())

    head, *lines = on(width, show)
    assert head.startswith("0/3 cells"[:width])
    if width < 60:
        pairs = zip(lines[::2], lines[1::2], strict=True)
        lines = [f"{first.rstrip()} {second.strip()}" for first, second in pairs]
    for line, result in zip(lines, sorted(RESULTS, key=lambda result: result.cell), strict=True):
        shown, *rest = line.split()
        assert result.cell == shown or (shown.endswith("…") and result.cell.startswith(shown[:-1]))
        assert width < 20 or rest == ["build", "0", "s"]


def test_a_quiet_session_tells_what_a_published_bundle_lacks() -> None:
    image = BundleImage("x86_64", "sha256:1", 10, {"k1": 5}, 9)
    good = BundleResult("8.1", "r:8.1", "passed", "loaded", images=(image,), earlier=("8.1-k1",))
    lacking = replace(good, missing=("8.1-k2",), lacking={"8.1-k3": "no record"}, dropped=("k4",), kept={"k5": "gone"})
    assert on(120, lambda console: print_bundles(console, [good], failures_only=True)) == ["bundles: 1 passed"]
    assert on(120, lambda console: print_bundles(console, [lacking], failures_only=True)) == [
        "8.1: not included, because unpublished: 8.1-k2",
        "8.1: not included: 8.1-k3: no record",
        "8.1: warning: the new bundle drops k4",
        "8.1: kept k5 from the earlier bundle: gone",
        "bundles: 1 passed",
    ]
    assert "8.1: x86_64: 10 bytes compressed" in "\n".join(on(120, lambda console: print_bundles(console, [good])))
