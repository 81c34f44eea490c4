"""Notes the features of published modules, which those that a run builds are compared with."""

from __future__ import annotations

from collections.abc import Collection

from kmatrix.decide.features import features_of_cell
from kmatrix.stages.reuse import recorded_cells
from kmatrix.stages.run_context import RunContext


def note_features(run: RunContext, rebuilt: Collection[str] = ()) -> None:
    """Note in `run.known_features` what the records that the run has read say about features.

    Args:
        run: the run.
        rebuilt: ids of the cells that it builds again: their inputs changed, and so may their features.
    """
    for cell, module in recorded_cells(run):
        if cell.id not in rebuilt and module.features is not None:
            run.known_features[cell.id] = features_of_cell(cell, module.features)
