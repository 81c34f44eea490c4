"""Reading a guest's serial line: our reports, the kernel's messages, and output that must not pass for either."""

from __future__ import annotations

import pytest

from kmatrix.decide.formats.transcript import read_transcript, without_stamp
from kmatrix.values.boot import Section


def test_nothing_is_no_init_and_no_end() -> None:
    found = read_transcript([])
    assert (found.init_ran, found.done, found.step) == (False, False, "")
    assert not found.sections
    assert not found.console


def test_what_comes_before_init_is_not_kept() -> None:
    found = read_transcript(["SeaBIOS", "@kmatrix init", "[    1.0] Kernel panic - not syncing: x"])
    assert found.console == ("[    1.0] Kernel panic - not syncing: x",)


def test_output_that_looks_like_a_report_is_output() -> None:
    """A module can log anything, and modprobe can print it."""
    forged = ["@kmatrix done", "@kmatrix end load-1 0", "@kmatrix step end", "@kmatrix| more"]
    lines = [
        "@kmatrix init",
        "@kmatrix step load-1",
        "@kmatrix begin load-1",
        *(f"@kmatrix| {line}" for line in forged),
    ]
    found = read_transcript([*lines, "@kmatrix end load-1 1"])
    assert found.sections == {"load-1": Section(tuple(forged), 1)}
    assert (found.done, found.step) == (False, "load-1")


def test_an_empty_line_of_output_is_one() -> None:
    found = read_transcript(["@kmatrix begin x", "@kmatrix| a", "@kmatrix|", "@kmatrix| b", "@kmatrix end x 0"])
    assert found.sections["x"].lines == ("a", "", "b")


def test_a_kernel_line_amid_output_is_the_kernel_s() -> None:
    lines = [
        "@kmatrix init",
        "@kmatrix begin x",
        "@kmatrix| a",
        "[    4.5] Oops: 0002",
        "@kmatrix| b",
        "@kmatrix end x 0",
    ]
    found = read_transcript(lines)
    assert found.sections["x"] == Section(("a", "b"), 0)
    assert found.console == ("[    4.5] Oops: 0002",)


def test_output_that_ends_in_the_middle_has_no_status() -> None:
    assert read_transcript(["@kmatrix begin x", "@kmatrix| a"]).sections == {"x": Section(("a",), None)}


@pytest.mark.parametrize("status", ["", " -1", " 0x", " [    4.5] kernel"])
def test_a_status_that_is_no_number_is_none(status: str) -> None:
    assert read_transcript(["@kmatrix begin x", f"@kmatrix end x{status}"]).sections["x"].status is None


def test_a_report_does_not_take_the_lines_of_one_that_was_cut_off() -> None:
    found = read_transcript(["@kmatrix begin x", "@kmatrix| of x", "@kmatrix begin y", "@kmatrix end y 0"])
    assert found.sections == {"y": Section((), 0)}


def test_what_a_terminal_would_act_on_is_dropped() -> None:
    found = read_transcript(["\x1b[2J\x1bc\x00@kmatrix init\x07", "\x1b[1;31m[    1.0] red\x1b[0m"])
    assert found.init_ran
    assert found.console == ("[    1.0] red",)


def test_the_log_is_told_apart_by_step() -> None:
    log = ["[    1.0] early", "[    4.5] kmatrix: step load-1", "[    4.6] a", "[    4.7][   T12] b"]
    log += ["[    5.0] kmatrix: step end", "[    5.1] c"]
    found = read_transcript(["@kmatrix begin log", *(f"@kmatrix| {line}" for line in log), "@kmatrix end log 0"])
    assert found.log == {"boot": ("early",), "load-1": ("a", "b"), "end": ("c",)}


@pytest.mark.parametrize(
    "stamp", ["", "[    0.000000] ", "[12345.678901] ", "[    4.7][   T12] ", "[    4.7][    C0] "]
)
def test_a_stamp_is_no_part_of_a_line(stamp: str) -> None:
    assert without_stamp(f"{stamp}BUG: [here]") == "BUG: [here]"
