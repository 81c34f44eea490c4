"""A complete run: published cells are skipped, the others go through their stages, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from kmatrix.effects.process.signals import interruptible
from kmatrix.stages.cell import lacking_gates, skipped_result
from kmatrix.stages.concurrency import map_threads, run_side_by_side
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.image_signing import with_signature
from kmatrix.stages.kernel_tag import with_kernel_tag
from kmatrix.stages.progress import counting
from kmatrix.stages.published import recorded_image
from kmatrix.stages.reuse import reusable_of_published
from kmatrix.stages.run_context import RunContext, cell_result
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.errors import Exit, KmatrixError, ProtocolError
from kmatrix.values.gate_record import RecordedImage
from kmatrix.values.recipe import Recipe

Work = Callable[[RunContext, Recipe], CellResult]
Keep = Callable[[CellResult], None]


def default_jobs() -> int:
    """Return the default number of cells at a time: one for each core that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def split_published(run: RunContext, recipes: Iterable[Recipe], keep: Keep) -> list[Recipe]:
    """Query the registry for published cells: those that passed every gate of the run are given to `keep`.

    A kernel tag that one of these lacks, or that names another image, is written. An image that the image key has not
    signed, because the key was changed, is signed.

    The others are returned; of these, `run.ungated` has the published images that have not passed every gate. A cell
    about which the registry's answer is malformed is given to `keep` as errored: it may be published, so it is not
    built again.

    Raises:
        UnreachableError, CredentialError: the registry could not be queried; nothing was built.
    """
    recipes = list(recipes)
    with counting(run.progress, "query the registry: cells", len(recipes)) as counted:
        known = map_threads(counted(partial(_recorded_or_fault, run)), recipes)
    skipped = {
        recipe.cell.id: (recipe, published)
        for recipe, published in zip(recipes, known, strict=True)
        if isinstance(published, RecordedImage) and not lacking_gates(run, published)
    }
    wanted = gates_of_profile(run.options.profile)

    def complete(each: tuple[Recipe, RecordedImage]) -> CellResult:
        recipe, published = each
        result = with_signature(run, published.ref, skipped_result(recipe, published, wanted))
        return with_kernel_tag(run, recipe.cell, result)

    with counting(run.progress, "check published cells", len(skipped)) as counted:
        results = map_threads(counted(complete), skipped.values())
    reusable = reusable_of_published(run) if results else {}
    results = [replace(result, reusable_from=reusable.get(result.cell)) for result in results]
    finished = dict(zip(skipped, results, strict=True))
    left = []
    for recipe, published in zip(recipes, known, strict=True):
        if isinstance(published, ProtocolError):
            keep(_unknown_result(run, recipe, published))
            continue
        if published is not None:
            run.published.setdefault(recipe.cell.arch, published.ref)
        if recipe.cell.id in finished:
            keep(finished[recipe.cell.id])
            continue
        if published is not None:
            run.ungated[recipe.cell.id] = published
        left.append(recipe)
    return left


def find_published(run: RunContext, recipes: Iterable[Recipe]) -> None:
    """Look for one published cell of each architecture, also among cells that this run does not build.

    A cell about which the registry's answer is malformed is passed over: another one serves as well.

    Raises:
        UnreachableError, CredentialError: the registry could not be queried.
    """
    for recipe in recipes:
        if recipe.cell.arch not in run.published:
            published = _recorded_or_fault(run, recipe)
            if isinstance(published, ProtocolError):
                run.progress.warn(f"{recipe.cell.id}: cannot tell whether it is published: {published.message}")
            elif published is not None:
                run.published[recipe.cell.arch] = published.ref


def _recorded_or_fault(run: RunContext, recipe: Recipe) -> RecordedImage | ProtocolError | None:
    """Return `recorded_image`, or the fault, not raised, of an answer about this cell alone."""
    try:
        return recorded_image(run, recipe)
    except ProtocolError as error:
        return error


def _unknown_result(run: RunContext, recipe: Recipe, error: ProtocolError) -> CellResult:
    again = run.options.next("build", "--force", "--only", recipe.cell.id)
    return cell_result(
        recipe,
        "errored",
        f"cannot tell whether it is published: {error.message}",
        next_step=f"{error.hint} If its image is broken for good, {again} replaces it.",
    )


def run_cells(run: RunContext, work: Work, recipes: Iterable[Recipe], keep: Keep) -> None:
    """Do `work` for every cell, several at a time; each result goes to `keep` in this thread as soon as it is there.

    Raises:
        KeyboardInterrupt: a signal ended the cells under way; the results that were kept stay.
    """

    def lost(result: CellResult, error: Exception) -> None:
        run.progress.warn(f"could not save the result of {result.cell}: {error}")

    with interruptible():
        try:
            run_side_by_side([partial(work, run, recipe) for recipe in recipes], run.options.jobs, keep, run.stop, lost)
        finally:
            clean_up(run)


def clean_up(run: RunContext) -> None:
    """Remove everything that this run leaves in the container engine and no other run needs."""
    try:
        run.engine.remove_leftovers()
    except KmatrixError as error:
        # This must not hide the cells' verdicts; the next run removes the rest.
        run.progress.warn(f"could not clean up: {error}")


def exit_code(verdicts: Iterable[Verdict]) -> Exit:
    """Return the exit code of a run with these verdicts."""
    verdicts = set(verdicts)
    if "failed" in verdicts:
        return Exit.FAILED
    return Exit.ERRORED if "errored" in verdicts else Exit.OK
