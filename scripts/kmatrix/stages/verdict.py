"""Turns the work on a cell, and the exceptions that end it, into a verdict and a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from kmatrix.decide.build_log import code_of
from kmatrix.effects.disk.logs import open_log
from kmatrix.stages.run_context import CellContext, RunContext, cell_result, explain_error
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.errors import BuildError, KmatrixError, ToolError
from kmatrix.values.recipe import Recipe


def to_verdict(
    run: RunContext, recipe: Recipe, work: Callable[[CellContext], CellResult], mode: Literal["w", "a"] = "w"
) -> CellResult:
    """Run `work`, write its log (new, or appended to), and turn exceptions into a verdict."""
    path = run.logs / f"{recipe.cell.id}.log"
    try:
        opened = open_log(path, mode)
    except ToolError as error:
        # The logs of other cells may be writable.
        return cell_result(recipe, "errored", error.message, next_step=error.hint)
    with opened as log:
        cell = CellContext(run, recipe, log)
        try:
            result = work(cell)
        except BuildError as error:
            reason = error.excerpt[0] if error.excerpt else error.message
            findings = tuple(Finding("build", code_of(line), line) for line in error.excerpt or (reason,))
            result = cell_result(recipe, "failed", f"build: {reason}", findings=findings, next_step=error.hint)
        except Exception as error:
            reason, next_step = explain(cell, error)
            result = cell_result(recipe, "errored", reason, next_step=next_step)
        for finding in result.findings:
            cell.line(f"kmatrix: {finding.code}: {finding.message}")
        cell.line(f"kmatrix: {result.verdict}: {result.reason}")
    if log.error is not None and log.error.message not in result.reason:
        result = replace(result, reason=f"{result.reason}; {log.error.message}")
    if result.reusable_from is None:
        result = replace(result, reusable_from=cell.reusable_from)
    return replace(result, stages=cell.stages, log=str(path.relative_to(run.options.root)))


def explain(cell: CellContext, error: Exception) -> tuple[str, str]:
    """Return why a cell has no verdict, and the next step; both are also in the cell's log.

    Raises:
        InterruptedRunError: the run was told to stop, so the error says nothing about the cell.
    """
    message, next_step = explain_error(cell.run, error, cell.line, "the cell's log")
    if isinstance(error, KmatrixError):
        cell.line(f"kmatrix: {message} {next_step}".rstrip())
    return message, next_step
