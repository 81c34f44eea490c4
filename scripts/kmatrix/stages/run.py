"""A whole run: what is published is skipped, the rest goes through its stages, several cells at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial

from kmatrix.stages.cellrun import already_published
from kmatrix.stages.threads import DaemonPool, map_threads
from kmatrix.stages.workshop import Workshop
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.errors import Exit, KmatrixError
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe

_ASKING_THREADS = 8
_ENDING_SECONDS = 15
Work = Callable[[Workshop, Recipe], CellResult]
Keep = Callable[[CellResult], None]


def default_jobs() -> int:
    """How many cells at a time: one for each core that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def split_published(shop: Workshop, recipes: Iterable[Recipe], keep: Keep) -> list[Recipe]:
    """Ask the registry which cells are published; those are given to `keep`, the others returned.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not tell; nothing was built.
    """
    recipes = list(recipes)
    known = map_threads(lambda recipe: already_published(shop, recipe), recipes, _ASKING_THREADS)
    for recipe, result in zip(recipes, known, strict=True):
        if result is not None:
            _note_published(shop, recipe, result)
            keep(result)
    return [recipe for recipe, result in zip(recipes, known, strict=True) if result is None]


def find_published(shop: Workshop, recipes: Iterable[Recipe]) -> None:
    """Look for one published cell of each architecture, also among cells that this run is not about.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not tell.
    """
    for recipe in recipes:
        if recipe.cell.arch not in shop.published:
            result = already_published(shop, recipe)
            if result is not None:
                _note_published(shop, recipe, result)


def _note_published(shop: Workshop, recipe: Recipe, result: CellResult) -> None:
    shop.published.setdefault(recipe.cell.arch, ImageRef.parse(result.image).with_digest(result.digest))


def run_cells(shop: Workshop, work: Work, recipes: Iterable[Recipe], jobs: int, keep: Keep) -> None:
    """Do `work` for every cell, `jobs` at a time; each result goes to `keep` in this thread as soon as it is there.

    Raises:
        KeyboardInterrupt: after everything under way was ended; what was kept stays.
    """
    recipes = list(recipes)
    pool: DaemonPool[CellResult] = DaemonPool(jobs)
    left: set[Future[CellResult]] = {pool.submit(partial(work, shop, recipe)) for recipe in recipes}
    try:
        while left:
            for future in wait(left, timeout=0.5, return_when=FIRST_COMPLETED).done:
                keep(future.result())
                left.discard(future)
    except BaseException:
        shop.stop()
        for future in left:
            future.cancel()
        for future in wait(left, timeout=_ENDING_SECONDS).done:
            if not future.cancelled() and future.exception() is None:
                keep(future.result())
        raise
    finally:
        pool.close()
        clean_up(shop)


def clean_up(shop: Workshop) -> None:
    """Remove this run's containers, and the images that were only steps on the way."""
    try:
        shop.engine.remove_leftovers()
        for image in reversed(shop.garbage):
            shop.engine.remove_step(image)
    except KmatrixError as error:
        # What the cells came to must not be hidden by this; the next run removes what is left.
        shop.progress.say(f"could not clean up: {error}")


def exit_code(verdicts: Iterable[Verdict]) -> Exit:
    """The exit code of a run with these verdicts."""
    verdicts = set(verdicts)
    if "failed" in verdicts:
        return Exit.FAILED
    return Exit.ERRORED if "errored" in verdicts else Exit.OK
