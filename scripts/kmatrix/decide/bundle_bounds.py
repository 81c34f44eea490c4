"""The bounds of a bundle: kernels of the published one that the next may leave out, and the cells of all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmatrix.decide.excludes import kernels_of
from kmatrix.decide.plan import Plan
from kmatrix.values.cells import Cell
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Profile
from kmatrix.values.names import Arch, ClientVersion

KernelOf = tuple[Arch, str]


@dataclass(frozen=True)
class Bounds:
    """The kernels that may leave a client's published bundle, and the cells of those that may not.

    `leaving` has the kernels that a rule of matrix.yaml or a person removes, each with that rule; `cells` the cell of
    every kernel that has pins, planned or excluded. A kernel in neither was lost by an incomplete answer.
    """

    leaving: Mapping[KernelOf, str] = field(default_factory=dict)
    cells: Mapping[KernelOf, Cell] = field(default_factory=dict)


def bounds_of(client: ClientVersion, profile: Profile, pins: ProfileLock, plan: Plan) -> Bounds:
    """Return the bounds of a client's bundle.

    Missing packages of a client for a kernel are no rule: a package root that lost them answers the same.

    Args:
        client: the client of the bundle.
        profile: the profile.
        pins: its pins, with the kernels that were retired and the rule for each.
        plan: its complete plan.
    """
    leaving = {(pin.arch, pin.kernel): pin.reason for pin in pins.retired}
    for row in plan.rows:
        ruled = row.exclude is not None or row.flavour not in profile.flavours or row.arch not in profile.arches
        if row.client == client and row.cell is None and ruled:
            leaving[row.arch, row.kernel] = row.reason
    cells = {}
    for kernel in kernels_of(pins.releases):
        if not kernel.toolkits:
            continue
        oldest = kernel.toolkits[0]
        releases = tuple(dict.fromkeys(str(pin.version) for pin in kernel.pins))
        cell = Cell(client, kernel.release, kernel.arch, kernel.flavour, oldest.stream, oldest.toolkit, releases)
        cells[kernel.arch, kernel.release] = cell
    planned = {(cell.arch, cell.kernel): cell for cell in plan.cells if cell.client == client}
    return Bounds(leaving, {**cells, **planned})
