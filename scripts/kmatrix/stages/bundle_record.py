"""The record that a bundle was booted with each of its kernels: without it, no published bundle is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

from kmatrix.decide.bundle import Composed, Wanted, manifest_list
from kmatrix.decide.spdx import is_document
from kmatrix.effects.clock import utc_now
from kmatrix.stages.gate_records import Records, gate_passes
from kmatrix.stages.image_signing import vouch
from kmatrix.stages.run_context import RunContext
from kmatrix.stages.statements import bundle_statements
from kmatrix.stages.trust import verified
from kmatrix.values.attestation import SPDX
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import BOOT_GATE, GateRecord, TestedKernel
from kmatrix.values.names import Arch, ClientVersion, ImageRef


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
    wanted: Wanted,
    bundles: Sequence[Composed],
    kernels: Mapping[Arch, tuple[TestedKernel, ...]],
    began: str,
) -> None:
    """Have the registry keep a record that a bundle was booted, and, where the run signs, all that speaks for it.

    Nodes pull the image of their architecture: it is attested and signed as the list is.

    Args:
        run: that booted it.
        ref: the bundle's name, which does not lead to it yet.
        wanted: the planned bundle.
        bundles: of each architecture; the registry has these images.
        kernels: those that answered in the boots of each.
        began: when the run began with the bundle (UTC, ISO 8601).

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: something was not written.
        InterruptedRunError: the run was told to stop.
    """
    gates, revision = gate_passes({BOOT_GATE: utc_now()}), run.options.revision
    sbom_of = cache(partial(_sbom, run, ref))

    def put(digest: str, parts: Sequence[Composed]) -> None:
        answered = tuple(kernel for part in parts for kernel in kernels[part.arch])
        record = GateRecord(digest, str(wanted.client), "", gates, kernels=answered, revision=revision)
        vouch(run, ref, record, lambda: bundle_statements(run, wanted, parts, ref, digest, began, sbom_of))

    complete = manifest_list(bundles)
    if run.trust.signs and len(bundles) > 1:
        run.registry.put_manifest(ref.with_tag(""), complete.content, complete.media_type)
        for bundle in bundles:
            put(bundle.manifest.digest, [bundle])
    put(complete.digest, bundles)


def _sbom(run: RunContext, ref: ImageRef, digest: str) -> Mapping[str, Any] | None:
    """Return a cell's bill of materials by this project that a trusted key has signed; None if there is none."""
    # Those that do not verify are no news: the ones of an old key stay beside an image.
    found = verified(run.registry, run.trust, ref, digest, lambda _: None, frozenset({SPDX}))
    ours = [each.predicate for each in found if is_document(each.predicate, digest)]
    return ours[-1] if ours else None


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
