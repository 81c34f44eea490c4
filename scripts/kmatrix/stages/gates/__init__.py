"""The gates between a built image and the registry, in their order.

A gate is one module of this package with one function, and one entry in `GATES`. Its finding codes stand in
docs/findings.md. It reads all it needs from the image that it is given, so each gate can be run alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kmatrix.effects.clock import utc_now
from kmatrix.stages.gates.boot import boot_module
from kmatrix.stages.gates.gate import Gate, ImageUnderTest, Outcome
from kmatrix.stages.gates.static import check_image
from kmatrix.stages.publish import image_of
from kmatrix.stages.run_context import CellContext, RunContext, cell_result
from kmatrix.stages.verdict import explain
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.gate_record import BOOT_GATE, STATIC_GATE

# An image must have passed every one of these before it is published.
GATES: tuple[Gate, ...] = (Gate(STATIC_GATE, check_image), Gate(BOOT_GATE, boot_module, boots=True))


def gates_of_run(run: RunContext) -> tuple[Gate, ...]:
    """Return the gates that a run puts images through: all, or with --no-boot those that boot nothing."""
    return tuple(gate for gate in GATES if not gate.boots or run.options.boot is not None)


def not_passed(verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
    """Return the names of the gates, of all, that have not been passed by these verdicts."""
    return tuple(gate.name for gate in GATES if verdicts.get(gate.name) != "passed")


def named(gates: Iterable[str]) -> str:
    """Return gates as a message names them: `gate boot`, `gates static, boot`."""
    names = tuple(gates)
    return f"gate{'s' if len(names) != 1 else ''} {', '.join(names)}"


def pass_gates(cell: CellContext, image_id: str, gates: Iterable[Gate], *, named: bool = True) -> CellResult:
    """Put an image through gates, in order; the first that it does not pass ends it.

    An exception in a gate is that gate's verdict.

    Args:
        cell: the cell.
        image_id: the container engine's id of the image.
        gates: those to run.
        named: see `ImageUnderTest`.

    Raises:
        InterruptedRunError: the run was told to stop.
        ToolError: the cell's log cannot be written.
    """
    image = ImageUnderTest(cell, image_id, named=named)
    verdicts: dict[str, Verdict] = {}
    times: dict[str, str] = {}
    messages = []
    serial = srcversion = ""
    for gate in gates:
        with cell.stage(gate.name):
            outcome = _outcome(gate, image)
        cell.line(f"kmatrix: gate {gate.name}: {outcome.verdict}")
        verdicts[gate.name] = outcome.verdict
        serial, srcversion = outcome.serial or serial, outcome.srcversion or srcversion
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
        messages.append(outcome.message)
    else:
        name = str(image_of(cell.run.options.target, cell.recipe.cell))
        result = cell_result(cell.recipe, "passed", "; ".join(messages), image=name)
    return replace(result, image_id=image_id, srcversion=srcversion, serial=serial, gates=verdicts, gates_at=times)


def _outcome(gate: Gate, image: ImageUnderTest) -> Outcome:
    try:
        return gate.run(image)
    except Exception as error:
        message, next_step = explain(image.cell, error)
        return Outcome("errored", message, next_step=next_step)
