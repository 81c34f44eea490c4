"""The gates between a built image and the registry, in their order.

A gate is one module of this package with one function, and one entry in `GATES`. Its finding codes stand in
docs/findings.md. It reads all it needs from the image that it is given, so each gate can be run alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kmatrix.decide.reuse import abi_of
from kmatrix.effects.clock import utc_now
from kmatrix.stages.gates.boot import boot_module
from kmatrix.stages.gates.gate import Gate, ImageUnderTest, Outcome
from kmatrix.stages.gates.mount import mount_module
from kmatrix.stages.gates.secure_boot import secure_module
from kmatrix.stages.gates.static import check_image
from kmatrix.stages.publish import image_of
from kmatrix.stages.reuse import reusable_modules
from kmatrix.stages.run_context import CellContext, RunContext, cell_result
from kmatrix.stages.verdict import explain
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.gate_record import BOOT_GATE, MOUNT_GATE, SECURE_BOOT_GATE, STATIC_GATE
from kmatrix.values.labels import reported_labels
from kmatrix.values.matrix import Profile

# Every gate; an image must have passed those of its profile before it is published.
GATES: tuple[Gate, ...] = (
    Gate(STATIC_GATE, check_image),
    Gate(BOOT_GATE, boot_module, boots=True),
    Gate(MOUNT_GATE, mount_module, boots=True),
    Gate(SECURE_BOOT_GATE, secure_module, boots=True),
)


def gates_of_profile(profile: Profile) -> tuple[str, ...]:
    """Return the names of the gates that a profile's images must pass, in order."""
    return tuple(gate.name for gate in GATES if gate.name in profile.gates)


def gates_of_run(run: RunContext) -> tuple[Gate, ...]:
    """Return the gates that a run puts images through: its profile's, or with --no-boot those that boot nothing."""
    wanted = gates_of_profile(run.options.profile)
    return tuple(gate for gate in GATES if gate.name in wanted and (not gate.boots or run.options.boot is not None))


def not_passed(verdicts: Mapping[str, Verdict], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the gates, of those wanted, that have not been passed by these verdicts."""
    return tuple(name for name in wanted if verdicts.get(name) != "passed")


def named(gates: Iterable[str]) -> str:
    """Return gates as a message names them: `gate boot`, `gates static, boot`."""
    names = tuple(gates)
    return f"gate{'s' if len(names) != 1 else ''} {', '.join(names)}"


def pass_gates(cell: CellContext, image_id: str, gates: Iterable[Gate], *, has_name: bool = True) -> CellResult:
    """Put an image through gates, in order; the first that it does not pass ends it.

    An exception in a gate is that gate's verdict.

    Args:
        cell: the cell.
        image_id: the container engine's id of the image.
        gates: those to run.
        has_name: see `ImageUnderTest`.

    Raises:
        InterruptedRunError: the run was told to stop.
        ToolError: the cell's log cannot be written.
    """
    gates = tuple(gates)
    image = ImageUnderTest(cell, image_id, gates=[gate.name for gate in gates], has_name=has_name)
    cell.image_id = image_id
    with image.guests:
        return _pass_gates(cell, image, gates)


def _pass_gates(cell: CellContext, image: ImageUnderTest, gates: Iterable[Gate]) -> CellResult:
    verdicts: dict[str, Verdict] = {}
    times: dict[str, str] = {}
    outcomes: list[Outcome] = []
    for gate in gates:
        with cell.stage(gate.name):
            outcome = _outcome(gate, image)
        cell.line(f"kmatrix: gate {gate.name}: {outcome.verdict}")
        if outcome.module is not None:
            cell.module, cell.module_file = outcome.module, outcome.module_file
            cell.reusable_from = reusable_modules(cell, image.kernel)
        if outcome.kernel is not None:
            # A mirror is this site's business; others know the toolkit by its name in the release.
            kernel = replace(outcome.kernel, toolkit=cell.recipe.cell.toolkit.pinned)
            cell.kernels = tuple(dict.fromkeys((*cell.kernels, kernel)))
        verdicts[gate.name] = outcome.verdict
        outcomes.append(outcome)
        if outcome.verdict != "passed":
            result = cell_result(
                cell.recipe,
                outcome.verdict,
                outcome.message,
                findings=outcome.findings,
                next_step=outcome.next_step,
            )
            break
        times[gate.name] = utc_now()
    else:
        name = str(image_of(cell.run.options.target, cell.recipe.cell))
        result = cell_result(cell.recipe, "passed", "; ".join(each.message for each in outcomes), image=name)
    result = replace(_with_facts(result, outcomes), image_id=image.id, gates=verdicts, gates_at=times)
    return replace(result, reusable_from=cell.reusable_from)


def _with_facts(result: CellResult, outcomes: Iterable[Outcome]) -> CellResult:
    """Add to a result what its gates found out besides their verdicts; the last that knows a fact gives it."""
    for outcome in outcomes:
        result = replace(
            result,
            serial=outcome.serial or result.serial,
            srcversion=outcome.srcversion or result.srcversion,
            warnings=result.warnings + outcome.warnings,
        )
        if outcome.kernel is not None:
            result = replace(result, vmlinuz=outcome.kernel.vmlinuz)
        if outcome.module is not None:
            module = outcome.module
            facts = replace(result, symbols=len(module.needs), namespaces=module.namespaces)
            result = replace(facts, features=module.features, abi=abi_of(module))
        if outcome.module_file is not None:
            result = replace(result, depends=outcome.module_file.depends)
        if outcome.labels:
            result = replace(result, labels=reported_labels(outcome.labels))
    return result


def _outcome(gate: Gate, image: ImageUnderTest) -> Outcome:
    try:
        return gate.run(image)
    except Exception as error:
        message, next_step = explain(image.cell, error)
        return Outcome("errored", message, next_step=next_step)
