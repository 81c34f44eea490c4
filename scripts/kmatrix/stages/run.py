"""A whole run: what is published is skipped, the rest goes through its stages, several cells at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from kmatrix.effects.engine import InterruptedRunError
from kmatrix.stages.cellrun import already_published
from kmatrix.stages.workshop import Workshop
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit
from kmatrix.values.recipe import Recipe

_ASKING_THREADS = 8
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
    with ThreadPoolExecutor(_ASKING_THREADS) as pool:
        known = list(pool.map(lambda recipe: already_published(shop, recipe), recipes))
    for result in known:
        if result is not None:
            keep(result)
    return [recipe for recipe, result in zip(recipes, known, strict=True) if result is None]


def run_cells(shop: Workshop, work: Work, recipes: Iterable[Recipe], jobs: int, keep: Keep) -> None:
    """Do `work` for every cell, `jobs` at a time; each result goes to `keep` in this thread as soon as it is there.

    Raises:
        KeyboardInterrupt: after everything under way was ended; what was kept stays.
    """
    recipes = list(recipes)
    pool = ThreadPoolExecutor(jobs)
    pending: set[Future[CellResult]] = {pool.submit(work, shop, recipe) for recipe in recipes}
    try:
        while pending:
            finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                keep(future.result())
    except BaseException:
        shop.engine.stop()
        for future in pending:
            future.cancel()
        wait(pending, timeout=30)
        for future in pending:
            if future.done() and not future.cancelled() and not isinstance(future.exception(), InterruptedRunError):
                keep(future.result())
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        clean_up(shop)


def clean_up(shop: Workshop) -> None:
    """Remove this run's containers, and the images that were only steps on the way."""
    shop.engine.remove_leftovers()
    for image in reversed(shop.garbage):
        shop.engine.remove_step(image)


def exit_code(results: Iterable[CellResult]) -> Exit:
    """The exit code of a run with these results."""
    verdicts = {result.verdict for result in results}
    if "failed" in verdicts:
        return Exit.FAILED
    return Exit.ERRORED if "errored" in verdicts else Exit.OK
