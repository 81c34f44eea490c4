r"""Text from outside: no control character gets into results, JUnit XML, errors or a terminal, whatever its source.

GCC writes colours as `ESC [ 01;31m ESC [K` (gcc/color-macros.h) and links as `ESC ] 8;;URL` ended by BEL or `ESC \`
(gcc/pretty-print.cc); ECMA-48 has the forms of control sequences and strings; XML 1.0 (production 2) the characters a
document may have.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from kmatrix.commands.guard import guarded
from kmatrix.decide.build_log import causes
from kmatrix.decide.report.junit import junit
from kmatrix.effects.disk.results import read_results, write_results
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.errors import BuildError, InputError, Problem
from kmatrix.values.text import plain, plain_line
from tests.unit.support.http_server import Reply, Request, web_server

COLOURED = "main.c:1:1: \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kno \x1b]8;;https://gcc.invalid/x\x1b\\name\x1b]8;;\x07"
WORDS = "main.c:1:1: error: no name"
FORBIDDEN = [
    *(chr(code) for code in range(0x20) if chr(code) not in "\t\n\r"),
    *(chr(code) for code in range(0x7F, 0xA0)),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff",
    "\ud800",
]


def bad(text: str) -> CellResult:
    return CellResult(
        cell="a",
        client="1.1.1",
        kernel="k",
        releases=(),
        verdict="failed",
        reason=f"build: {text}",
        findings=(Finding("build", "compile-error", text, text, text),),
        srcversion=text,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (COLOURED, WORDS),
        ("\x1b[2J\x1b[1;1Hx", "x"),
        ("\x9b31mred\x9b0m", "red"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x1b(B\x1bcafter", "after"),
        ("\x1b]0;a title without an end", "]0;a title without an end"),
        ("half \x1b[3", "half [3"),
        ("\ta\tb\nc\r\n", "\ta\tb\nc\n"),
        (" 50%\r100%\r", " 50%\n100%"),
        ("f\u202edliub\u202c", "fdliub"),
        ("grün 内核 \U0001f427", "grün 内核 \U0001f427"),
    ],
)
def test_sequences_go_and_words_stay(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert plain(plain(text)) == plain(text)


def test_one_line_is_one_line() -> None:
    assert plain_line("a\nb\r\n\nc\n") == "a b c"


@pytest.mark.parametrize("character", FORBIDDEN, ids=lambda character: f"U+{ord(character):04X}")
def test_results_are_xml_and_json_without_control_characters(tmp_path: Path, character: str) -> None:
    path = tmp_path / "results.json"
    write_results(path, "p", {"a": bad(f"x{character}\ty")}, ["a"])
    (case,) = ElementTree.parse(path.with_suffix(".xml")).getroot()
    assert (case[0].attrib["message"], case[0].text) == (
        "build: x\ty",
        "compile-error: x\ty (expected x\ty, found x\ty)",
    )
    assert read_results(path, "p")["a"].findings == (Finding("build", "compile-error", *["x\ty"] * 3),)


def test_the_results_of_an_older_version_are_made_plain_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, "p", {"a": bad("x")}, ["a"])
    content = json.loads(path.read_text())
    content["cells"][0]["reason"] = content["cells"][0]["findings"][0]["message"] = COLOURED
    path.write_text(json.dumps(content))
    (result,) = read_results(path, "p").values()
    assert (result.reason, result.findings[0].message) == (WORDS, WORDS)
    ElementTree.fromstring(junit("p", [result]))


def test_a_cause_is_found_through_colours_and_told_without() -> None:
    assert causes(["Step 1/2 : RUN make", COLOURED]) == (WORDS,)


def test_errors_are_plain_wherever_their_words_come_from() -> None:
    error = InputError(f"x: {COLOURED}", f"do \x1b[1m{WORDS}")
    assert (error.message, str(error), error.hint) == (f"x: {WORDS}", f"x: {WORDS}", f"do {WORDS}")
    assert BuildError("x", (COLOURED,)).excerpt == (WORDS,)


@pytest.mark.parametrize(
    "error",
    [InputError("x", "y", (Problem("a", COLOURED),)), ZeroDivisionError(COLOURED)],
    ids=lambda e: type(e).__name__,
)
def test_what_ends_a_command_is_shown_plain(error: Exception) -> None:
    out = io.StringIO()

    def work() -> int:
        raise error

    guarded(Console(file=out, width=400), work, "interrupted")
    assert WORDS in out.getvalue()
    assert not [each for each in FORBIDDEN if each in out.getvalue()]


def test_a_builder_s_lines_enter_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [{"stream": f"{COLOURED}\n 1%\r 2%\r\n"}, {"error": COLOURED}]
    stream = "".join(json.dumps(part) + "\r\n" for part in parts).encode()

    def answer(asked: Request) -> Reply:
        version = Reply(200, b'{"ApiVersion": "1.41", "MinAPIVersion": "1.12"}', {"Content-Type": "application/json"})
        return version if "version" in asked.path else Reply(200, stream, chunked=True)

    lines: list[str] = []
    with web_server(answer) as web:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{web.address}")
        with DockerEngine("test") as engine, pytest.raises(Exception, match=WORDS) as caught:
            engine.build(b"context", on_line=lines.append)
    assert lines == [WORDS, " 1%", " 2%", WORDS]
    assert "\x1b" not in str(caught.value)
