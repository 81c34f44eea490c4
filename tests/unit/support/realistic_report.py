"""A report of a made-up matrix as a vendor's may look: OpenShift 4.16 to 4.20, four clients, some cells with faults."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.decide.report.model import LogText, Report
from kmatrix.values.cells import CellResult, Finding, Verdict
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.made_up_report import COMPILER_LINE, GATES, cell, logs_of, small_report

CLIENTS = ("7.4.6", "8.1", "8.2.2", "8.3.1")
KERNELS = (
    ("5.14.0-427.72.1.el9_4.x86_64", ("4.16.42", "4.17.34")),
    ("5.14.0-427.87.1.el9_4.x86_64", ("4.16.47", "4.17.38", "4.18.22")),
    ("5.14.0-427.97.1.el9_4.x86_64", ("4.16.50", "4.17.41", "4.18.26")),
    ("5.14.0-427.97.1.el9_4.x86_64+rt", ("4.16.50", "4.17.41", "4.18.26")),
    ("5.14.0-570.39.1.el9_6.x86_64", ("4.19.9", "4.19.10")),
    ("5.14.0-570.49.1.el9_6.x86_64", ("4.19.14", "4.19.15", "4.19.16", "4.20.0")),
    ("5.14.0-570.58.1.el9_6.x86_64", ("4.19.18", "4.20.2")),
    ("5.14.0-570.58.1.el9_6.x86_64+rt", ("4.19.18", "4.20.2")),
    ("5.14.0-570.58.1.el9_6.aarch64+64k", ("4.20.2",)),
    ("6.12.0-55.41.1.el10_0.x86_64", ("4.20.2",)),
)
NEWEST = KERNELS[-1][0]
REFUSED = ("8.2.2", KERNELS[7][0])
UNPUBLISHED = {("7.4.6", NEWEST), ("8.1", NEWEST), REFUSED, ("8.3.1", KERNELS[8][0])}


def _cells() -> tuple[CellResult, ...]:
    found = []
    for at, client in enumerate(CLIENTS):
        for number, (kernel, releases) in enumerate(KERNELS):
            count = 100 * at + number
            verdict: Verdict = "passed" if "4.20.2" in releases else "skipped"
            made = cell(client, kernel, verdict, releases=releases, number=count)
            if verdict == "skipped":
                made = replace(made, reason="already published, built from the same inputs")
            if client in ("7.4.6", "8.1") and kernel == NEWEST:
                made = _failed(client, kernel, releases, "build", "compile-error", COMPILER_LINE)
            elif (client, kernel) == REFUSED:
                words = "BUG: sleeping function called from invalid context"
                made = _failed(client, kernel, releases, "boot", "oops", words)
            elif client == "8.3.1" and "aarch64" in kernel:
                reason = "the guest ended without a report after 600 seconds"
                made = cell(client, kernel, "errored", reason, releases)
            found.append(made)
    return tuple(found)


def _failed(client: str, kernel: str, releases: tuple[str, ...], gate: str, code: str, words: str) -> CellResult:
    made = cell(client, kernel, "failed", f"{gate}: {words}", releases)
    booted = gate == "boot"
    return replace(
        made,
        findings=(Finding(gate, code, words, "no such line" if booted else "", words if booted else ""),),
        next_step="Leave the kernel out of this client's line, or wait for a client that knows it.",
        gates={"static": "passed", "boot": "failed"} if booted else {},
        stages={"prepare": 1.5, "build": 46.5, "static": 0.75, "boot": 14.25}
        if booted
        else {"prepare": 1.5, "build": 9.5},
        log=f"build/logs/ocp/{made.cell}.log",
        serial=f"build/logs/ocp/{made.cell}.serial.log" if booted else "",
    )


def _releases() -> tuple[ReleaseResult, ...]:
    served: dict[tuple[str, str], list[str]] = {}
    for kernel, versions in KERNELS:
        for version in versions:
            served.setdefault((version, "aarch64" if "aarch64" in kernel else "x86_64"), []).append(kernel)
    found = []
    for number, ((version, arch), kernels) in enumerate(
        sorted(served.items(), key=lambda each: [int(part) for part in each[0][0].split(".")])
    ):
        day = f"2026-{1 + number // 3:02}-{5 + number:02}"
        lacking = any((client, kernel) in UNPUBLISHED for client in CLIENTS for kernel in kernels)
        found.append(
            ReleaseResult(
                *(version, arch, "incomplete" if lacking else "published"),
                tuple(sorted({"el10" if ".el10" in kernel else "el9" for kernel in kernels})),
                tuple(kernels),
                unseen=f"{day}T06:00:00Z",
                found=f"{day}T07:00:00Z",
                published="" if lacking else f"{day}T08:{10 + number}:00Z",
                minutes_from_appearance=None if lacking else 130.0 + number,
                minutes_from_discovery=None if lacking else 70.0 + number,
            )
        )
    lost = Finding("release", "release-unresolved", "its payload cannot be read: manifest unknown")
    return (*found, ReleaseResult("4.20.3", "x86_64", "unresolved", findings=(lost,), found="2026-11-21T09:00:00Z"))


def realistic_report() -> Report:
    """Return the report."""
    return replace(small_report(), gates=GATES, cells=_cells(), releases=_releases())


def realistic_logs(result: CellResult) -> tuple[LogText, ...]:
    """Return the logs of a cell of it."""
    return logs_of(result)
