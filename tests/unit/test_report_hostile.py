"""Text of logs, images, registries and matrices is text on every page of the report, whatever it says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import PurePosixPath
from urllib.parse import unquote, urldefrag
from xml.etree import ElementTree

import pytest

from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.site import site_files
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.release_result import ReleaseResult
from kmatrix.values.text import plain
from tests.unit.support.made_up_report import cell, small_report
from tests.unit.support.parsed_page import Element, elements

HOSTILE = (
    "<script>alert(1)</script>",
    "</title></p></pre></li><script>alert(2)</script><!--",
    '" onload="alert(3)" x=\'',
    "' onclick='alert(4)",
    "<img src=x onerror=alert(5)>",
    "javascript:alert(6)",
    "[a](javascript:alert(7)) <https://evil.example/>",
    "]]><svg onload=alert(8)>",
    "{{ 7 * 191 }} {% raw %} {# #} ${7*191}",
    "\u202egnp.exe\u202c \u2066x",
    "nul\x00bell\x07escape\x1b[31mred\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "surrogate \udcff \ud800",
    "&lt;script&gt; &#60;b&#62; &amp;",
    "https://evil.example/x",
    "//evil.example/x",
    "../../../../etc/passwd",
    "w" * 3_000,
    "",
    "-->\n<script>\r\nalert(9)</script>",
    "`" * 3 + "# heading",
    "\u2028\u2029 line ends",
)
SCRIPTS = {"assets/report.js", "assets/matrix.js", "assets/log.js"}


def hostile_cell(number: int, text: str) -> CellResult:
    """Return a failed cell that is published, all of whose text comes from outside."""
    findings = (Finding("boot", "oops", text, text, text), Finding(text, text, text, text, text))
    return replace(
        cell(f"8.3.{number}", f"5.14.0-{number}.el9.x86_64", "passed", text, (text,), number),
        verdict="failed",
        findings=findings,
        warnings=findings,
        image=text,
        next_step=text,
        gates={text: "passed", "boot": "failed"},
        gates_at={text: text},
        stages={text: 1.0},
        labels={text: text},
        depends=(text,),
        namespaces=(text,),
        attestations=(text,),
        features=(text,),
        reusable_from=(text, "../../index"),
        abi=text,
        srcversion=text,
        vmlinuz=text,
        at=text,
        seen=text,
        pushed=text,
        flavour=text,
        serial=f"build/logs/{text}",
    )


def hostile_logs(result: CellResult) -> tuple[LogText, ...]:
    lines = tuple(each.replace("\n", " ") for each in HOSTILE)
    return (
        LogText(f"{result.cell}.log", "build and gates", lines),
        LogText(f"{result.cell}.serial.log", "console of the boot", ("@kmatrix init", *lines)),
    )


def hostile_report() -> Report:
    cells = [hostile_cell(number, text) for number, text in enumerate(HOSTILE)]
    # The id, the client and the kernel too, of which paths and names are made.
    cells += [
        replace(cells[number], cell=f"{text[:60]}-{number}", client=text[:60], kernel=f"{text[:60]}{number}")
        for number, text in enumerate(HOSTILE)
    ]
    releases = tuple(
        ReleaseResult(f"4.19.{number}{text[:60]}", "x86_64", "unresolved", findings=(Finding(text, text, text),))
        for number, text in enumerate(HOSTILE)
    )
    return replace(small_report(), cells=tuple(cells), releases=releases, target=HOSTILE[0], public_keys=(HOSTILE[2],))


@cache
def site() -> Mapping[str, str]:
    return dict(site_files(hostile_report(), hostile_logs))


@cache
def pages() -> Mapping[str, list[Element]]:
    return {path: elements(text) for path, text in site().items() if path.endswith(".html")}


def test_there_are_pages_to_look_at() -> None:
    assert sum(path.startswith("cells/") for path in pages()) >= len(HOSTILE)
    assert any(path.startswith("logs/") for path in pages())


def test_no_page_has_a_script_but_the_sites_own() -> None:
    for path, found in pages().items():
        for element in found:
            if element.tag == "script":
                assert element.attributes["src"].replace("../", "") in SCRIPTS, path
                assert element.text == "", path
            assert element.tag not in {"iframe", "object", "embed", "base", "img", "style"}, path


def test_no_element_has_a_handler_or_a_style() -> None:
    for path, found in pages().items():
        for element in found:
            assert not [name for name in element.attributes if name.startswith("on") or name == "style"], path


def test_every_link_leads_to_a_file_of_the_site() -> None:
    for path, found in pages().items():
        for element in found:
            for name in ("href", "src", "action", "formaction", "xlink:href"):
                if name not in element.attributes:
                    continue
                target, _ = urldefrag(element.attributes[name])
                assert re.fullmatch(r"[A-Za-z0-9._+/%-]*", target), (path, target)
                place = PurePosixPath(path).parent / unquote(target) if target else PurePosixPath(path)
                parts: list[str] = []
                for part in place.parts:
                    parts = parts[:-1] if part == ".." else [*parts, part]
                assert "/".join(parts) in site(), (path, target)


def test_every_fragment_of_a_link_is_an_id() -> None:
    ids = {path: {each.attributes.get("id") for each in found} for path, found in pages().items()}
    for path, found in pages().items():
        for element in found:
            target, fragment = urldefrag(element.attributes.get("href", ""))
            if element.tag == "a" and fragment:
                goal = path if not target else target.replace("../", "")
                if goal in ids:
                    assert fragment in ids[goal], (path, target, fragment)


def test_no_file_has_a_control_character_or_a_mark_that_turns_text_round() -> None:
    for path, text in site().items():
        text.encode()
        if path.endswith((".html", ".svg", ".xml")):
            assert plain(text) == text, path


def test_no_path_leaves_the_site() -> None:
    for path in site():
        assert re.fullmatch(r"([a-z]+/)?[A-Za-z0-9_+-][A-Za-z0-9._+-]*", path), path


@pytest.mark.parametrize("text", [text for text in HOSTILE if text and len(text) < 1000 and plain(text) == text])
def test_hostile_text_is_shown_as_it_is(text: str) -> None:
    number = HOSTILE.index(text)
    words = " ".join(text.split())
    found = pages()[f"cells/8.3.{number}-5.14.0-{number}.el9.x86_64.html"]
    assert any(words in each.words for each in found if each.tag == "dd")
    assert any(words in each.words for each in found if each.tag == "p")


def test_templates_in_text_are_not_rendered() -> None:
    assert not [path for path, text in site().items() if "1337" in text]


def test_the_machine_readable_files_are_well_formed() -> None:
    for path, text in site().items():
        if path.endswith(".json"):
            json.loads(text)
        elif path.endswith((".svg", ".xml")):
            ElementTree.fromstring(text)
