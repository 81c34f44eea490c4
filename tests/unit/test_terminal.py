"""The real command line in a terminal: a table in place while cells run, and a clean screen after that."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from pathlib import Path

import pytest

from tests.unit.support import commanded_site
from tests.unit.support.commanded_site import BUILD, FAR, Site, make_site
from tests.unit.support.screen import Screen


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def seen(site: Site, columns: int, *options: str, held: str = "", **variables: str) -> tuple[str, Screen]:
    """Run three cells (one fails, one is held until `held` is printed) in a terminal; return its output and screen."""
    without = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM", "GITHUB_ACTIONS")
    known = {name: value for name, value in commanded_site.ENVIRONMENT.items() if name not in without}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = site.command("ends fails held", *BUILD, *options)
    environment = {**known, "TERM": "xterm-256color", **variables}
    said = ""
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        try:
            while more := read(ours):
                said += more
                if held and held in said:
                    site.go()
                    held = ""
            assert run.wait(FAR) == 1, said
        finally:
            run.kill()
            os.close(ours)
    assert held == "", said
    return said, Screen(columns).write(said)


def read(terminal: int) -> str:
    """Return what a program prints next; empty once it is gone."""
    try:
        return os.read(terminal, 65536).decode()
    except OSError:
        return ""


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_run_in_a_terminal_shows_a_table_in_place_and_leaves_a_clean_screen(site: Site, columns: int) -> None:
    said, screen = seen(site, columns, held="2/3 cells")
    assert "\x1b[?25l" in said, "a table in place hides the cursor"
    assert screen.cursor
    assert not [line for line in screen.lines if "/3 cells" in line]
    # The terminal folds long lines.
    whole = "".join(line.ljust(columns) for line in screen.lines)
    assert len(re.findall(r"\[\d/3\] \S+ failed", whole)) == 1
    assert "compile-error: no such field" in whole
    assert "Log: build/logs/site/7.4.6-" in whole
    assert "Repeat this cell: `nox -s build -- " in whole
    assert "2 passed, 1 failed" in screen.lines
    # Without a table in place, each entered stage is a line.
    assert not [line for line in screen.lines if line.endswith(": build")]


def test_a_terminal_without_colours_gets_none(site: Site) -> None:
    said, _ = seen(site, 80, held="2/3 cells", NO_COLOR="1")
    assert "\x1b[31m" not in said
    assert "\x1b[31m" in seen(site, 80, held="2/3 cells")[0], "the negative control"


def test_a_dumb_terminal_gets_lines(site: Site) -> None:
    said, screen = seen(site, 80, held="[2/3]", TERM="dumb")
    assert "\x1b" not in said
    assert sum(line.endswith(": build") for line in screen.lines) == 3


def test_a_quiet_run_prints_its_failures_its_warnings_and_the_counts(site: Site) -> None:
    # Nothing that is printed shows when the held cell may pass; this waits until it is held.
    threading.Thread(target=site.go, daemon=True).start()
    said, screen = seen(site, 120, "--quiet")
    assert "\x1b[?25l" not in said
    # There is no registry; no gate has run.
    at = next(at for at, line in enumerate(screen.lines) if line.startswith("cell "))
    assert screen.lines[0].startswith("note: cells are not compared with the modules of all published ones: ")
    assert screen.lines[at + 1].split()[1] == "failed"
    counts = screen.lines.index("2 passed, 1 failed")
    assert screen.lines[counts + 1].startswith("warning: --no-boot: ")
    assert not [line for line in screen.lines[:counts] if " passed" in line or "builds:" in line]


def test_a_verbose_run_prints_the_output_of_programs_above_the_table(site: Site) -> None:
    _, screen = seen(site, 120, "--verbose", held="2/3 cells")
    built = [line.partition(" | ") for line in screen.lines if line.endswith(" is built")]
    assert len(built) == 3
    assert all(text == f"{cell} is built" for cell, _, text in built)
    assert not [line for line in screen.lines if "/3 cells" in line]
