"""Finds the published modules of other kernels that would load in a cell's kernel; nothing is published by it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from kmatrix.decide.reuse import neighbours, reusable_by_records, reusable_in
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.publish import image_of
from kmatrix.stages.run_context import CellContext, RunContext, raise_if_stopping
from kmatrix.values.cells import Cell
from kmatrix.values.errors import KmatrixError, ProtocolError
from kmatrix.values.gate_record import GateRecord, RecordedModule
from kmatrix.values.module import KernelFacts


def query_neighbours(run: RunContext, cells: Iterable[Cell]) -> None:
    """Read the records of cells whose kernels are next to those of some cells, as far as the run has not read them.

    A run over a part of the plan would else know no other module. If the registry cannot answer, `run.unanswered` has
    the cells, and the run goes on: only a profile that refuses lost features needs the answer.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    unknown = [cell for cell in neighbours(cells, run.planned) if cell.id not in run.queried]
    try:
        map_threads(partial(_query, run), unknown)
    except KmatrixError as error:
        raise_if_stopping(run, error)
        run.unanswered.update((cell.id, cell) for cell in unknown if cell.id not in run.queried)
        run.progress.warn(f"note: cells are not compared with the modules of all published ones: {error.message}")


def _query(run: RunContext, cell: Cell) -> None:
    try:
        ref = image_of(run.options.target, cell)
        manifest = run.registry.manifest(ref, cell.arch)
        record = run.records.find(ref, manifest.digest) if manifest else None
    except ProtocolError as error:
        run.unanswered[cell.id] = cell
        run.progress.warn(f"note: {cell.id} is not compared with other cells: {error.message}")
    else:
        note_record(run, cell, record)


def note_record(run: RunContext, cell: Cell, record: GateRecord | None) -> None:
    """Note that the registry was queried about a cell, and the module in the record that it has for it."""
    run.queried[cell.id] = cell
    if record is not None and record.name == cell.id and record.module is not None:
        run.recorded_modules[cell.id] = record.module


def reusable_modules(cell: CellContext, kernel: KernelFacts) -> tuple[str, ...] | None:
    """Return the published cells whose modules would load in a cell's kernel, by its own facts; the log names them.

    None if there is none among those that are known, and the registry did not answer for all.
    """
    own = cell.recipe.cell
    found = reusable_in(own, kernel, recorded_cells(cell.run))
    if found:
        cell.line(f"kmatrix: note: modules of other kernels that {own.kernel} would load too: {', '.join(found)}")
    return found or none_found(cell.run, own)


def none_found(run: RunContext, cell: Cell) -> tuple[str, ...] | None:
    """Return the result of a comparison that found no module: None if the registry did not answer for all."""
    unknown = any((other.client, other.arch) == (cell.client, cell.arch) for other in run.unanswered.values())
    return None if unknown else ()


def has_candidates(run: RunContext, cell: Cell) -> bool:
    """Return whether the run knows a published module of the same client and architecture for another kernel."""
    return any(
        (other.client, other.arch) == (cell.client, cell.arch) and other.id != cell.id
        for other, _ in recorded_cells(run)
    )


def reusable_of_published(run: RunContext) -> dict[str, tuple[str, ...]]:
    """Return by cell id the published cells whose modules would load in a published cell's kernel, by records alone.

    A cell is left out if the run has not queried every planned cell of its client and architecture: what an earlier run
    found out about it is more.
    """
    found = reusable_by_records(recorded_cells(run))
    partly = {(cell.client, cell.arch) for cell in run.planned if cell.id not in run.queried}
    return {
        cell: others
        for cell, others in found.items()
        if (run.queried[cell].client, run.queried[cell].arch) not in partly
    }


def recorded_cells(run: RunContext) -> list[tuple[Cell, RecordedModule]]:
    """Return the cells whose records the run has read, with their modules."""
    # A copy: `verify` reads records while cells are compared.
    return [(run.queried[cell], module) for cell, module in run.recorded_modules.copy().items()]
