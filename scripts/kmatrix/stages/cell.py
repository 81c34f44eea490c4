"""One cell from its recipe to its verdict: built, put through the gates, pushed, signed and named.

Cells share work that is the same for several of them, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kmatrix.decide.features import about_features, next_step_of
from kmatrix.decide.test_result import test_result
from kmatrix.decide.united_record import united
from kmatrix.effects.clock import utc_now
from kmatrix.effects.engine.build_context import based_context
from kmatrix.stages.base import pull_base
from kmatrix.stages.build import build_base, build_cell, build_context, build_group, build_module
from kmatrix.stages.gate_records import gate_passes
from kmatrix.stages.gates import gates_of_profile, gates_of_run, named, not_passed, pass_gates
from kmatrix.stages.gates.gate import Gate, ImageUnderTest
from kmatrix.stages.held_images import hold_image, pull
from kmatrix.stages.image_signing import attest, vouch, with_signature
from kmatrix.stages.kernel_tag import with_kernel_tag
from kmatrix.stages.module_signing import signed_context
from kmatrix.stages.publish import image_of, name_image, send_image
from kmatrix.stages.published import build_command, id_in_engine, key_in_engine, with_module, with_published
from kmatrix.stages.recorded_module import module_in_image
from kmatrix.stages.reuse import has_candidates, none_found, reusable_modules
from kmatrix.stages.run_context import CellContext, RunContext, cell_result, raise_if_stopping
from kmatrix.stages.statements import cell_statements
from kmatrix.stages.verdict import to_verdict
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import BuildError, KmatrixError, ToolError
from kmatrix.values.gate_record import GateRecord, RecordedImage, TestedKernel
from kmatrix.values.recipe import Recipe


def skipped_result(recipe: Recipe, published: RecordedImage, wanted: Iterable[str]) -> CellResult:
    """Return the result of a cell that is published, and has passed every gate of the run.

    Args:
        recipe: of the cell.
        published: its image.
        wanted: the names of its profile's gates.
    """
    reason = "already published, built from the same inputs"
    if lacking := not_passed(dict.fromkeys(published.record.gates, "passed"), wanted):
        reason += f"; it has not passed {named(lacking)}"
    return with_published(cell_result(recipe, "skipped", reason), published)


def lacking_gates(run: RunContext, published: RecordedImage) -> tuple[Gate, ...]:
    """Return the gates of the run that a published image has not passed, in order."""
    return tuple(gate for gate in gates_of_run(run) if gate.name not in published.record.gates)


def run_cell(run: RunContext, recipe: Recipe) -> CellResult:
    """Build, check and push one cell, or run the gates that its published image lacks; no other cell is touched.

    Raises:
        InterruptedRunError: the run was told to stop; the cell has no verdict then.
    """
    published = run.ungated.get(recipe.cell.id)
    if published is None:
        return to_verdict(run, recipe, _build_check_push)
    result = to_verdict(run, recipe, lambda cell: _pass_lacking_gates(cell, published), mode="a")
    return with_published(result, published)


def push_cell(run: RunContext, recipe: Recipe, tested: CellResult) -> CellResult:
    """Push the image of an earlier run's result, if the container engine still has exactly that.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    return to_verdict(run, recipe, lambda cell: _push_tested(cell, tested), mode="a")


def _build_check_push(cell: CellContext) -> CellResult:
    run, recipe = cell.run, cell.recipe
    began = utc_now()
    with cell.stage("prepare"):
        pull(run, recipe.toolkit)
        context = build_context(run, recipe)
        context = pull_base(run, recipe, context)
        if run.options.profile.base_packages:
            base = run.base_images.get(recipe.cell.arch, lambda: build_base(cell, context))
            context = based_context(context, base)
        run.userland_builds.get(recipe.group, lambda: build_group(cell, context))
    try:
        if recipe.certificate:
            context = _with_signed_module(cell, context)
        with cell.stage("build"):
            built = build_cell(cell, context)
    except BuildError:
        cell.reusable_from = _reusable_instead(cell)
        raise
    cell.built = began, utc_now()
    result = pass_gates(cell, built, gates_of_run(run), has_name=False)
    if result.verdict != "passed":
        return result
    if withheld := _why_withheld(run, result):
        ref = image_of(run.options.target, recipe.cell)
        run.engine.tag(built, ref.repository, ref.tag)
        return replace(result, reason=f"{result.reason}; {withheld}")
    try:
        return _push(cell, result)
    finally:
        # The registry keeps a published image, and one that could not be published is built again.
        run.engine.remove_image(run.engine.own_name(recipe.cell.tag))


def _with_signed_module(cell: CellContext, context: bytes) -> bytes:
    with cell.stage("build"):
        built = build_module(cell, context)
    with cell.stage("sign"):
        return signed_context(cell, context, built)


def _reusable_instead(cell: CellContext) -> tuple[str, ...] | None:
    """Return the published cells whose modules would load in the kernel of a cell that does not compile.

    None if that could not be found out.
    """
    if not has_candidates(cell.run, cell.recipe.cell):
        return none_found(cell.run, cell.recipe.cell)
    try:
        return reusable_modules(cell, ImageUnderTest(cell, "", gates=()).kernel)
    except KmatrixError as error:
        # It must not hide why the cell does not compile.
        raise_if_stopping(cell.run, error)
        cell.line(f"kmatrix: note: the kernel is not compared with published modules: {error.message}")
        return None


