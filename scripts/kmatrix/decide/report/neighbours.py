"""The cells beside each cell in the matrix: of the same client, and of the same kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmatrix.values.cells import CellResult


@dataclass(frozen=True)
class Neighbours:
    """The cells before and after a cell, in the order of the report; None at either end."""

    previous_kernel: CellResult | None = None
    next_kernel: CellResult | None = None
    previous_client: CellResult | None = None
    next_client: CellResult | None = None


def neighbours(cells: Sequence[CellResult]) -> Mapping[str, Neighbours]:
    """Return the neighbours of every cell, by its id."""
    of_client: dict[str, list[CellResult]] = {}
    of_kernel: dict[str, list[CellResult]] = {}
    for cell in cells:
        of_client.setdefault(cell.client, []).append(cell)
        of_kernel.setdefault(cell.kernel, []).append(cell)
    kernels = {id_: pair for row in of_client.values() for id_, pair in _beside(row).items()}
    clients = {id_: pair for row in of_kernel.values() for id_, pair in _beside(row).items()}
    return {cell.cell: Neighbours(*kernels[cell.cell], *clients[cell.cell]) for cell in cells}


def _beside(row: Sequence[CellResult]) -> Mapping[str, tuple[CellResult | None, CellResult | None]]:
    before, after = (None, *row[:-1]), (*row[1:], None)
    return {cell.cell: (low, high) for cell, low, high in zip(row, before, after, strict=True)}
