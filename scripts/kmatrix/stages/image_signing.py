"""Signs and attests published images, each before any name leads to it, and again after the image key was changed.

The signature is written last: an image that has one by the image key has that key's attestations too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from kmatrix.decide.image_documents import Document
from kmatrix.decide.own_statements import OWN_TYPES, is_own
from kmatrix.decide.simple_signing import is_about
from kmatrix.decide.test_result import test_result
from kmatrix.effects.registry.image_signatures import add_signature, signatures
from kmatrix.effects.signing.cosign import attest_keyless, sign_keyless
from kmatrix.stages.attested_records import AttestedRecords, add_statements
from kmatrix.stages.gates import gates_of_profile, not_passed
from kmatrix.stages.run_context import RunContext, raise_if_stopping
from kmatrix.stages.trust import verified
from kmatrix.values.attestation import KINDS, TEST_RESULT, Statement
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import KmatrixError
from kmatrix.values.gate_record import GateRecord
from kmatrix.values.names import ImageRef


def vouch(
    run: RunContext, ref: ImageRef, record: GateRecord, statements: Callable[[], Iterable[Statement]] = tuple
) -> tuple[str, ...]:
    """Have the registry keep everything that speaks for an image: the record of its gates, attestations, signature.

    Without keys that is a plain record alone.

    Args:
        run: the run.
        ref: a name in the image's repository; the image need not have it yet.
        record: of the image's gates.
        statements: returns further statements about the image; called only where something is signed.

    Returns:
        the kinds of the attestations (`attestation.KINDS`).

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: something was not written.
        InterruptedRunError: the run was told to stop.
    """
    if run.trust.signer is None:
        run.records.add(ref, record)
    if not run.trust.signs:
        return ()
    written = (test_result(record, ref.repository), *statements())
    attest(run, ref, record.digest, written)
    sign_image(run, ref, record.digest)
    types = {statement.predicate_type for statement in written}
    return tuple(name for kind, name in KINDS.items() if kind in types)


def attest(run: RunContext, ref: ImageRef, digest: str, statements: Iterable[Statement]) -> None:
    """Sign statements about an image, and attach them to its digest.

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: something was not written.
        InterruptedRunError: the run was told to stop.
    """
    statements = tuple(statements)
    if run.trust.signer is not None:
        add_statements(_records(run), ref, digest, statements)
    if run.trust.keyless:
        for statement in statements:
            run.engine.raise_if_stopping()
            attest_keyless(ref.with_digest(digest), statement, run.credentials.for_engine(ref))


def sign_image(run: RunContext, ref: ImageRef, digest: str) -> None:
    """Sign an image by its digest, as an image of the repository that `ref` names.

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: something was not written.
        InterruptedRunError: the run was told to stop.
    """
    run.engine.raise_if_stopping()
    for signer in run.trust.signers:
        add_signature(run.registry, ref, digest, signer, ref.repository, lambda: run.engine.stopping)
    if run.trust.keyless:
        sign_keyless(ref.with_digest(digest), run.credentials.for_engine(ref))


def is_signed(run: RunContext, ref: ImageRef, digest: str) -> bool:
    """Return whether an image has a signature by every image key of this run, as an image of its repository.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried.
    """
    if not run.trust.signers:
        return False
    found = [pair for pair in signatures(run.registry, ref, digest) if is_about(pair[0], ref.repository, digest)]
    return all(
        any(signer.public.verify(signature, payload) for payload, signature in found) for signer in run.trust.signers
    )


def complete_signature(run: RunContext, ref: ImageRef, digest: str, source: ImageRef | None = None) -> bool:
    """Sign an image that lacks a signature by an image key: with its attestations that verify, then itself.

    An image lacks it after the key was changed, and where it was copied from another repository. Attestations that
    another program wrote, with a key that the profile lists, stay that program's alone.

    Args:
        run: the run.
        ref: a name in the image's repository.
        digest: of its manifest or list.
        source: a name in the repository that has its attestations; None if it is its own.

    Returns:
        whether something was signed.

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: something was not read or not written.
        InterruptedRunError: the run was told to stop.
    """
    if run.trust.signer is None or is_signed(run, ref, digest):
        return False
    found = verified(run.registry, run.trust, source or ref, digest, run.progress.warn, OWN_TYPES)
    own = [replace(each, name=ref.repository) for each in found if is_own(each)]
    add_statements(_records(run), ref, digest, own)
    sign_image(run, ref, digest)
    return True


def complete_signatures(run: RunContext, ref: ImageRef, digest: str, listed: Callable[[], Iterable[str]]) -> bool:
    """Sign a list that lacks a signature by the image key, after every image that it names.

    A node verifies the image of its own architecture, and cosign whatever the name leads to: containers/image asks its
    policy about the instance that it copies (copy/single.go), and cosign looks at no instance.

    Args:
        run: the run.
        ref: a name in the repository.
        digest: of the list, or of one image's manifest, which is signed alone.
        listed: returns the digests that the list names; called only if the list is not signed.

    Returns:
        whether something was signed.

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: something was not read or not written.
        InterruptedRunError: the run was told to stop.
    """
    if run.trust.signer is None or is_signed(run, ref, digest):
        return False
    for each in listed():
        if each != digest:
            complete_signature(run, ref, each)
    return complete_signature(run, ref, digest)


def sign_before_name(run: RunContext, ref: ImageRef, document: Document) -> None:
    """Put a list, or an image's manifest, under its digest, and sign everything that it names.

    Args:
        run: the run; where it signs nothing, nothing is done.
        ref: the name that leads to it next.
        document: the list or the manifest, composed by this project.

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: something was not read or not written.
        InterruptedRunError: the run was told to stop.
    """
    if not run.trust.signs:
        return
    run.registry.put_manifest(ref.with_tag(""), document.content, document.media_type)
    if run.trust.signer is None:
        sign_image(run, ref, document.digest)
    else:
        complete_signatures(run, ref, document.digest, lambda: instances(document))


def instances(document: Document) -> tuple[str, ...]:
    """Return the digests of the images that a list names; none for a manifest of one image."""
    return tuple(str(entry["digest"]) for entry in json.loads(document.content).get("manifests", ()))


def is_completable(run: RunContext, result: CellResult) -> bool:
    """Return whether a run may add to a cell's published image: it pushes, and the image has passed every gate."""
    lacking = not_passed(result.gates, gates_of_profile(run.options.profile))
    return run.options.push and result.verdict in ("passed", "skipped") and bool(result.digest) and not lacking


def with_signature(run: RunContext, ref: ImageRef, result: CellResult) -> CellResult:
    """Sign a published cell's image where the image key has not signed it, and return the cell's result with a note.

    Where it cannot be signed, the cell is errored, though its image is published: the next run finds the cell published
    and signs it.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    if run.trust.signer is None or not is_completable(run, result):
        return result
    raise_if_stopping(run)
    was_signed: bool | None = None
    try:
        was_signed = is_signed(run, ref, result.digest)
        if not was_signed:
            complete_signature(run, ref, result.digest)
    except KmatrixError as error:
        raise_if_stopping(run, error)
        reason = f"{result.reason}; published, but not signed with {run.trust.named}: {error.message}"
        return replace(result, verdict="errored", reason=reason, next_step=error.hint, signed=was_signed)
    # The record that the result is made from was a signed test result.
    result = replace(result, signed=True, attestations=result.attestations or (KINDS[TEST_RESULT],))
    return result if was_signed else replace(result, reason=f"{result.reason}; now signed with {run.trust.named}")


def _records(run: RunContext) -> AttestedRecords:
    return AttestedRecords(run.registry, run.trust, run.progress.warn, lambda: run.engine.stopping)
