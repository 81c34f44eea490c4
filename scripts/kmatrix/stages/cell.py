"""One cell from its recipe to its verdict: build, gates, push; shared work is shared, nothing else is."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from kmatrix.decide.build_log import code_of
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.engine.build_context import based_context
from kmatrix.stages.build import build_base, build_cell, build_context, build_group, pull
from kmatrix.stages.gates import pass_gates
from kmatrix.stages.publish import image_of, published_digest, push_image
from kmatrix.stages.run_context import CellContext, RunContext, cell_result
from kmatrix.values import labels
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.command_lines import command
from kmatrix.values.engine import EngineImage
from kmatrix.values.errors import BuildError, InterruptedRunError, KmatrixError, ToolError
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe


def already_published(run: RunContext, recipe: Recipe) -> CellResult | None:
    """Return the cell's result if the registry has it, made from the same inputs; only the registry is asked."""
    ref = image_of(run.options.target, recipe.cell)
    digest = published_digest(run, ref, recipe)
    if digest is None:
        return None
    reason = "already published, made from the same inputs"
    result = cell_result(recipe, "skipped", reason, image=str(ref), digest=digest)
    # The key says at least the gates of this run.
    return replace(result, booted="boot" in recipe.gates)


def run_cell(run: RunContext, recipe: Recipe) -> CellResult:
    """Build, check and push one cell; whatever happens to it touches no other.

    Raises:
        InterruptedRunError: the run was told to stop; the cell has no verdict then.
    """
    return _to_verdict(run, recipe, _build_check_push)


def verify_cell(run: RunContext, recipe: Recipe) -> CellResult:
    """Check the published image of a cell, or else the one that the engine has.

    What the registry told of it is in the result, however the checks end.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    told: list[str] = []
    result = _to_verdict(run, recipe, lambda cell: _check_again(cell, told.append), mode="a")
    if not told:
        return result
    (digest,) = told
    seen = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    image = str(image_of(run.options.target, recipe.cell)) if digest else result.image
    return replace(result, image=image, digest=digest, seen=seen)


def push_cell(run: RunContext, recipe: Recipe, tested: CellResult) -> CellResult:
    """Push the image of an earlier run's result, if the engine still has exactly that.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    return _to_verdict(run, recipe, lambda cell: _push_tested(cell, tested), mode="a")


def _to_verdict(
    run: RunContext, recipe: Recipe, work: Callable[[CellContext], CellResult], mode: Literal["w", "a"] = "w"
) -> CellResult:
    """Run `work` with the cell's log, new or appended to; its errors become the cell's verdict."""
    path = run.logs / f"{recipe.cell.id}.log"
    try:
        opened = open_log(path, mode)
    except ToolError as error:
        # The others' logs may be all right.
        return cell_result(recipe, "errored", error.message, next_step=error.hint)
    with opened as log:
        cell = CellContext(run, recipe, log)
        try:
            result = work(cell)
        except BuildError as error:
            reason = error.excerpt[0] if error.excerpt else error.message
            findings = tuple(Finding("build", code_of(line), line) for line in error.excerpt or (reason,))
            result = cell_result(recipe, "failed", f"build: {reason}", findings=findings, next_step=error.hint)
        except KmatrixError as error:
            if run.engine.stopping:
                raise InterruptedRunError from error
            result = cell_result(recipe, "errored", error.message, next_step=error.hint)
            cell.line(f"kmatrix: {error.message} {error.hint}".rstrip())
        except InterruptedRunError:
            raise
        except Exception as error:
            # A fault of this tool must not take the other cells with it.
            words = f"a fault of kmatrix itself: {type(error).__name__}: {error}"
            result = cell_result(recipe, "errored", words, next_step="Report the traceback in the cell's log.")
            cell.line(traceback.format_exc())
        for finding in result.findings:
            cell.line(f"kmatrix: {finding.code}: {finding.message}")
        cell.line(f"kmatrix: {result.verdict}: {result.reason}")
    if log.error is not None and log.error.message not in result.reason:
        result = replace(result, reason=f"{result.reason}; {log.error.message}")
    return replace(result, stages=cell.stages, log=str(path.relative_to(run.options.root)))


