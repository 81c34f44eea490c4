"""A whole run: what is published is skipped, the rest goes through its stages, several cells at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from typing import Any

from kmatrix.effects.process.signals import Hold, held, interruptible
from kmatrix.stages.cell import already_published
from kmatrix.stages.concurrency import DaemonPool, map_threads
from kmatrix.stages.run_context import RunContext
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.errors import Exit, KmatrixError
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe

_ASKING_THREADS = 8
_ENDING_SECONDS = 15
# How soon a signal is noticed that is held back.
_NOTICING_SECONDS = 0.2
Work = Callable[[RunContext, Recipe], CellResult]
Keep = Callable[[CellResult], None]


def default_jobs() -> int:
    """How many cells at a time: one for each core that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def split_published(run: RunContext, recipes: Iterable[Recipe], keep: Keep) -> list[Recipe]:
    """Ask the registry which cells are published; those are given to `keep`, the others returned.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not tell; nothing was built.
    """
    recipes = list(recipes)
    known = map_threads(lambda recipe: already_published(run, recipe), recipes, _ASKING_THREADS)
    for recipe, result in zip(recipes, known, strict=True):
        if result is not None:
            _note_published(run, recipe, result)
            keep(result)
    return [recipe for recipe, result in zip(recipes, known, strict=True) if result is None]


def find_published(run: RunContext, recipes: Iterable[Recipe]) -> None:
    """Look for one published cell of each architecture, also among cells that this run is not about.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not tell.
    """
    for recipe in recipes:
        if recipe.cell.arch not in run.published:
            result = already_published(run, recipe)
            if result is not None:
                _note_published(run, recipe, result)


def _note_published(run: RunContext, recipe: Recipe, result: CellResult) -> None:
    run.published.setdefault(recipe.cell.arch, ImageRef.parse(result.image).with_digest(result.digest))


def run_cells(run: RunContext, work: Work, recipes: Iterable[Recipe], jobs: int, keep: Keep) -> None:
    """Do `work` for every cell, `jobs` at a time; each result goes to `keep` in this thread as soon as it is there.

    Raises:
        KeyboardInterrupt: after everything under way was ended; what was kept stays.
    """
    recipes = list(recipes)
    with interruptible():
        pool: DaemonPool[CellResult] = DaemonPool(jobs)
        try:
            # A signal that raised here or there would lose cells that are just being kept.
            with held() as hold:
                left = {pool.submit(partial(work, run, recipe)) for recipe in recipes}
                try:
                    while left and not hold.signals:
                        for future in wait(left, timeout=_NOTICING_SECONDS, return_when=FIRST_COMPLETED).done:
                            left.discard(future)
                            keep(future.result())
                finally:
                    if left:
                        _end(run, left, keep, hold)
        finally:
            pool.close()
            clean_up(run)


def _end(run: RunContext, left: set[Future[CellResult]], keep: Keep, hold: Hold) -> None:
    """End what is under way, and keep every cell that comes to its end by then; another signal ends the wait."""
    left = {future for future in left if not future.cancel()}
    # An engine that does not answer must not hold up the cells that are about to end.
    ending: DaemonPool[None] = DaemonPool(1)
    waiting: set[Future[Any]] = {ending.submit(run.stop), *left}
    ending.close()
    until, signals = time.monotonic() + _ENDING_SECONDS, hold.signals
    while waiting:
        # Also when the wait is over: what has ended by then is kept.
        over = hold.signals > signals or time.monotonic() >= until
        seconds = 0 if over else _NOTICING_SECONDS
        done, waiting = wait(waiting, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in left & done:
            _keep_ended(run, future, keep)
        if over:
            return


def _keep_ended(run: RunContext, future: Future[CellResult], keep: Keep) -> None:
    if future.cancelled() or future.exception() is not None:
        return
    try:
        keep(future.result())
    except Exception as error:
        # The run ends for another reason, and the next cell may be kept all the same.
        run.progress.say(f"could not keep {future.result().cell}: {error}")


def clean_up(run: RunContext) -> None:
    """Remove everything that this run leaves in the engine and nobody needs."""
    try:
        run.engine.remove_leftovers()
    except KmatrixError as error:
        # What the cells came to must not be hidden by this; the next run removes what is left.
        run.progress.say(f"could not clean up: {error}")


def exit_code(verdicts: Iterable[Verdict]) -> Exit:
    """The exit code of a run with these verdicts."""
    verdicts = set(verdicts)
    if "failed" in verdicts:
        return Exit.FAILED
    return Exit.ERRORED if "errored" in verdicts else Exit.OK
