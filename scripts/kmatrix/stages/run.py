"""A complete run: published cells are skipped, the others go through their stages, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial

from kmatrix.effects.process.signals import interruptible
from kmatrix.stages.cell import already_published
from kmatrix.stages.concurrency import map_threads, run_side_by_side
from kmatrix.stages.run_context import RunContext
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.errors import Exit, KmatrixError
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe

Work = Callable[[RunContext, Recipe], CellResult]
Keep = Callable[[CellResult], None]


def default_jobs() -> int:
    """Return the default number of cells at a time: one for each core that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def split_published(run: RunContext, recipes: Iterable[Recipe], keep: Keep) -> list[Recipe]:
    """Ask the registry which cells are published; give these to `keep`, and return the others.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry cannot answer; nothing was built.
    """
    recipes = list(recipes)
    known = map_threads(lambda recipe: already_published(run, recipe), recipes)
    for recipe, result in zip(recipes, known, strict=True):
        if result is not None:
            _note_published(run, recipe, result)
            keep(result)
    return [recipe for recipe, result in zip(recipes, known, strict=True) if result is None]


def find_published(run: RunContext, recipes: Iterable[Recipe]) -> None:
    """Look for one published cell of each architecture, also among cells that this run does not build.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry cannot answer.
    """
    for recipe in recipes:
        if recipe.cell.arch not in run.published:
            result = already_published(run, recipe)
            if result is not None:
                _note_published(run, recipe, result)


def _note_published(run: RunContext, recipe: Recipe, result: CellResult) -> None:
    run.published.setdefault(recipe.cell.arch, ImageRef.parse(result.image).with_digest(result.digest))


def run_cells(run: RunContext, work: Work, recipes: Iterable[Recipe], keep: Keep) -> None:
    """Do `work` for every cell, several at a time; each result goes to `keep` in this thread as soon as it is there.

    Raises:
        KeyboardInterrupt: a signal ended the cells under way; the results that were kept stay.
    """

    def lost(result: CellResult, error: Exception) -> None:
        run.progress.say(f"could not save the result of {result.cell}: {error}")

    with interruptible():
        try:
            run_side_by_side([partial(work, run, recipe) for recipe in recipes], run.options.jobs, keep, run.stop, lost)
        finally:
            clean_up(run)


def clean_up(run: RunContext) -> None:
    """Remove this run's containers and its intermediate images."""
    try:
        run.engine.remove_leftovers()
        for image in reversed(run.garbage):
            run.engine.remove_step(image)
        run.engine.tidied = True
    except KmatrixError as error:
        # This must not hide the cells' verdicts; the next run removes the rest.
        run.progress.say(f"could not clean up: {error}")


def exit_code(verdicts: Iterable[Verdict]) -> Exit:
    """Return the exit code of a run with these verdicts."""
    verdicts = set(verdicts)
    if "failed" in verdicts:
        return Exit.FAILED
    return Exit.ERRORED if "errored" in verdicts else Exit.OK
