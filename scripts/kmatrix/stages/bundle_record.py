"""The record that a bundle was booted with each of its kernels: without it, no published bundle is believed."""

from __future__ import annotations

from kmatrix.decide.bundle import Wanted
from kmatrix.effects.clock import utc_now
from kmatrix.stages.gate_records import Records, gate_passes
from kmatrix.stages.run_context import RunContext
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import BOOT_GATE, GateRecord, TestedKernel
from kmatrix.values.names import ClientVersion, ImageRef


def is_recorded(records: Records, ref: ImageRef, client: ClientVersion, digest: str) -> bool:
    """Return whether this project's record shows that exactly this bundle was booted.

    Args:
        records: those of its registry.
        ref: its name.
        client: whose bundle it is.
        digest: of the bundle: a manifest, or a list of them.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried.
    """
    record = records.find(ref, digest)
    return record is not None and record.name == str(client) and BOOT_GATE in record.gates


def record_boots(
    run: RunContext, ref: ImageRef, client: ClientVersion, digest: str, kernels: tuple[TestedKernel, ...]
) -> None:
    """Have the registry keep a record that a bundle was booted, in these kernels.

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: the record was not written.
        InterruptedRunError: the run was told to stop.
    """
    gates, revision = gate_passes({BOOT_GATE: utc_now()}), run.options.revision
    run.records.add(ref, GateRecord(digest, str(client), "", gates, kernels=kernels, revision=revision))


def without_record(wanted: Wanted, ref: ImageRef, digest: str, kernels: tuple[str, ...]) -> ToolError:
    """Return the error for kernels that only a published bundle without a record has.

    Args:
        wanted: the bundle to be published, those kernels included.
        ref: the published bundle's name.
        digest: of the published bundle.
        kernels: at least one.
    """
    (cell,) = [image.cell.id for image in wanted.images if image.cell.kernel == kernels[0]][:1]
    again = wanted.next("build", "--only", cell)
    forget = wanted.next("discover", "--forget", kernels[0])
    return ToolError(
        f"{ref} names {digest}, and the registry has no record of this project's that this was booted; no published "
        f"cell with every gate passed has its kernels {', '.join(kernels)}",
        f"For each of these kernels: {again} publishes its cell, if it is planned, and {forget} removes it. To remove "
        f"all of them, remove the tag {ref.tag} from the registry.",
    )
