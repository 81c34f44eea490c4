"""One cell under way: its log, the times of its stages, and the form of its result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from kmatrix.effects.engine import InterruptedRunError
from kmatrix.effects.logs import Log
from kmatrix.stages.workshop import Workshop
from kmatrix.values.cells import CellResult, Finding, Verdict
from kmatrix.values.recipe import Recipe
from kmatrix.values.redaction import redacted


class CellWork:
    """One cell under way: its stages' times and its log."""

    def __init__(self, shop: Workshop, recipe: Recipe, log: Log) -> None:
        self.shop = shop
        self.recipe = recipe
        self.log = log
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and show it.

        Raises:
            InterruptedRunError: the run was told to stop.
            ToolError: the log lacks lines: a cell that nobody can follow goes no further, and is not published.
        """
        if self.shop.engine.stopping:
            raise InterruptedRunError
        self.log.check()
        self.shop.progress.stage(self.recipe.cell.id, name)
        start = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = round(time.monotonic() - start, 3)

    def line(self, text: str) -> None:
        """Add a line to the log; one that cannot be written ends the cell at its next stage."""
        self.log.line(redacted(text))


def cell_result(
    recipe: Recipe,
    verdict: Verdict,
    reason: str,
    image: str = "",
    digest: str = "",
    findings: tuple[Finding, ...] = (),
    next_step: str = "",
) -> CellResult:
    """The result of a recipe's cell."""
    cell = recipe.cell
    return CellResult(
        cell=cell.id,
        client=str(cell.client),
        kernel=cell.kernel,
        releases=cell.releases,
        verdict=verdict,
        reason=redacted(reason),
        next_step=redacted(next_step),
        image=image,
        digest=digest,
        findings=tuple(replace(finding, message=redacted(finding.message)) for finding in findings),
    )
