"""The stage that writes the report reads the logs that are there, and names one that cannot be read."""

from __future__ import annotations

from pathlib import Path

from kmatrix.stages.report import write_report
from tests.unit.support.made_up_report import NEWER, NEXT, small_report

UNREADABLE, READABLE = f"7.4.6-{NEXT}", f"8.3.1-{NEWER}"


def test_a_log_that_cannot_be_read_is_named_and_costs_no_other_log_and_no_page(tmp_path: Path) -> None:
    logs = tmp_path / "build" / "logs" / "ocp"
    # Nobody, root neither, can read a folder as a file.
    lost = logs / f"{UNREADABLE}.log"
    lost.mkdir(parents=True)
    for name in (f"{UNREADABLE}.serial.log", f"{READABLE}.log"):
        (logs / name).write_text("line\n", encoding="utf-8")
    said: list[str] = []
    folder = write_report(tmp_path, small_report, said.append).folder
    assert said == [f"warning: the report lacks a log: cannot read {lost}: Is a directory"]
    written = {path.name for path in (folder / "logs").iterdir()}
    read = (f"{UNREADABLE}.serial.log", f"{READABLE}.log")
    assert written == {f"{name}.{ending}" for name in read for ending in ("html", "txt")}
    assert (folder / "cells" / f"{UNREADABLE}.html").is_file()


def test_a_log_that_is_not_there_is_not_named(tmp_path: Path) -> None:
    said: list[str] = []
    folder = write_report(tmp_path, small_report, said.append).folder
    assert said == []
    assert not (folder / "logs").exists()


def test_bytes_of_a_log_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "build" / "logs" / "ocp" / f"{READABLE}.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"be\xfffore\nafter\n")
    said: list[str] = []
    folder = write_report(tmp_path, small_report, said.append).folder
    assert said == []
    shown = (folder / "logs" / f"{READABLE}.log.txt").read_text(encoding="utf-8")
    assert shown == "be\N{REPLACEMENT CHARACTER}fore\nafter\n"
