"""The matrix as people look at it: kernels in rows below their newest OpenShift minor, client versions in columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.decide.report.model import PENDING, PendingCell
from kmatrix.values.cells import CellResult
from kmatrix.values.names import ReleaseVersion

# In the order in which people need them.
VERDICTS = ("failed", "errored", PENDING, "passed", "skipped")
KnownCell = CellResult | PendingCell
USUAL_ARCH = "x86_64"
USUAL_FLAVOUR = "standard"


@dataclass(frozen=True)
class Row:
    """One kernel and its cells.

    Attributes:
        kernel: its release.
        releases: the OpenShift releases that it serves, newest first.
        minors: their minors, newest first.
        arch: of the kernel, as its flavour and stream.
        flavour: `standard`, `rt` or `64k`.
        stream: the RHEL major.
        cells: one for each client of the matrix; None where the plan has no such cell.
    """

    kernel: str
    releases: tuple[str, ...]
    minors: tuple[str, ...]
    arch: str
    flavour: str
    stream: str
    cells: tuple[KnownCell | None, ...]


@dataclass(frozen=True)
class Group:
    """The kernels whose newest release is of one minor, newest first; `minor` is empty if they serve no release."""

    minor: str
    rows: tuple[Row, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of cells of each verdict."""
        return count_verdicts(cell for row in self.rows for cell in row.cells if cell)


@dataclass(frozen=True)
class Grid:
    """The matrix: client versions and groups of kernels, both newest first."""

    clients: tuple[str, ...]
    groups: tuple[Group, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all groups."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def usual_stream(self) -> str:
        """The stream of most kernels, which rows need not name; of several, the oldest."""
        counts = Counter(row.stream for row in self.rows)
        return min(counts, key=lambda stream: (-counts[stream], natural(stream)), default="")


def make_grid(cells: Iterable[KnownCell]) -> Grid:
    """Arrange cells as a matrix."""
    by_kernel: dict[str, dict[str, KnownCell]] = {}
    for cell in cells:
        by_kernel.setdefault(cell.kernel, {})[cell.client] = cell
    clients = tuple(newest_first({client for found in by_kernel.values() for client in found}))
    rows = [_row(kernel, by_kernel[kernel], clients) for kernel in sorted(by_kernel, key=natural, reverse=True)]
    minors = newest_first({row.minors[0] for row in rows if row.minors})
    groups = [Group(minor, tuple(row for row in rows if row.minors[:1] == (minor,))) for minor in minors]
    if without := tuple(row for row in rows if not row.minors):
        groups.append(Group("", without))
    return Grid(clients, tuple(groups))


def newest_first(versions: Iterable[str]) -> list[str]:
    """Return different versions, newest first; text that is no version follows, in its own order."""
    parsed: list[tuple[ReleaseVersion, str]] = []
    others: list[str] = []
    for text in set(versions):
        try:
            # A minor is ordered as its first release.
            parsed.append((ReleaseVersion.parse(text if text.count(".") > 1 else f"{text}.0"), text))
        except ValueError:
            others.append(text)
    return [text for _, text in sorted(parsed, reverse=True)] + sorted(others, key=natural, reverse=True)


def minor_of(release: str) -> str:
    """Return the minor of an OpenShift release: 4.20.1 gives 4.20."""
    return ".".join(release.split(".")[:2])


def count_verdicts(cells: Iterable[KnownCell]) -> dict[str, int]:
    """Return the number of cells of each verdict, in the order of `VERDICTS`; one without a verdict is pending."""
    counts = Counter[str](cell.verdict for cell in cells)
    return {name: counts[name] for name in VERDICTS}


def choices(grid: Grid) -> dict[str, Sequence[str]]:
    """Return what the matrix can be filtered by, with the values that occur; a choice of one value is none."""
    rows = grid.rows
    found: dict[str, Sequence[str]] = {
        "minor": newest_first({minor for row in rows for minor in row.minors}),
        "client": grid.clients,
        "arch": sorted({row.arch for row in rows}, key=lambda arch: (arch != USUAL_ARCH, arch)),
        "flavour": sorted({row.flavour for row in rows}, key=lambda flavour: (flavour != USUAL_FLAVOUR, flavour)),
        "stream": sorted({row.stream for row in rows}, key=natural),
    }
    return {name: values for name, values in found.items() if len(values) > 1}


def _row(kernel: str, found: Mapping[str, KnownCell], clients: Sequence[str]) -> Row:
    releases = newest_first({release for cell in found.values() for release in cell.releases})
    any_cell = next(iter(found.values()))
    return Row(
        kernel=kernel,
        releases=tuple(releases),
        minors=tuple(dict.fromkeys(minor_of(release) for release in releases)),
        arch=any_cell.arch,
        flavour=any_cell.flavour,
        stream=any_cell.stream,
        cells=tuple(found.get(client) for client in clients),
    )
