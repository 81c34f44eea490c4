"""What a release manager asks first: is the newest release covered, what is broken, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kmatrix.decide.report.grid import KnownCell, count_verdicts, make_grid, newest_first
from kmatrix.values.cells import CellResult
from kmatrix.values.release_result import ReleaseResult

_GOOD = ("passed", "skipped")
_BROKEN = ("failed", "errored")


@dataclass(frozen=True)
class ClientCoverage:
    """How many of a release's kernels one client version covers; `worst` is the verdict of the worst of its cells."""

    client: str
    good: int
    kernels: int
    worst: str


@dataclass(frozen=True)
class Coverage:
    """A release and its cells.

    Attributes:
        release: the release on one architecture.
        clients: of its cells, newest first.
        counts: the number of its cells of each verdict; those without one are pending.
        good: the number of its cells that are covered, see `is_covered`.
        unpushed: how many of these are not in the registry.
    """

    release: ReleaseResult
    clients: tuple[ClientCoverage, ...]
    counts: Mapping[str, int]
    good: int
    unpushed: int

    @property
    def cells(self) -> int:
        """The number of its cells."""
        return sum(self.counts.values())

    @property
    def not_fully_tested(self) -> int:
        """The number of its cells that passed, or are published, without some gate of the profile."""
        return sum(self.counts[name] for name in _GOOD) - self.good

    @property
    def lacking(self) -> tuple[ClientCoverage, ...]:
        """The clients that do not cover one of its kernels."""
        return tuple(each for each in self.clients if each.good < each.kernels)


@dataclass(frozen=True)
class NewestRelease:
    """The newest release of an architecture, and the newest that has cells, which may be an older one or none."""

    newest: Coverage
    with_cells: Coverage | None


@dataclass(frozen=True)
class Trouble:
    """Cells that have one verdict for one reason, newest kernels first."""

    verdict: str
    reason: str
    cells: tuple[CellResult, ...]

    @property
    def size(self) -> int:
        """The number of its cells."""
        return len(self.cells)


def is_covered(cell: KnownCell, gates: Iterable[str]) -> bool:
    """Return whether a cell has an image that passed every gate of its profile; a run may leave gates out."""
    return (
        isinstance(cell, CellResult)
        and cell.verdict in _GOOD
        and all(cell.gates.get(name) == "passed" for name in gates)
    )


def newest_releases(
    releases: Sequence[ReleaseResult], cells: Sequence[KnownCell], gates: Sequence[str]
) -> tuple[NewestRelease, ...]:
    """Return the newest release of each architecture; the architecture with the newest release comes first.

    Args:
        releases: of the profile.
        cells: of the profile, also those that are not built yet.
        gates: the names of the profile's gates.
    """
    found = []
    order = {version: place for place, version in enumerate(newest_first(each.version for each in releases))}
    for arch in {each.arch for each in releases}:
        own = sorted((each for each in releases if each.arch == arch), key=lambda each: order[each.version])
        newest = coverage(own[0], cells, gates)
        with_cells = next((known for each in own if (known := coverage(each, cells, gates)).cells), None)
        found.append(NewestRelease(newest, with_cells))
    found.sort(key=lambda each: (order[each.newest.release.version], each.newest.release.arch != "x86_64"))
    return tuple(found)


def coverage(release: ReleaseResult, cells: Iterable[KnownCell], gates: Sequence[str]) -> Coverage:
    """Return how far the cells of a release are, by the names of the profile's gates."""
    own = [cell for cell in cells if release.version in cell.releases and cell.arch == release.arch]
    by_client: dict[str, list[KnownCell]] = {}
    for cell in own:
        by_client.setdefault(cell.client, []).append(cell)
    clients = tuple(_client(client, by_client[client], gates) for client in newest_first(by_client))
    good = [cell for cell in own if isinstance(cell, CellResult) and is_covered(cell, gates)]
    unpushed = sum(1 for cell in good if cell.verdict == "passed" and not cell.digest)
    return Coverage(release, clients, count_verdicts(own), len(good), unpushed)


def troubles(cells: Iterable[CellResult]) -> tuple[Trouble, ...]:
    """Return the failed cells, then the errored ones, those with one reason together; the most frequent come first."""
    found: dict[tuple[str, str], list[CellResult]] = {}
    for row in make_grid(cells).rows:
        for cell in row.cells:
            if isinstance(cell, CellResult) and cell.verdict in _BROKEN:
                found.setdefault((cell.verdict, cell.reason), []).append(cell)
    listed = [Trouble(verdict, reason, tuple(own)) for (verdict, reason), own in found.items()]
    return tuple(sorted(listed, key=lambda each: (_BROKEN.index(each.verdict), -len(each.cells))))


def unresolved(releases: Iterable[ReleaseResult]) -> tuple[ReleaseResult, ...]:
    """Return the releases whose kernels are not known or not in their toolkit, newest first."""
    found = [each for each in releases if each.state in ("unresolved", "mismatch")]
    order = newest_first(each.version for each in found)
    return tuple(sorted(found, key=lambda each: (order.index(each.version), each.arch != "x86_64", each.arch)))


def _client(client: str, cells: Sequence[KnownCell], gates: Sequence[str]) -> ClientCoverage:
    worst = next(name for name, number in count_verdicts(cells).items() if number)
    return ClientCoverage(client, sum(is_covered(cell, gates) for cell in cells), len(cells), worst)
