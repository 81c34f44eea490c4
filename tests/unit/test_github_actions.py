"""GitHub Actions gets a summary and annotations of a run, and takes no text of a log for a command or for markup."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from kmatrix.cli import main
from kmatrix.commands.github import show_on_github
from kmatrix.commands.invocation import Invocation
from kmatrix.decide.github_summary import LIMIT, bundle_summary, discovery_summary, github_summary
from kmatrix.decide.open_releases import OpenRelease
from kmatrix.decide.workflow_commands import (
    SHOWN,
    Annotation,
    annotations_of,
    annotations_of_bundles,
    annotations_of_discovery,
)
from kmatrix.effects.disk.results import write_results
from kmatrix.effects.github_actions import GitHubActions, github_actions
from kmatrix.stages.tables import repeat_command
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.errors import Exit
from kmatrix.values.pins import EmptyChannelPin
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.made_up_profile import lock, profile
from tests.unit.support.projects import MATRIX

GOOD = CellResult(
    "8.1-k+rt", "8.1", "k+rt", ("4.16.1",), "passed", "good", digest="sha256:1", gates={"static": "passed"}
)
BAD = replace(GOOD, cell="8.1-k", verdict="failed", reason="no such field", log="build/logs/lab/8.1-k.log", digest="")
HOSTILE = [
    "::set-env name=PATH::/tmp",
    "  ::add-mask::passed",
    "x ##[set-env name=PATH;]/tmp",
    "::stop-commands::mine",
    "::error title=a,b::forged\r::add-path::/tmp",
]


@dataclass
class Runner:
    """The runner, as far as it reads commands (actions/runner, ActionCommand.cs and ActionCommandManager.cs)."""

    known: set[str] = field(default_factory=lambda: {"set-env", "add-mask", "add-path", "error", "warning"})
    token: str = ""
    done: list[tuple[str, str, str]] = field(default_factory=list)

    def read(self, output: str) -> Runner:
        for line in re.split(r"\r\n|\r|\n", output):
            found = re.match(r"\s*::(\S*?)(?: (.*?))?::(.*)", line) or re.search(r"##\[(\S*?)(?: (.*?))?\](.*)", line)
            if not found:
                continue
            name, properties, data = found[1], found[2] or "", found[3]
            if self.token:
                self.token = "" if name == self.token else self.token
            elif name == "stop-commands":
                self.token = data
            elif name in self.known:
                self.done.append((name, unescaped(properties), unescaped(data)))
        return self


def unescaped(text: str) -> str:
    for sign, code in (("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C"), ("%", "%25")):
        text = text.replace(code, sign)
    return text


class Page(HTMLParser):
    """What a page of the summary has: its elements and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert attrs == []
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1].append(data)


def again(result: CellResult) -> str:
    return repeat_command(result, "lab", "build", ())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    return tmp_path


def test_the_runner_of_these_tests_takes_text_for_commands() -> None:
    """The negative control: unguarded, each hostile line is one."""
    for text in HOSTILE[:3]:
        assert Runner().read(text).done, text
    assert Runner().read(f"{HOSTILE[3]}\n::error::x").done == []


def test_no_text_of_others_is_taken_for_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    github = GitHubActions()
    with github.foreign_text():
        console = Console(stderr=True, width=240)
        for text in HOSTILE:
            console.print(text, markup=False, highlight=False)
        github.annotate([Annotation("error", "8.1-k", "no such field")])
        console.print("\n".join(HOSTILE), markup=False, highlight=False)
    runner = Runner().read(capsys.readouterr().err + "::warning::of the step's own shell\n")
    assert runner.done == [("error", "title=8.1-k", "no such field"), ("warning", "", "of the step's own shell")]


