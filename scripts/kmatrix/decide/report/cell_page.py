"""The page of a cell: its verdict, gates, findings, the deciding lines of its logs, and the facts about its image."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.decide.repeat import is_of_release, needs_force
from kmatrix.decide.report.deciding import Place
from kmatrix.decide.report.log_page import shorten
from kmatrix.decide.report.meanings import Meaning, meanings
from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.neighbours import Neighbours
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import FINDINGS, cell_path, log_path, raw_log_path
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.gate_record import GATE_NAMES
from kmatrix.values.names import ImageRef

# What each gate judges, as docs/gates.md says.
JUDGES: Mapping[str, str] = {
    "static": "the image's files, by the rules of the kernel's module loader",
    "boot": "whether the module loads and unloads in this very kernel",
    "mount": "whether its file system can be mounted and unmounted there",
    "secure-boot": "whether the signed module loads and mounts under Secure Boot",
}
_MOST_KERNEL_LINES = 400


@dataclass(frozen=True)
class _Gate:
    name: str
    judges: str
    verdict: str
    at: str


@dataclass(frozen=True)
class _Group:
    """Findings of one code, and what it means."""

    code: str
    check: str
    meaning: Meaning | None
    findings: Sequence[Finding]


@dataclass(frozen=True)
class _Stage:
    name: str
    seconds: float
    share: float
    slowest: bool


@dataclass(frozen=True)
class _Log:
    name: str
    title: str
    lines: int
    path: str
    raw: str


@dataclass(frozen=True)
class _KernelLog:
    title: str
    text: str
    left_out: int
    path: str


@dataclass(frozen=True)
class _Excerpt:
    """A place in a log; of each line its number, its text, how much of that is cut off, and whether it decided."""

    title: str
    first: int
    last: int
    path: str
    lines: Sequence[tuple[int, str, int, bool]]


def cell_page(
    report: Report,
    cell: CellResult,
    logs: Sequence[LogText],
    places: Sequence[Place] = (),
    around: Neighbours | None = None,
) -> str:
    """Return the page.

    Args:
        report: that it is a page of.
        cell: the cell's result.
        logs: those of its logs that are there.
        places: the lines of its logs that decided its verdict.
        around: the cells beside it.
    """
    where, why = _reason(cell)
    known = meanings(report.meanings, f"../{FINDINGS}") if cell.findings or cell.warnings else {}
    return page(
        report,
        "cell.html.j2",
        cell_path(cell.cell),
        cell=cell,
        where=where,
        why=why,
        # Commands stand in backquotes.
        next_step=cell.next_step.split("`") if cell.next_step else [],
        gates=_gates(report, cell),
        findings=_groups(cell.findings, known),
        warnings=_groups(cell.warnings, known),
        excerpts=[_excerpt(place) for place in places],
        stages=_stages(cell),
        logs=[
            _Log(each.name, each.title, len(each.lines), log_path(each.name), raw_log_path(each.name)) for each in logs
        ],
        kernel_logs=[*_kernel_logs(logs)],
        commands=_commands(report, cell),
        pulls=_pulls(cell),
        checks=_checks(report, cell),
        around=around or Neighbours(),
        cell_path=cell_path,
        known_cells={each.cell for each in report.cells} if cell.reusable_from else frozenset(),
    )


def _reason(cell: CellResult) -> tuple[str, str]:
    """Return the step or gate that the reason begins with, if any, and the rest of it."""
    first, colon, rest = cell.reason.partition(": ")
    return (first, rest) if colon and first in ("build", *GATE_NAMES) else ("", cell.reason)


def _gates(report: Report, cell: CellResult) -> Sequence[_Gate]:
    """Return the profile's gates in their order, then others that the image passed."""
    names = dict.fromkeys((*report.gates, *cell.gates))
    return [_Gate(name, JUDGES.get(name, ""), cell.gates.get(name, ""), cell.gates_at.get(name, "")) for name in names]


def _groups(findings: Sequence[Finding], known: Mapping[str, Meaning]) -> Sequence[_Group]:
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        found.setdefault((finding.code, finding.check), []).append(finding)
    return [_Group(code, check, known.get(code), group) for (code, check), group in found.items()]


def _excerpt(place: Place) -> _Excerpt:
    lines = [(number, *shorten(text), decides) for number, text, decides in place.numbered]
    return _Excerpt(place.title, place.first, place.last, log_path(place.log), lines)


def _stages(cell: CellResult) -> Sequence[_Stage]:
    most = max(cell.stages.values(), default=0.0)
    slowest = next((name for name, seconds in cell.stages.items() if seconds == most), "")
    return [
        _Stage(name, seconds, 100 * seconds / most if most > 0 else 0, name == slowest and len(cell.stages) > 1)
        for name, seconds in cell.stages.items()
    ]


def _kernel_logs(logs: Sequence[LogText]) -> Iterator[_KernelLog]:
    """Yield the kernel's log of every boot; of a guest that did not report it, the kernel's lines on the console."""
    for log in logs:
        if not log.name.endswith(".serial.log"):
            continue
        transcript = read_transcript(log.lines)
        section = transcript.sections.get("log")
        lines = section.lines if section and section.lines else transcript.console
        if lines:
            shown = [_shortened(line) for line in lines[-_MOST_KERNEL_LINES:]]
            yield _KernelLog(log.title, "\n".join(shown), len(lines) - len(shown), log_path(log.name))


def _shortened(line: str) -> str:
    text, cut = shorten(line)
    return f"{text} … {cut:,} more characters" if cut else text


def _commands(report: Report, cell: CellResult) -> Sequence[tuple[str, str]]:
    """Return commands that act on exactly this cell, each with what it does; none for one whose release is open."""
    if is_of_release(cell):
        # No run selects it.
        return []
    force = ("--force",) if needs_force(cell) else ()
    name = "Build it again" if force and cell.verdict != "failed" else "Repeat this cell"
    found = [(name, report.command("build", *force, "--only", cell.cell))]
    if cell.digest:
        found.append(("Run the gates again on the published image", report.command("verify", "--only", cell.cell)))
        found.append(("Boot it with a prompt in the guest", report.command("boot", cell.cell, "--shell")))
    return found


def _reference(cell: CellResult) -> str:
    """Return the image by its digest; empty if it is not published, or its name has another form."""
    try:
        return f"{ImageRef.parse(f'{cell.image}@{cell.digest}').repository}@{cell.digest}" if cell.digest else ""
    except ValueError:
        return ""


def _pulls(cell: CellResult) -> Sequence[str]:
    reference = _reference(cell)
    return [shlex.join([engine, "pull", reference]) for engine in ("podman", "docker")] if reference else []


def _checks(report: Report, cell: CellResult) -> Sequence[str]:
    """Return the commands that verify the image's signature and attestations (docs/verification.md)."""
    reference = _reference(cell)
    if not reference or not report.public_keys:
        return []
    keys = [part for key in report.public_keys for part in ("--key", key)]
    cosign = ["cosign", "verify", *keys[:2], "--insecure-ignore-tlog", reference]
    return [report.command("verify", "--remote", reference), shlex.join(cosign)]
