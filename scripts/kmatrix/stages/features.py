"""Notes the features of published modules, which those that a run builds are compared with."""

from __future__ import annotations

from collections.abc import Collection

from kmatrix.decide.features import features_of_cell
from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.stages.reuse import recorded_cells
from kmatrix.stages.run_context import RunContext
from kmatrix.values.cells import Cell


def note_features(run: RunContext, rebuilt: Collection[str] = ()) -> None:
    """Note in `run.known_features` what the records that the run has read say about features.

    Args:
        run: the run.
        rebuilt: ids of the cells that it builds again: their inputs changed, and so may their features.
    """
    for cell, module in recorded_cells(run):
        if cell.id not in rebuilt and module.features is not None:
            run.known_features[cell.id] = features_of_cell(cell, module.features)


def unknown_before(run: RunContext, cell: Cell) -> Cell | None:
    """Return the cell that the registry did not answer for, and that one is to be compared with; None if there is none.

    It is of an earlier kernel of the same line, and no kernel between the two has known features.
    """
    line, own = features_of_cell(cell, ()).line, natural(cell.kernel)
    known = [natural(each.kernel) for each in run.known_features.values() if each.line == line]
    nearest = max((kernel for kernel in known if kernel < own), default=None)
    for other in run.unanswered.values():
        kernel = natural(other.kernel)
        if features_of_cell(other, ()).line == line and kernel < own and (nearest is None or nearest < kernel):
            return other
    return None
