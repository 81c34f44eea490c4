"""Plans of made-up cells, as many as a test wants."""

from __future__ import annotations

from collections.abc import Sequence

from kmatrix.decide.plan import Plan, Row
from kmatrix.values.cells import Cell
from kmatrix.values.names import Arch, ClientVersion, ImageRef

TOOLKIT = ImageRef.parse("registry.example/toolkit@sha256:" + "a" * 64)


def made_up_cells(clients: int, kernels: int, arches: Sequence[Arch] = ("x86_64",)) -> tuple[Cell, ...]:
    """Return the cells of so many clients with so many kernels per architecture, in the order of a plan."""
    return tuple(
        Cell(
            ClientVersion(8, 2, client),
            f"5.14.0-{400 + kernel}.1.1.el9_4.{arch}",
            arch,
            "standard",
            "el9",
            TOOLKIT,
            (f"4.16.{kernel}",),
        )
        for client in range(clients)
        for arch in arches
        for kernel in range(kernels)
    )


def made_up_plan(cells: Sequence[Cell]) -> Plan:
    """Return a plan with exactly these cells in."""
    rows = tuple(
        Row(cell.id, cell.client, cell.kernel, cell.arch, cell.flavour, cell.stream, cell.releases, "in", cell)
        for cell in cells
    )
    return Plan("site", rows)
