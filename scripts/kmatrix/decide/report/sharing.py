"""Decide which kernels of a client could share a module, and in which features their modules differ.

For the report alone: nothing is published by it (docs/publishing.md, Reuse across kernels).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.decide.report.grid import newest_first
from kmatrix.decide.reuse import sound_abi
from kmatrix.values.cells import CellResult

# Lists are shortened to so many kernels, classes, pairs and macros of each client.
MOST_KERNELS, MOST_CLASSES, MOST_PAIRS, MOST_MACROS = 4, 8, 12, 20


@dataclass(frozen=True)
class Some:
    """The newest of some cells, and how many others there are."""

    cells: tuple[CellResult, ...]
    more: int

    @property
    def total(self) -> int:
        """How many there are together."""
        return len(self.cells) + self.more


@dataclass(frozen=True)
class AbiClass:
    """Cells of one line whose modules need the same symbols with the same CRCs."""

    line: str
    abi: str
    cells: Some


@dataclass(frozen=True)
class Reuse:
    """A cell whose kernel would load the modules of other cells, which have another `abi`."""

    cell: CellResult
    others: Some


@dataclass(frozen=True)
class Macro:
    """A feature macro that some of a client's modules were compiled with, and others without."""

    name: str
    having: Some
    lacking: Some


@dataclass(frozen=True)
class ClientSharing:
    """What is known of the kernels of one client version.

    Attributes:
        client: its version.
        modules: how many modules are known.
        classes: those with most cells, of all its lines.
        class_count: how many there are.
        reuses: the newest cells whose kernels would load a module of another class.
        reuse_count: how many there are.
        macros: the differing ones, in alphabetical order.
        macro_count: how many there are.
        compared: how many modules' features are known.
    """

    client: str
    modules: int
    classes: tuple[AbiClass, ...]
    class_count: int
    reuses: tuple[Reuse, ...]
    reuse_count: int
    macros: tuple[Macro, ...]
    macro_count: int
    compared: int


def sharing(cells: Iterable[CellResult]) -> tuple[ClientSharing, ...]:
    """Return what is known of each client version, newest first."""
    by_client: dict[str, list[CellResult]] = defaultdict(list)
    for cell in cells:
        by_client[cell.client].append(cell)
    return tuple(
        _of_client(client, sorted(by_client[client], key=lambda cell: natural(cell.kernel), reverse=True))
        for client in newest_first(by_client)
    )


def _of_client(client: str, cells: Sequence[CellResult]) -> ClientSharing:
    groups: dict[tuple[str, str], list[CellResult]] = defaultdict(list)
    for cell in cells:
        if abi := sound_abi(cell.abi, cell.gates):
            groups[" ".join(part for part in (cell.stream, cell.arch, cell.flavour) if part), abi].append(cell)
    classes = [AbiClass(*key, _some(found)) for key, found in groups.items()]
    classes.sort(key=lambda each: -each.cells.total)
    reuses = _reuses(cells)
    macros, compared = _macros(cells)
    return ClientSharing(
        client=client,
        modules=sum(each.cells.total for each in classes),
        classes=tuple(classes[:MOST_CLASSES]),
        class_count=len(classes),
        reuses=tuple(reuses[:MOST_PAIRS]),
        reuse_count=len(reuses),
        macros=tuple(macros[:MOST_MACROS]),
        macro_count=len(macros),
        compared=compared,
    )


def _reuses(cells: Sequence[CellResult]) -> list[Reuse]:
    known = {cell.cell: cell for cell in cells}
    found = []
    for cell in cells:
        others = [known[name] for name in cell.reusable_from or () if name in known]
        # A module of the same class is in the list of classes already.
        others = [other for other in others if not cell.abi or other.abi != cell.abi]
        if others:
            found.append(Reuse(cell, _some(sorted(others, key=lambda other: natural(other.kernel), reverse=True))))
    return found


def _macros(cells: Sequence[CellResult]) -> tuple[list[Macro], int]:
    known = [(cell, frozenset(cell.features)) for cell in cells if cell.features is not None]
    if not known:
        return [], 0
    every = frozenset.union(*(macros for _, macros in known))
    common = frozenset.intersection(*(macros for _, macros in known))
    found = [
        Macro(
            name,
            _some([cell for cell, macros in known if name in macros]),
            _some([cell for cell, macros in known if name not in macros]),
        )
        for name in sorted(every - common)
    ]
    return found, len(known)


def _some(cells: Sequence[CellResult]) -> Some:
    return Some(tuple(cells[:MOST_KERNELS]), max(0, len(cells) - MOST_KERNELS))
