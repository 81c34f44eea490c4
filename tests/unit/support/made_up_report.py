"""Reports of made-up results: a small one with every verdict, and one as large as a matrix may become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kmatrix.decide.report.meanings import codes_of
from kmatrix.decide.report.model import LogText, PendingCell, Report
from kmatrix.values.cells import CellResult, Finding, Verdict
from kmatrix.values.release_result import ReleaseResult

MEANINGS = (Path(__file__).parents[3] / "docs" / "findings.md").read_text(encoding="utf-8")
GATES = ("static", "boot", "mount")
TARGET = "quay.example/storage/beegfs-client"
COMPILER_LINE = (
    "/build/source/filesystem/FhgfsOpsInode.c:713:12: error: too few arguments to function 'generic_fillattr'"
)
NEWER = "5.14.0-570.12.1.el9_6.x86_64"
OLDER = "5.14.0-427.50.1.el9_4.x86_64"
REAL_TIME = "5.14.0-570.12.1.el9_6.x86_64+rt"
ARM = "5.14.0-570.12.1.el9_6.aarch64+64k"
NEXT = "6.12.0-55.9.1.el10_0.x86_64"


def digest_of(number: int) -> str:
    """Return a digest that differs for each number."""
    return f"sha256:{number:064x}"


def cell(
    client: str,
    kernel: str,
    verdict: Verdict = "passed",
    reason: str = "every check passed; loaded, unloaded and loaded again",
    releases: tuple[str, ...] = ("4.19.1",),
    number: int = 1,
) -> CellResult:
    """Return the result of a cell; one that passed or was skipped is published."""
    published = verdict in ("passed", "skipped")
    return CellResult(
        cell=f"{client}-{kernel}",
        client=client,
        kernel=kernel,
        releases=releases,
        verdict=verdict,
        reason=reason,
        image=f"{TARGET}:{client}-{kernel}".replace("+", "_") if published else "",
        digest=digest_of(number) if published else "",
        stages={"prepare": 1.5, "build": 48.25, "static": 0.75, "boot": 9.5} if verdict != "skipped" else {},
        gates=dict.fromkeys(GATES, "passed") if published else {},
        gates_at=dict.fromkeys(GATES, "2026-11-20T10:00:00Z") if published else {},
        at="2026-11-20T10:05:00Z",
        seen="2026-11-20T10:05:00Z",
        pushed="2026-11-20T10:04:00Z" if published else "",
        arch="aarch64" if "aarch64" in kernel else "x86_64",
        flavour="64k" if kernel.endswith("+64k") else "rt" if kernel.endswith("+rt") else "standard",
        stream="el10" if ".el10" in kernel else "el9",
        srcversion="06036CE0644EDC369BE7E26" if published else "",
        features=("KERNEL_HAS_IDMAPPED_MOUNTS", "KERNEL_HAS_NEW_IOV") if published else None,
        abi="4561fcdf55b43b1d" if published else "",
        reusable_from=() if published else None,
    )


def small_cells() -> tuple[CellResult, ...]:
    """Return cells of two clients and five kernels, with every verdict."""
    failed = replace(
        cell("7.4.6", NEXT, "failed", f"build: {COMPILER_LINE}", ("4.20.0",)),
        findings=(Finding("build", "compile-error", COMPILER_LINE),),
        next_step="Leave the kernel out, or wait for a client that knows it.",
        log=f"build/logs/ocp/7.4.6-{NEXT}.log",
        stages={"prepare": 1.5, "build": 12.5},
    )
    oops = replace(
        cell("8.3.1", REAL_TIME, "failed", "boot: oops: BUG: unable to handle page fault", ("4.19.1",)),
        findings=(Finding("boot", "oops", "BUG: unable to handle page fault", "no oops", "an oops at load-1"),),
        gates={"static": "passed", "boot": "failed"},
        log=f"build/logs/ocp/8.3.1-{REAL_TIME}.log",
        serial=f"build/logs/ocp/8.3.1-{REAL_TIME}.serial.log",
    )
    errored = replace(
        cell("8.3.1", ARM, "errored", "the container engine is unreachable", ("4.19.1",)),
        next_step="Start it, and run the command again.",
    )
    return (
        cell("7.4.6", OLDER, releases=("4.16.30", "4.16.31"), number=1),
        cell("7.4.6", NEWER, "skipped", "already published, built from the same inputs", number=2),
        cell("7.4.6", REAL_TIME, number=3),
        failed,
        cell("8.3.1", OLDER, releases=("4.16.30", "4.16.31"), number=4),
        replace(
            cell("8.3.1", NEWER, number=5),
            warnings=(Finding("features", "feature-lost", "KERNEL_HAS_X is off here and on in 4.18"),),
            reusable_from=(f"8.3.1-{OLDER}",),
            labels={
                "org.opencontainers.image.revision": "2dab2d82db55348666bf79933189094d58c1603b",
                "org.opencontainers.image.title": f"BeeGFS client 8.3.1 for kernel {NEWER}",
            },
            depends=("ib_core", "rdma_cm"),
            symbols=612,
            namespaces=(),
            signed=True,
            attestations=("test result", "provenance", "SBOM"),
        ),
        oops,
        errored,
        cell("8.3.1", NEXT, releases=("4.20.0",), number=6),
    )


def releases() -> tuple[ReleaseResult, ...]:
    """Return releases of every state, with times of some."""
    return (
        ReleaseResult("4.16.30", "x86_64", "published", ("el9",), (OLDER,), published="2026-10-02T08:00:00Z"),
        ReleaseResult(
            *("4.16.31", "x86_64", "published", ("el9",), (OLDER,)),
            unseen="2026-10-20T08:00:00Z",
            found="2026-10-20T10:00:00Z",
            published="2026-10-20T10:45:00Z",
            minutes_from_appearance=165.0,
            minutes_from_discovery=45.0,
        ),
        ReleaseResult("4.19.1", "x86_64", "incomplete", ("el9",), (NEWER, REAL_TIME), found="2026-11-20T09:00:00Z"),
        ReleaseResult("4.19.1", "aarch64", "incomplete", ("el9",), (ARM,), found="2026-11-20T09:00:00Z"),
        ReleaseResult("4.20.0", "x86_64", "incomplete", ("el10",), (NEXT,)),
        ReleaseResult(
            *("4.20.1", "x86_64", "unresolved"),
            findings=(Finding("release", "release-unresolved", "its payload cannot be read: no such manifest"),),
            found="2026-11-21T09:00:00Z",
        ),
    )


def pending_cell(client: str, kernel: str, releases: tuple[str, ...] = ("4.19.1",)) -> PendingCell:
    """Return a planned cell without a verdict."""
    made = cell(client, kernel, releases=releases)
    return PendingCell(made.cell, client, kernel, releases, made.arch, made.flavour, made.stream)


def small_report() -> Report:
    """Return a report of `small_cells` and `releases`."""
    return Report(
        profile="ocp",
        target=TARGET,
        made="2026-11-21T12:00:00Z",
        version="1.0.0",
        gates=GATES,
        cells=small_cells(),
        releases=releases(),
        pending=(),
        public_keys=("keys/images.pub",),
        codes=codes_of(MEANINGS),
        meanings=MEANINGS,
    )


def logs_of(result: CellResult) -> tuple[LogText, ...]:
    """Return the logs of a made-up cell: of one that did not compile, with the compiler's line among others."""
    if not result.log:
        return ()
    before = tuple(f"  CC [M]  source/File{number}.o" for number in range(200))
    after = ("make[3]: *** [scripts/Makefile.build:243: source] Error 1", f"kmatrix: {result.verdict}: {result.reason}")
    lines = (*before, *(finding.message for finding in result.findings), *after)
    found = [LogText(f"{result.cell}.log", "build and gates", lines)]
    if result.serial:
        console = (
            *("@kmatrix init", "@kmatrix step load-1", "[    5.100000] beegfs: loading out-of-tree module"),
            *(f"[    5.200000] {finding.message}" for finding in result.findings),
        )
        found.append(LogText(f"{result.cell}.serial.log", "console of the boot", console))
    return tuple(found)


