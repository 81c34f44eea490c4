"""Records of gates as attestations: the test results of an image that a trusted key has signed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmatrix.decide.attestation import statement_bytes
from kmatrix.decide.gate_record import MalformedRecordError
from kmatrix.decide.test_result import record_of, test_result
from kmatrix.decide.united_record import adds_nothing, is_of_same_image, united
from kmatrix.effects.registry.referrers import attach
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages.gate_records import PlainRecords, Records
from kmatrix.stages.trust import Trust, verified
from kmatrix.values.attestation import TEST_RESULT, Statement
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import GateRecord
from kmatrix.values.names import ImageRef

# It takes 12 MB of memory, which a run without keys need not spend.
if TYPE_CHECKING:
    from kmatrix.effects.signing.image_keys import ImageSigner


@dataclass(frozen=True)
class AttestedRecords:
    """Records that count only if a trusted key has signed them.

    `say` is given lines about attestations that are not believed; `stopping` is whether the run was told to stop.
    """

    registry: RegistryWriter
    trust: Trust
    say: Callable[[str], None]
    stopping: Callable[[], bool] = lambda: False

    def find(self, ref: ImageRef, digest: str) -> GateRecord | None:
        """Return the union of an image's test results that verify; None where there are none (see `Records.find`).

        Those that do not verify are named only if no other does: the ones of an old key stay beside the image.
        """
        notes: list[str] = []
        found = verified(self.registry, self.trust, ref, digest, notes.append, frozenset({TEST_RESULT}))
        record = united(records_in(found, ref, self.say))
        if record is None:
            for note in notes:
                self.say(note)
        return record

    def add(self, ref: ImageRef, record: GateRecord) -> None:
        """Attach a signed test result, unless those of the same key say all of it already (see `Records.add`).

        It also says what earlier ones say: cosign applies a policy to every test result of an image (sigstore/cosign,
        cmd/cosign/cli/verify/verify_attestation.go), and one with the later gate alone would fail it.
        """
        there = verified(self.registry, self.trust, ref, record.digest, _silent, frozenset({TEST_RESULT}))
        same = [each for each in records_in(there, ref, _silent) if is_of_same_image(each, record)]
        complete = united([*same, record]) or record
        add_statements(self, ref, record.digest, [test_result(complete, ref.repository)])


def records_for(
    trust: Trust, registry: RegistryWriter, say: Callable[[str], None], stopping: Callable[[], bool] = lambda: False
) -> Records:
    """Return the records of a registry in the form that a run believes: attested ones where it has public keys."""
    if trust.keys:
        return AttestedRecords(registry, trust, say, stopping)
    return PlainRecords(registry, say, stopping)


def records_in(statements: Iterable[Statement], ref: ImageRef, say: Callable[[str], None]) -> list[GateRecord]:
    """Return the records that test results hold; one that holds none is named and left out.

    Args:
        statements: verified ones; those of other types are left out.
        ref: a name in the image's repository.
        say: is given a line for each test result that is no record.
    """
    found = []
    for statement in statements:
        if statement.predicate_type != TEST_RESULT:
            continue
        try:
            found.append(record_of(statement))
        except MalformedRecordError as error:
            place = f"{ref.repository}@{statement.digest}"
            say(f"note: {place}: a signed test result is not believed as a record of passed gates: {error}")
    return found


def add_statements(records: AttestedRecords, ref: ImageRef, digest: str, statements: Iterable[Statement]) -> None:
    """Sign statements about an image with every image key and attach them, unless it has signed their content before.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry or the key's service could not be queried, or
            refuses.
        ToolError: the registry keeps something else, or this run has no image key.
        InterruptedRunError: the run was told to stop.
    """
    if not records.trust.signers:
        raise ToolError("this run has no image key, and was to sign an attestation", "Report this as a bug.")
    # Both keys may have signed a statement that is copied from another repository, or signed again by a third.
    different = {statement_bytes(statement): statement for statement in statements}.values()
    for signer in records.trust.signers:
        _add_by(records, signer, ref, digest, different)


def _add_by(
    records: AttestedRecords, signer: ImageSigner, ref: ImageRef, digest: str, statements: Iterable[Statement]
) -> None:
    # Attestations by other keys are no fault: those keys may leave the list one day.
    there = verified(records.registry, records.trust.in_one(signer), ref, digest, _silent)
    known = {statement_bytes(statement) for statement in there}
    recorded = united(records_in(there, ref, _silent))
    new = [
        statement
        for statement in statements
        if statement_bytes(statement) not in known
        and not (statement.predicate_type == TEST_RESULT and adds_nothing(record_of(statement), recorded))
    ]
    if new:
        # Here: it takes 12 MB of memory, which a run that signs nothing need not spend.
        from kmatrix.effects.signing.bundles import sign_statement

        signed = [(statement.predicate_type, sign_statement(statement, signer)) for statement in new]
        attach(records.registry, ref, digest, signed, records.stopping)


def _silent(_: str) -> None:
    pass
