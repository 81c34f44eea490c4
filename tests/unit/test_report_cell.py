"""The page of a cell: what a developer finds on it, and where its links lead."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from kmatrix.decide.report.cell_page import JUDGES, cell_page
from kmatrix.decide.report.deciding import deciding
from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.neighbours import neighbours
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.gate_record import GATE_NAMES
from tests.unit.support.made_up_report import COMPILER_LINE, NEXT, OLDER, TARGET, digest_of, logs_of, small_report
from tests.unit.support.parsed_page import elements, links, tagged

REPORT = small_report()
FAILED = next(cell for cell in REPORT.cells if cell.cell == f"7.4.6-{NEXT}")
OOPSED = next(cell for cell in REPORT.cells if cell.serial)
ERRORED = next(cell for cell in REPORT.cells if cell.verdict == "errored")
PASSED = next(cell for cell in REPORT.cells if cell.cell == f"8.3.1-{OLDER}")
WARNED = next(cell for cell in REPORT.cells if cell.warnings)


def show(cell: CellResult, report: Report = REPORT, logs: tuple[LogText, ...] | None = None) -> str:
    there = logs_of(cell) if logs is None else logs
    return cell_page(report, cell, there, deciding(cell, there), neighbours(report.cells).get(cell.cell))


def facts(text: str) -> dict[str, str]:
    names = [each.words for each in tagged(text, "dt")]
    return dict(zip(names, [each.words for each in tagged(text, "dd")], strict=True))


def commands(text: str) -> list[str]:
    return [each.text for each in tagged(text, "pre", "command")]


def rows(text: str) -> list[str]:
    return [each.words for each in tagged(text, "tr")]


def test_the_verdict_is_one_sentence_that_names_the_step() -> None:
    (sentence,) = tagged(show(FAILED), "p", "verdict-sentence")
    assert sentence.words == f"✗ failed in build: {COMPILER_LINE}"
    (sentence,) = tagged(show(ERRORED), "p", "verdict-sentence")
    assert sentence.words == "! errored: the container engine is unreachable"
    (note,) = tagged(show(ERRORED), "p", "note")
    assert note.words == "Next step: Start it, and run the command again."


def test_commands_in_a_next_step_stand_out() -> None:
    page = show(replace(ERRORED, next_step="run `nox -s <build>` again"))
    (note,) = tagged(page, "p", "note")
    assert note.words == "Next step: Run nox -s <build> again"
    assert "nox -s <build>" in [each.text for each in tagged(page, "code")]


def test_the_compilers_line_comes_first_and_leads_to_itself_in_the_log() -> None:
    page = show(FAILED)
    assert next(each.words for each in tagged(page, "h2")) == "Deciding lines"
    (line,) = tagged(page, "li", "decides")
    assert line.text == COMPILER_LINE
    assert links(page)[COMPILER_LINE] == f"../logs/7.4.6-{NEXT}.log.html#L201"
    assert [each.attributes["start"] for each in tagged(page, "ol", "lines")] == ["198"]


def test_a_cell_is_repeated_by_its_id_alone() -> None:
    assert commands(show(FAILED)) == [f"nox -s build -- --profile ocp --only {FAILED.cell}"]
    report = replace(REPORT, places={"build": ("--root", "/srv/a b")})
    assert commands(show(FAILED, report)) == [f"nox -s build -- --profile ocp --root '/srv/a b' --only {FAILED.cell}"]


@pytest.mark.parametrize("digest", ["", digest_of(1)])
def test_no_command_is_offered_for_a_cell_whose_release_is_open(digest: str) -> None:
    """The plan has no such cell for a run, and the terminal offers no command either."""
    found = Finding("release", "toolkit-kernel-mismatch", "its nodes run another kernel")
    page = show(replace(ERRORED, findings=(found,), digest=digest))
    assert not [each for each in commands(page) if each.startswith("nox -s")]
    assert "Commands" not in [each.words for each in tagged(page, "h2")]


def test_a_published_cell_can_be_built_again_verified_and_booted() -> None:
    assert commands(show(PASSED))[-3:] == [
        f"nox -s build -- --profile ocp --force --only {PASSED.cell}",
        f"nox -s verify -- --profile ocp --only {PASSED.cell}",
        f"nox -s boot -- --profile ocp {PASSED.cell} --shell",
    ]


def test_an_image_is_pulled_and_verified_by_its_digest() -> None:
    reference = f"{TARGET}@{digest_of(4)}"
    page = show(PASSED)
    assert commands(page)[:4] == [
        f"podman pull {reference}",
        f"docker pull {reference}",
        f"nox -s verify -- --profile ocp --remote {reference}",
        f"cosign verify --key keys/images.pub --insecure-ignore-tlog {reference}",
    ]
    assert not any(
        "--remote" in each or "cosign" in each for each in commands(show(PASSED, replace(REPORT, public_keys=())))
    )
    assert "Digest" not in facts(show(FAILED))


def test_an_image_whose_name_is_of_no_known_form_is_in_no_command() -> None:
    page = show(replace(PASSED, image="; rm -rf ~ #"))
    assert facts(page)["Name"] == "; rm -rf ~ #"
    assert not any("rm" in each for each in commands(page))


def test_the_gates_stand_in_the_profiles_order_with_those_that_did_not_run() -> None:
    found = rows(show(OOPSED))
    assert found[1:4] == ["static ✓ passed", "boot ✗ failed", "mount not run"]
    found = rows(show(replace(PASSED, gates={"secure-boot": "passed", **PASSED.gates})))
    assert [row.split()[0] for row in found[1:5]] == ["static", "boot", "mount", "secure-boot"]
    assert found[1] == "static ✓ passed 2026-11-20 10:00:00 UTC"


def test_every_gate_is_described() -> None:
    assert JUDGES.keys() == set(GATE_NAMES)


def test_a_finding_has_both_sides_its_meaning_and_a_link_to_it() -> None:
    page = show(OOPSED)
    assert links(page)["oops"] == "../findings.html#oops"
    assert (facts(page)["Expected"], facts(page)["Actual"]) == ("no oops", "an oops at load-1")
    (article,) = tagged(page, "article")
    assert "The kernel hit a fault in the step" in article.words
    assert "Next step: Read the call trace" in article.words


def test_findings_of_one_code_are_explained_once() -> None:
    finding = FAILED.findings[0]
    page = show(replace(FAILED, findings=(finding, replace(finding, message="another: error: x"))))
    (article,) = tagged(page, "article")
    assert article.words.count("Next step") == 1
    assert {COMPILER_LINE, "another: error: x"} <= {each.text for each in tagged(page, "p", "message")}


def test_a_finding_without_a_description_is_shown_without_a_link() -> None:
    page = show(OOPSED, replace(REPORT, meanings="", codes=frozenset()))
    assert "oops" not in links(page)
    assert "BUG: unable to handle page fault" in page


def test_a_warning_does_not_look_like_a_cause() -> None:
    page = show(WARNED)
    assert [each.attributes["class"] for each in tagged(page, "article")] == ["finding"]
    assert [each.attributes["class"] for each in tagged(show(FAILED), "article")] == ["finding decided"]


def test_the_slowest_stage_is_marked() -> None:
    found = rows(show(PASSED))
    assert "build 48.2 slowest" in found
    assert sum("slowest" in row for row in found[1:]) == 2  # with the heading of the column
    assert "60.0 s in all" in show(PASSED)
    assert "The times are not known" in show(replace(PASSED, stages={}))


def test_every_log_is_linked_as_a_page_and_as_plain_text() -> None:
    found = links(show(OOPSED))
    for log in logs_of(OOPSED):
        assert found[f"Log: {log.title}"] == f"../logs/{log.name}.html"
        assert found[f"{log.name} as plain text"] == f"../logs/{log.name}.txt"
    assert "no logs of this cell" in show(OOPSED, logs=())


def test_the_kernels_log_of_the_boot_can_be_opened() -> None:
    console = LogText("c.serial.log", "console of the boot", ("@kmatrix init", "[    5.2] BUG: no"))
    (found,) = tagged(show(OOPSED, logs=(console,)), "pre", "kernel")
    assert found.text == "[    5.2] BUG: no"
    lines = ("@kmatrix init", "[    0.1] console", "@kmatrix begin log", "@kmatrix| [    5.1] a", "@kmatrix end log 0")
    (found,) = tagged(show(PASSED, logs=(replace(console, lines=lines),)), "pre", "kernel")
    assert found.text == "[    5.1] a"
    long = ("@kmatrix init", *(f"[    1.{number:06}] line" for number in range(1000)))
    page = show(PASSED, logs=(replace(console, lines=long),))
    assert "600 earlier lines are left out" in page
    assert "line" in tagged(page, "pre", "kernel")[0].text.splitlines()[-1]


def test_a_long_line_of_the_kernels_log_says_how_much_of_it_is_left_out() -> None:
    console = LogText(f"{PASSED.cell}.serial.log", "console of the boot", ("@kmatrix init", "x" * 2_500))
    (found,) = tagged(show(PASSED, logs=(console,)), "pre", "kernel")
    assert found.text.endswith("x … 1,500 more characters")


def test_what_is_known_of_image_and_module_is_shown() -> None:
    known = replace(
        PASSED,
        labels={"org.opencontainers.image.revision": "2dab2d8"},
        depends=("ib_core", "rdma_cm"),
        symbols=1212,
        namespaces=(),
        signed=True,
        attestations=("test result", "SBOM"),
        vmlinuz=digest_of(7),
    )
    page = show(known)
    found = facts(page)
    assert found["org.opencontainers.image.revision"] == "2dab2d8"
    assert found["In-tree modules it needs"] == "ib_core, rdma_cm"
    assert found["Kernel symbols it needs"] == "1,212"
    assert found["Symbol namespaces"] == "none"
    assert found["Signature"] == "signed with the profile's image key"
    assert found["Attestations"] == "test result, SBOM"
    assert found["Kernel that was booted"] == digest_of(7)
    assert "KERNEL_HAS_NEW_IOV" in page
    assert facts(show(replace(known, signed=False)))["Signature"] == "not signed with the profile's image key"


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    found = facts(show(replace(PASSED, srcversion="", abi="", features=None, pushed="")))
    names = ("In-tree modules it needs", "Kernel symbols it needs", "Symbol namespaces", "Signature", "Source version")
    assert {found[name] for name in (*names, "Symbols and CRCs", "Kernel that was booted", "Pushed")} == {"not known"}
    assert facts(show(FAILED))["Pushed"] == "never"


def test_cells_with_a_usable_module_and_those_beside_are_linked() -> None:
    page = show(WARNED)
    assert links(page)[f"8.3.1-{OLDER}"] == f"../cells/8.3.1-{OLDER}.html"
    assert links(page)[f"Previous kernel of client 8.3.1: {OLDER}"] == f"../cells/8.3.1-{OLDER}.html"
    assert any(words.startswith("Previous client for this kernel: 7.4.6") for words in links(page))
    gone = show(replace(WARNED, reusable_from=("8.3.1-gone",)))
    assert "8.3.1-gone" in gone
    assert "8.3.1-gone" not in links(gone)


def test_the_page_is_well_formed_and_its_headings_are_in_order() -> None:
    for cell in REPORT.cells:
        page = show(cell)
        levels = [int(each.tag[1]) for each in elements(page) if each.tag in ("h1", "h2", "h3", "h4")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        ids = [each.attributes["id"] for each in elements(page) if "id" in each.attributes]
        assert len(ids) == len(set(ids))
