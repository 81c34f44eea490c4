"""verify: put the image of a cell through the gates again; builds, pushes and records nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kmatrix.effects.clock import utc_now
from kmatrix.stages.gates import gates_of_run, named, pass_gates
from kmatrix.stages.held_images import hold_image, pull
from kmatrix.stages.publish import image_of
from kmatrix.stages.published import (
    PublishedImage,
    build_command,
    id_in_engine,
    is_of_recipe,
    key_in_engine,
    published_image,
    with_published,
)
from kmatrix.stages.run_context import CellContext, RunContext
from kmatrix.stages.verdict import to_verdict
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import RecordedImage
from kmatrix.values.recipe import Recipe


def verify_cell(run: RunContext, recipe: Recipe) -> CellResult:
    """Check the published image of a cell, or else the one in the container engine.

    The registry's answer is in the result, however the checks end.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    answers: list[PublishedImage | None] = []
    result = to_verdict(run, recipe, lambda cell: _check(cell, answers.append), mode="a")
    if not answers:
        return result
    (published,) = answers
    result = replace(result, seen=utc_now())
    if published is None:
        return result
    if published.record is not None and is_of_recipe(published.record, recipe):
        return with_published(result, RecordedImage(published.ref, published.record, published.labels))
    return replace(result, image=str(image_of(run.options.target, recipe.cell)), digest=published.ref.digest)


def _check(cell: CellContext, note: Callable[[PublishedImage | None], None]) -> CellResult:
    """Put the published image, or else the container engine's, through the gates.

    An image without a record is checked all the same: its label names the recipe that it claims.

    Args:
        cell: the cell.
        note: is given the published image, or None where the registry has none of these inputs.
    """
    run, recipe = cell.run, cell.recipe
    with cell.stage("prepare"):
        found = published_image(run, recipe)
        recorded = found is not None and found.record is not None and is_of_recipe(found.record, recipe)
        published = found if found and (recorded or found.labelled_key == recipe.cell_key) else None
        note(published)
        pull(run, recipe.toolkit)
        if published is not None:
            hold_image(run, published.ref)
    if published is None:
        return pass_gates(cell, _local_image(run, recipe, found), gates_of_run(run))
    try:
        result = pass_gates(cell, id_in_engine(run, published.ref), gates_of_run(run))
    finally:
        run.engine.let_go(published.ref.pinned)
    if not recorded:
        again = f"{build_command(run, recipe)} builds it again and publishes that"
        return replace(
            result, reason=f"{result.reason}; the registry has no record of this project's for it, so {again}"
        )
    known = found.record.gates if found and found.record else {}
    new = [name for name in result.gates if name not in known]
    if result.verdict == "passed" and new:
        how = f"{build_command(run, recipe)} runs it on the published image and records it"
        return replace(result, reason=f"{result.reason}; verify does not record {named(new)}: {how}")
    return result


def _local_image(run: RunContext, recipe: Recipe, stale: PublishedImage | None) -> str:
    ref = image_of(run.options.target, recipe.cell)
    local = run.engine.image(str(ref))
    # Another checkout with this target gives its images the same name.
    if local is not None and key_in_engine(local) == recipe.cell_key:
        return local.id
    if stale is None:
        raise ToolError(
            f"{recipe.cell.id} is neither in the registry nor in the container engine",
            f"Run {build_command(run, recipe)}.",
        )
    raise ToolError(
        f"{stale.ref} is stale: built from inputs that have changed since; the container engine has no image of the "
        "cell",
        f"Run {build_command(run, recipe)}, which builds it again; {run.options.next('plan')} and the log of version "
        "control show what changed.",
    )
