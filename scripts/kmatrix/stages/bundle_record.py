"""The record that a bundle was booted with each of its kernels: without it, no published bundle is believed."""

from __future__ import annotations

from collections.abc import Mapping

from kmatrix.decide.bundle import Wanted
from kmatrix.decide.image_documents import Document
from kmatrix.effects.clock import utc_now
from kmatrix.stages.gate_records import Records, gate_passes
from kmatrix.stages.image_signing import vouch
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
    run: RunContext,
    ref: ImageRef,
    client: ClientVersion,
    complete: Document,
    booted: Mapping[str, tuple[TestedKernel, ...]],
) -> None:
    """Have the registry keep a record that a bundle was booted, and, where the run signs, all that speaks for it.

    Nodes pull the image of their architecture: it is attested and signed as the list is.

    Args:
        run: the run.
        ref: the bundle's name, which does not lead to it yet.
        client: whose bundle it is.
        complete: the list of its images, or the manifest of its one image.
        booted: the kernels that answered, by the digest of each architecture's image; the registry has these images.

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: the record was not written.
        InterruptedRunError: the run was told to stop.
    """
    gates, revision = gate_passes({BOOT_GATE: utc_now()}), run.options.revision

    def record(digest: str, kernels: tuple[TestedKernel, ...]) -> GateRecord:
        return GateRecord(digest, str(client), "", gates, kernels=kernels, revision=revision)

    if run.trust.signs:
        run.registry.put_manifest(ref.with_tag(""), complete.content, complete.media_type)
        for digest, kernels in booted.items():
            if digest != complete.digest:
                vouch(run, ref, record(digest, kernels))
    vouch(run, ref, record(complete.digest, tuple(kernel for kernels in booted.values() for kernel in kernels)))


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
