"""Compares the features of cells once every one of them is known: at the end of a run, and when shards are merged."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile
from kmatrix.decide.features import CompiledFeatures, compared, features_of_result
from kmatrix.decide.plan import Plan
from kmatrix.values.cells import CellResult


def planned(plan: Plan, known: Mapping[str, CellResult]) -> dict[str, CellResult]:
    """Return those of the known results whose cells are in the plan, in its order."""
    return {row.id: known[row.id] for row in plan.rows if row.state != "out" and row.id in known}


def features_of_others(known: Mapping[str, CellResult], own: Collection[str]) -> dict[str, CompiledFeatures]:
    """Return the features of cells as an earlier run found them, without those of this run's own cells."""
    found = {cell: features_of_result(result) for cell, result in known.items() if cell not in own}
    return {cell: features for cell, features in found.items() if features is not None}


def compared_features(
    call: Invocation, chosen: SelectedProfile, known: Mapping[str, CellResult], cells: Collection[str]
) -> dict[str, CellResult]:
    """Return those results of `cells` that change when their features are compared with those of all known cells."""
    return compared(
        known,
        [cell for cell in cells if cell in known],
        fails=chosen.effective.feature_lost == "fail",
        again=lambda cell: call.next("build", chosen.name, "--force", "--only", cell),
    )