def test_a_command_that_fails_with_text_of_others_is_guarded_too(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "matrix.yaml").write_text("::set-env name=PATH::/tmp\n", encoding="utf-8")
    assert main(["plan", "--root", str(site), "--profile", "##[set-env name=PATH;]/tmp"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert said.startswith("::stop-commands::")
    assert "error:" in said
    fault, *rest = Runner().read(f"{said}::warning::after\n").done
    assert fault[:2] == ("error", "title=kmatrix")
    assert fault[2].startswith("matrix.yaml cannot be used ")
    assert rest == [("warning", "", "after")]


def test_the_token_is_another_one_each_time_and_so_cannot_be_known_to_a_log() -> None:
    tokens = {GitHubActions().token for _ in range(9)}
    assert len(tokens) == 9
    assert all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)


@pytest.mark.parametrize("value", ["", "false", None])
def test_elsewhere_nothing_is_printed_for_a_runner(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str | None
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS") if value is None else monkeypatch.setenv("GITHUB_ACTIONS", value)
    assert github_actions() is None
    assert main(["plan", "--root", str(site)]) == Exit.USAGE
    assert "::" not in capsys.readouterr().err


def test_an_annotation_is_read_back_as_it_was_meant() -> None:
    made = str(Annotation("error", "a:b,c=d%3A", "100% of ::error::\nlines"))
    assert Runner().read(made).done == [("error", "title=a:b,c=d%3A", "100% of ::error:: lines")]
    assert made == "::error title=a%3Ab%2Cc=d%253A::100%25 of ::error:: lines"


def test_failures_are_errors_and_what_changes_no_verdict_is_a_warning() -> None:
    lost = Finding("features", "feature-lost", "KERNEL_HAS_A")
    errored = replace(BAD, cell="8.0-k", verdict="errored", reason="the disk is full")
    release = ReleaseResult("4.16.9", "x86_64", "unresolved", findings=(Finding("release", "release-unresolved", "x"),))
    found = annotations_of([errored, BAD, replace(GOOD, warnings=(lost,))], [release])
    assert [(each.level, each.title, each.message) for each in found] == [
        ("error", "8.1-k", "failed: no such field"),
        ("error", "8.0-k", "errored: the disk is full"),
        ("warning", "8.1-k+rt", "feature-lost: KERNEL_HAS_A"),
        ("warning", "4.16.9 for x86_64", "release-unresolved: x"),
    ]


@pytest.mark.parametrize(("count", "shown", "more"), [(10, 10, ""), (11, 10, "2 more"), (500, 10, "491 more")])
def test_no_more_annotations_than_are_shown_and_the_last_counts_the_rest(count: int, shown: int, more: str) -> None:
    found = annotations_of([replace(BAD, cell=f"c{at:03}") for at in range(count)], repeat="`nox -s report`")
    assert len(found) == shown == SHOWN
    assert found[-1].message.startswith(f"{more}; `nox -s report` " if more else "failed: ")


def test_the_summary_has_counts_then_failures_with_log_and_command_then_the_others() -> None:
    errored = replace(BAD, cell="8.0-k", verdict="errored", reason="the disk is full", log="")
    page = github_summary("build: profile lab", [GOOD, errored, BAD], again)
    assert "✓ 1 passed, ✗ 1 failed, ! 1 errored" in page
    assert Page(page).rows == [
        ["cell", "verdict", "reason", "log", "command"],
        ["8.1-k", "✗ failed", "no such field", BAD.log, "nox -s build -- --profile lab --only 8.1-k"],
        ["8.0-k", "! errored", "the disk is full", "-", "nox -s build -- --profile lab --only 8.0-k"],
        ["cell", "verdict", "gates", "digest"],
        ["8.1-k+rt", "✓ passed", "static", "sha256:1"],
    ]
    assert page.index("no such field") < page.index("<details>") < page.index("sha256:1")


@pytest.mark.parametrize(
    "text",
    [
        "</code></td></table><script>alert(1)</script>",
        "| a | b |\n\n# heading\n\n[x](javascript:alert(1)) ![y](https://x.invalid/y.png)",
        "<img src=x onerror=alert(1)>",
        "`</code>` **bold** @somebody #1 https://x.invalid",
        "a\r\n\r\n<h1>b",
    ],
)
def test_text_of_others_is_no_markup_in_the_summary(text: str) -> None:
    hostile = replace(BAD, cell=text.split("\n")[0], reason=text, log=text.replace("\n", " "))
    page = github_summary("build", [hostile, replace(GOOD, digest=text.replace("\n", ""))], again)
    known = {"h3", "p", "table", "tr", "th", "td", "code", "details", "summary"}
    assert set(Page(page).tags) == known
    # Markdown is read after an empty line alone, and each of ours is followed by an element.
    for block in page.strip().split("\n\n"):
        assert re.match(r"<(h3|p|table|details|/details)>", block)
        assert all(re.match(r"<", line) for line in block.splitlines())
    assert [row[2] for row in Page(page).rows[1:2]] == [hostile.reason]


@pytest.mark.parametrize("verdict", ["failed", "skipped"])
def test_a_summary_that_is_too_long_for_github_says_how_much_is_left_out(verdict: str) -> None:
    results = [replace(BAD, cell=f"8.1-{at}", verdict=verdict, reason="é" * 200) for at in range(10_000)]  # type: ignore[arg-type]
    page = github_summary("build", results, again, 100_000)
    assert 90_000 < len(page.encode()) <= 100_000
    found = Page(page)
    assert found.open == []
    assert f"{10_000 - len(found.rows) + 1} cells are left out" in page
    assert github_summary("build", results, again, 100) == ""
    assert LIMIT == 1 << 20


def test_one_cell_that_is_left_out_is_one_cell() -> None:
    page = github_summary("build", [BAD, replace(BAD, cell="8.1-x", reason="é" * 5000)], again, 5000)
    assert "1 cell is left out" in page


def test_a_run_writes_both_and_a_second_one_of_the_step_does_not_replace_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    github = GitHubActions(tmp_path / "summary")
    call = Invocation(tmp_path, Console(stderr=True, width=240), command="build", github=github)
    with github.foreign_text():
        show_on_github(call, "lab", [BAD], (), "build", ())
        show_on_github(call, "lab", [GOOD], (), "build", ())
    assert Runner().read(capsys.readouterr().err).done == [("error", "title=8.1-k", "failed: no such field")]
    text = (tmp_path / "summary").read_text(encoding="utf-8")
    assert [row[0] for row in Page(text).rows] == ["cell", "8.1-k", "cell", "8.1-k+rt"]


def test_a_report_has_the_summary_of_all_cells_with_commands_that_build(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    write_results(site / "build" / "results.json", "site", {BAD.cell: BAD, GOOD.cell: GOOD}, [BAD.cell, GOOD.cell])
    assert main(["report", "--root", str(site)]) == Exit.FAILED
    assert Runner().read(capsys.readouterr().err).done == [("error", "title=8.1-k", "failed: no such field")]
    (_, bad, _, good) = Page((tmp_path / "summary").read_text(encoding="utf-8")).rows
    assert (bad[0], good[0]) == (BAD.cell, GOOD.cell)
    assert bad[-1] == f"nox -s build -- --profile site --root {site} --only 8.1-k"


def test_a_bundle_without_a_pass_is_an_error() -> None:
    made = BundleResult(client="8.1", image="i", verdict="failed", reason="panic: it stopped")
    found = annotations_of_bundles([made, replace(made, client="8.2", verdict="passed")])
    assert [str(each) for each in found] == ["::error title=bundle 8.1::failed: panic: it stopped"]


def test_the_summary_of_a_step_never_becomes_longer_than_github_takes(tmp_path: Path) -> None:
    github = GitHubActions(tmp_path / "summary")
    (tmp_path / "summary").write_text("x" * (LIMIT - 2000), encoding="utf-8")
    call = Invocation(tmp_path, Console(stderr=True, width=240), command="build", github=github)
    show_on_github(call, "lab", [replace(BAD, cell=f"8.1-{at}") for at in range(99)], (), "build", ())
    assert LIMIT - 2000 < (tmp_path / "summary").stat().st_size <= LIMIT
    assert "cells are left out" in (tmp_path / "summary").read_text(encoding="utf-8")


def test_a_summary_that_cannot_be_written_costs_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = Invocation(tmp_path, Console(stderr=True, width=240), command="build", github=GitHubActions(tmp_path))
    show_on_github(call, "lab", [BAD], (), "build", ())
    said = capsys.readouterr().err
    assert "warning: cannot write the summary of the step (GITHUB_STEP_SUMMARY): Is a directory" in said
    assert "::error title=8.1-k::" in said


def test_a_summary_of_a_discovery_is_no_markup_and_never_too_long() -> None:
    pins = lock(profile())
    hostile = "</code><script>alert(1)</script>\n\n# x"
    found = [OpenRelease(f"4.16.{at}", "x86_64", "release-unresolved", hostile, "", hostile) for at in range(500)]
    page = discovery_summary("discover", pins, [hostile] * 500, found, 20_000)
    assert len(page.encode()) <= 20_000
    assert set(Page(page).tags) <= {"h3", "p", "table", "tr", "th", "td", "code"}
    assert Page(page).open == []
    left = 1000 - len([row for row in Page(page).rows if row[0] not in ("open", "news of the lock")])
    assert f"{left} rows are left out" in page
    assert discovery_summary("discover", pins, [], found, 100) == ""
    warnings = annotations_of_discovery(found, [EmptyChannelPin(name="stable-4.99", arch="x86_64")])
    assert [each.level for each in warnings] == ["warning"] * SHOWN
    assert warnings[-1].message.startswith("492 more; ")


def test_a_summary_of_bundles_is_no_markup_and_never_too_long() -> None:
    hostile = "</code><script>alert(1)</script>\n\n# x"
    made = [BundleResult(client=f"8.1.{at}", image="i", verdict="failed", reason=hostile) for at in range(500)]
    page = bundle_summary("bundle", made, 20_000)
    assert len(page.encode()) <= 20_000
    assert set(Page(page).tags) == {"h3", "p", "table", "tr", "th", "td", "code"}
    assert "✗ 500 failed" in page
    assert "Some are left out" in page
    assert bundle_summary("bundle", made, 100) == ""
    assert "no bundles" in bundle_summary("bundle", [])
