"""Which kernels of a published bundle the next one may leave out, and the cells of those it may not."""

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
    """What may go out of a client's published bundle, and what is known of what may not.

    `leaving` has the kernels that a rule of matrix.yaml or a person takes out, each with that rule; `cells` the cell of
    every kernel that has pins, whether the plan has it in or out. A kernel in neither was lost on the way.
    """

    leaving: Mapping[KernelOf, str] = field(default_factory=dict)
    cells: Mapping[KernelOf, Cell] = field(default_factory=dict)


def bounds_of(client: ClientVersion, profile: Profile, pins: ProfileLock, plan: Plan) -> Bounds:
    """Return the bounds of a client's bundle.

    That a client has no packages for a kernel is no rule: a package root that lost them says the same.

    Args:
        client: whose bundle.
        profile: what is wanted.
        pins: with what left them, and by which rule.
        plan: of the profile, whole.
    """
    leaving = {(pin.arch, pin.kernel): pin.reason for pin in pins.retired}
    for row in plan.rows:
        ruled = row.exclude is not None or row.flavour not in profile.flavours or row.arch not in profile.arches
        if row.client == client and row.cell is None and ruled:
            leaving[row.arch, row.kernel] = row.reason
    cells = {}
    for kernel in kernels_of(pins.releases):
        oldest = kernel.pins[0]
        releases = tuple(dict.fromkeys(str(pin.version) for pin in kernel.pins))
        cell = Cell(client, kernel.release, kernel.arch, kernel.flavour, oldest.line, oldest.toolkit, releases)
        cells[kernel.arch, kernel.release] = cell
    planned = {(cell.arch, cell.kernel): cell for cell in plan.cells if cell.client == client}
    return Bounds(leaving, {**cells, **planned})