def large_report(clients: int = 40, kernels: int = 250) -> Report:
    """Return a report as large as a matrix may become; one cell in thirty failed, and one in fifty is errored."""
    cells: list[CellResult] = []
    found: list[ReleaseResult] = []
    names = []
    for number in range(kernels):
        minor, build = 12 + number // 30, 100 + number * 3
        suffix = "+rt" if number % 5 == 4 else ""
        name = f"5.14.0-{build}.{number % 60}.1.el9_{minor % 8}.x86_64{suffix}"
        serves = tuple(f"4.{minor}.{number % 30 + each}" for each in range(1 + number % 3))
        names.append((name, serves))
        found += [ReleaseResult(each, "x86_64", "published", ("el9",), (name,)) for each in serves[:1]]
    for client in range(clients):
        version = f"{7 + client // 20}.{client % 20 // 5}.{client % 5}"
        for number, (name, serves) in enumerate(names):
            count = client * kernels + number
            verdict: Verdict = "failed" if count % 30 == 7 else "errored" if count % 50 == 9 else "skipped"
            reason = "already published, built from the same inputs"
            if verdict == "failed":
                reason = f"build: {COMPILER_LINE}"
            elif verdict == "errored":
                reason = "the container engine is unreachable"
            cells.append(cell(version, name, verdict, reason, serves, count))
    return replace(small_report(), cells=tuple(cells), releases=tuple(found))