def _why_withheld(run: RunContext, result: CellResult) -> str:
    if lacking := not_passed(result.gates, gates_of_profile(run.options.profile)):
        return f"not pushed: {named(lacking)} {'was' if len(lacking) == 1 else 'were'} left out (--no-boot)"
    return "" if run.options.push else "not pushed (--no-push)"


def _pass_lacking_gates(cell: CellContext, published: RecordedImage) -> CellResult:
    """Put a published image through the gates that it has not passed, and record those; it is not built again."""
    run, recipe = cell.run, cell.recipe
    lacking = lacking_gates(run, published)
    with cell.stage("prepare"):
        pull(run, recipe.toolkit)
        hold_image(run, published.ref)
    try:
        image_id = id_in_engine(run, published.ref)
        result = pass_gates(cell, image_id, lacking)
        known = cell.module or published.record.module
        # A record of an earlier version has less, or nothing, about the module.
        if result.gates_at and run.options.push and (known is None or known.depends is None):
            cell.module = module_in_image(cell, image_id) or cell.module
    finally:
        run.engine.let_go(published.ref.pinned)
    result = with_module(result, cell.module)
    if result.gates_at and run.options.push:
        passed = _passed(cell, result, published.record.digest)
        try:
            with cell.stage("record"):
                _record_passed(run, published, replace(passed, module=cell.module or published.record.module))
        except KmatrixError as error:
            if result.verdict == "passed":
                raise
            # A gate that refused the image outweighs one that could not be recorded.
            raise_if_stopping(run, error)
            cell.line(f"kmatrix: the passed gates could not be recorded: {error.message} {error.hint}")
    if result.verdict == "failed":
        names = named(gate.name for gate in lacking if gate.name not in result.gates_at)
        again = run.options.next("build", "--force", "--only", recipe.cell.id)
        return replace(
            result,
            reason=f"{result.reason}; the image is published already, without {names}, and stays",
            next_step=f"{result.next_step} {again} builds the cell again and replaces the published image.".strip(),
        )
    if result.verdict == "errored":
        return result
    recorded = "recorded beside it" if run.options.push else "not recorded (--no-push)"
    result = replace(result, reason=f"{result.reason}; published already, {named(result.gates)} {recorded}")
    result = with_signature(run, published.ref, with_published(result, published))
    return with_kernel_tag(run, recipe.cell, result)


def _record_passed(run: RunContext, published: RecordedImage, passed: GateRecord) -> None:
    run.records.add(published.ref, passed)
    if run.trust.keyless:
        # Of the CI job's identity, too; complete, as a policy must hold for every test result of an image.
        complete = united([published.record, passed]) or passed
        attest(run, published.ref, passed.digest, [test_result(complete, published.ref.repository)])


def _push_tested(cell: CellContext, tested: CellResult) -> CellResult:
    engine, again = cell.run.engine, f"Run {build_command(cell.run, cell.recipe)}."
    local = engine.image(tested.image_id)
    if local is None:
        raise ToolError(
            f"{tested.image}: the container engine no longer has {tested.image_id}, which was tested", again
        )
    if lacking := not_passed(tested.gates, gates_of_profile(cell.run.options.profile)):
        raise ToolError(f"{tested.image} has not passed {named(lacking)}", again)
    if cell.run.options.profile.feature_lost == "fail" and (lost := about_features(tested.warnings)):
        # Another run built it, when a lost feature was a warning, or before the kernels before it were known.
        raise ToolError(
            f"{tested.image} has not passed gate static: {lost[0].code}: {lost[0].message}", next_step_of(lost)
        )
    if key_in_engine(local) != cell.recipe.cell_key:
        raise ToolError(f"{tested.image} is stale: built from inputs that have changed since", again)
    # The gates that read these facts ran in an earlier run, whose results do not have them all.
    cell.module, cell.image_id = module_in_image(cell, tested.image_id), tested.image_id
    if tested.vmlinuz:
        # The toolkit is that of the cell key, which is the image's, and a gate passes with the cell's kernel alone.
        toolkit = cell.recipe.cell.toolkit.pinned
        cell.kernels = (TestedKernel(toolkit, tested.vmlinuz, cell.recipe.cell.kernel),)
    result = _push(cell, replace(tested, reason=tested.reason.partition("; not pushed")[0]))
    tagged = engine.image(tested.image)
    if tagged is not None and tagged.id == tested.image_id:
        engine.remove_image(tested.image)
    return result


def _push(cell: CellContext, result: CellResult) -> CellResult:
    run, recipe = cell.run, cell.recipe
    ref = image_of(run.options.target, recipe.cell)
    with cell.stage("push"):
        sent = send_image(run, result.image_id, ref, recipe.cell)
    with cell.stage("sign" if run.trust.signs else "push"):
        kinds = vouch(run, ref, _passed(cell, result, sent.digest), lambda: cell_statements(cell, ref, sent.digest))
    result = replace(result, signed=None if run.trust.signer is None else True, attestations=kinds)
    with cell.stage("push"):
        name_image(run, sent)
        # The registry has just answered for it, whenever it did so before.
        return with_kernel_tag(run, recipe.cell, replace(result, digest=sent.digest, seen="", pushed=utc_now()))


def _passed(cell: CellContext, result: CellResult, digest: str) -> GateRecord:
    """Return the record of the gates that a cell's image has passed by a result."""
    recipe = cell.recipe
    return GateRecord(
        digest,
        recipe.cell.id,
        recipe.cell_key,
        gate_passes(result.gates_at),
        cell.module,
        cell.kernels,
        result.warnings,
        cell.run.options.revision,
    )
