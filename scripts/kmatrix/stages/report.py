"""Writes the report of a profile: collects what is known, and replaces the site of the report before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kmatrix.decide.report.document import read_document
from kmatrix.decide.report.meanings import codes_of
from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.paths import DOCUMENT, file_name
from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.disk.site import replace_site
from kmatrix.values.cells import CellResult
from kmatrix.values.text import plain, plain_line

# The logs of a cell, by the end of their name after its id; the first has those of build and gates.
_LOGS = (
    (".log", "build and gates"),
    (".serial.log", "console of the boot"),
    (".alone.serial.log", "console of the boot without mounts"),
    (".secure-boot.serial.log", "console under Secure Boot"),
)


@dataclass(frozen=True)
class Written:
    """A report that was written, and the folder of its site."""

    folder: Path
    report: Report


def write_report(root: Path, read: Callable[[], Report], say: Callable[[str], None]) -> Written:
    """Write a report to `build/report`.

    Args:
        root: the project's folder.
        read: returns the report, without the document of the previous one, which is read here. It is asked for when no
            other process writes the site: one that waits for another would have results of before the other's.
        say: prints a message about a previous report or a log that cannot be read.

    Raises:
        InputError: the folder cannot be written, or is not this program's; whatever `read` raises is raised too.
    """
    folder = root / "build" / "report"
    made: list[Report] = []

    def files() -> Iterator[tuple[str, str]]:
        report = read()
        made.append(report)
        meanings = _meanings(root / "docs" / "findings.md")
        previous = _previous(root, report.profile, say)
        complete = replace(report, meanings=meanings, codes=codes_of(meanings), previous=previous)
        yield from site_files(complete, lambda cell: _logs(root, report.profile, cell, say))

    replace_site(folder, files())
    return Written(folder, made[0])


def _previous(root: Path, profile: str, say: Callable[[str], None]) -> Mapping[str, object]:
    """Return the document of the profile's previous report, empty where there is none.

    The site that is about to be replaced may be another profile's: its document is kept for that one's next report. It
    is not kept in the site, which is published and must not tell of other profiles.
    """
    path = root / "build" / "report" / DOCUMENT
    found = _document(path, "", say)
    other = found.get("profile", profile)
    if other == profile:
        return found
    write_atomically(_kept(root, str(other)), json.dumps(found))
    return _document(_kept(root, profile), profile, say)


def _kept(root: Path, profile: str) -> Path:
    return root / "build" / "reports" / f"{file_name(profile)}.json"


def _document(path: Path, profile: str, say: Callable[[str], None]) -> Mapping[str, object]:
    try:
        return read_document(path.read_text(encoding="utf-8"), profile)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        say(f"warning: this report shows no changes: cannot compare it with {path}: {plain_line(str(error))}")
        return {}


def _meanings(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _logs(root: Path, profile: str, cell: CellResult, say: Callable[[str], None]) -> Sequence[LogText]:
    found = []
    for ending, title in _LOGS:
        path = root / "build" / "logs" / profile / f"{cell.cell}{ending}"
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            say(f"warning: the report lacks a log: cannot read {path}: {error.strerror}")
            continue
        found.append(LogText(path.name, title, tuple(plain(text).splitlines())))
    return found