def _build_check_push(cell: CellContext) -> CellResult:
    run, recipe = cell.run, cell.recipe
    with cell.stage("prepare"):
        pull(run, recipe.toolkit)
        context = build_context(run, recipe)
        pull(run, recipe.base)
        if run.options.profile.base_packages:
            base = run.bases.get(recipe.cell.arch, lambda: build_base(cell, context))
            context = based_context(context, base)
        run.groups.get(recipe.group, lambda: build_group(cell, context))
    with cell.stage("build"):
        built = build_cell(cell, context)
    result = pass_gates(cell, built)
    if result.verdict != "passed":
        return result
    kept_back = "" if run.options.push else "--no-push"
    if not result.booted and not run.options.push_unbooted:
        kept_back = "--no-boot without --push-unbooted"
    if kept_back:
        ref = image_of(run.options.target, recipe.cell)
        run.engine.tag(built, ref.repository, ref.tag)
        return replace(result, reason=f"{result.reason}; not pushed ({kept_back})")
    try:
        return _push(cell, result)
    finally:
        # A published image is the registry's; one that could not be is built again.
        run.engine.remove_image(run.engine.own_name(recipe.cell.tag))


def _check_again(cell: CellContext, tell: Callable[[str], None]) -> CellResult:
    """Put the published image, or else the engine's, through the gates.

    Args:
        run: the cell.
        tell: is given the published image's digest, or an empty text where the registry says that there is none.
    """
    run, recipe = cell.run, cell.recipe
    ref = image_of(run.options.target, recipe.cell)
    with cell.stage("prepare"):
        digest = published_digest(run, ref, recipe)
        tell(digest or "")
        pull(run, recipe.toolkit)
        if digest is None:
            local = run.engine.image(str(ref))
            # Another checkout with this target gives its images the same name.
            if local is None or _key_of(local) not in recipe.satisfying_keys:
                raise _nothing_to_check(run, recipe, ref)
            return pass_gates(cell, local.id)
        published = ref.with_digest(digest)
        pull(run, published)
    try:
        return pass_gates(cell, _known(run, published).id)
    finally:
        run.engine.let_go(published.pinned)


def _key_of(image: EngineImage) -> str:
    return image.labels.get(labels.CELL_KEY, "")


def _known(run: RunContext, image: ImageRef) -> EngineImage:
    found = run.engine.image(image.pinned)
    if found is None:
        raise ToolError(
            f"the engine pulled {image.pinned} and does not have it", "Something else removes images; run again."
        )
    return found


def _nothing_to_check(run: RunContext, recipe: Recipe, ref: ImageRef) -> ToolError:
    """Why a cell has no image that could be checked: the registry has none, or another."""
    manifest = run.registry.manifest(ref, recipe.cell.arch)
    if manifest is None:
        return ToolError(
            f"{recipe.cell.id} is neither in the registry nor in the engine",
            f"Run {_build_command(run, recipe)}.",
        )
    found = run.registry.labels(manifest)
    passed = set(found.get(labels.GATES, "").split(","))
    lacking = [gate for gate in recipe.gates if gate not in passed]
    what = f"which has not passed {', '.join(lacking)}" if lacking else "made from other inputs than the matrix has now"
    return ToolError(
        f"{ref}: the registry has {manifest.digest}, {what}; the engine has no image of it",
        f"Run {_build_command(run, recipe)}, which makes it anew; "
        "`nox -s plan` and the log of version control tell what changed.",
    )


def _build_command(run: RunContext, recipe: Recipe) -> str:
    return command("build", run.options.profile_name, "--only", recipe.cell.id)


def _push_tested(cell: CellContext, tested: CellResult) -> CellResult:
    engine, again = cell.run.engine, f"Run {_build_command(cell.run, cell.recipe)}."
    local = engine.image(tested.image_id)
    if local is None:
        raise ToolError(f"{tested.image}: the engine no longer has {tested.image_id}, which was tested", again)
    # Before the key: that says which gates there were, so an image that was not booted never has the one asked for.
    if not tested.booted and not cell.run.options.push_unbooted:
        raise ToolError(f"{tested.image} was never booted", f"{again[:-1]}, or give --push-unbooted.")
    if _key_of(local) not in cell.recipe.satisfying_keys:
        raise ToolError(f"{tested.image} was made from other inputs than the matrix has now", again)
    result = _push(cell, replace(tested, reason=tested.reason.partition("; not pushed")[0]))
    named = engine.image(tested.image)
    if named is not None and named.id == tested.image_id:
        engine.remove_image(tested.image)
    return result


def _push(cell: CellContext, result: CellResult) -> CellResult:
    run, recipe = cell.run, cell.recipe
    with cell.stage("push"):
        ref = image_of(run.options.target, recipe.cell)
        digest = push_image(run, result.image_id, ref, recipe.cell)
    return replace(result, digest=digest)
