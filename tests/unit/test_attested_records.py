"""Records that a key has signed: they come back as they were, and nothing that no trusted key signed is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from kmatrix.decide.test_result import record_of
from kmatrix.effects.registry.referrers import attach, attached
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.signing.bundles import sign_statement
from kmatrix.stages.attested_records import AttestedRecords, records_for
from kmatrix.stages.gate_records import PlainRecords
from kmatrix.stages.trust import Trust, verified
from kmatrix.values.attestation import PROVENANCE, TEST_RESULT, Statement
from kmatrix.values.errors import ToolError, UnreachableError
from kmatrix.values.gate_record import GatePass, GateRecord, RecordedModule, TestedKernel
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import problem
from tests.unit.support.image_registry import NO_CREDENTIALS, ImageRegistry, image_registry
from tests.unit.support.trusted_keys import signer, trust, types_at

PATH = "team/image"
MODULE = RecordedModule(("KERNEL_HAS_A",), {"_printk": 0x92997ED8}, ("VFS_internal",), "GPL v2")


@dataclass
class Bench:
    """An image in a registry."""

    server: ImageRegistry
    image: str
    said: list[str] = field(default_factory=list)

    @property
    def registry(self) -> RegistryWriter:
        return RegistryWriter(NO_CREDENTIALS)

    @property
    def ref(self) -> ImageRef:
        return self.server.ref(PATH, "1")

    @property
    def record(self) -> GateRecord:
        kernel = TestedKernel(f"r.example/toolkit@{self.image}", "sha256:" + "b" * 64, "6.1.0-56-amd64")
        return GateRecord(self.image, "1", "key", passes("static", "boot"), MODULE, (kernel,), (), "c" * 40)

    def records(self, believed: Trust) -> AttestedRecords:
        return AttestedRecords(self.registry, believed, self.said.append)

    def attest(self, statement: Statement, key: str, digest: str = "") -> None:
        content = sign_statement(statement, signer(key))
        attach(self.registry, self.ref, digest or self.image, [(statement.predicate_type, content)], lambda: False)


def passes(*gates: str, day: int = 1) -> dict[str, GatePass]:
    return {gate: GatePass(f"2026-01-{day:02}T00:00:00Z", "0.1.0") for gate in gates}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with image_registry() as server:
        yield Bench(server, server.image(PATH, "1", {"config": {}}))


def test_a_record_comes_back_as_it_was_and_no_plain_one_is_written(bench: Bench) -> None:
    bench.records(trust("own")).add(bench.ref, bench.record)
    assert bench.records(trust("", "own")).find(bench.ref, bench.image) == bench.record
    assert not [tag for tag in bench.server.repository(PATH).tags if tag.endswith(".gates")]
    assert bench.said == []


def test_only_a_run_with_public_keys_wants_signed_records(bench: Bench) -> None:
    assert isinstance(records_for(trust("", "own"), bench.registry, print), AttestedRecords)
    assert isinstance(records_for(Trust(), bench.registry, print), PlainRecords)
    assert isinstance(records_for(Trust(keyless=True), bench.registry, print), PlainRecords)


def test_a_plain_record_counts_for_nothing_where_records_are_signed(bench: Bench) -> None:
    PlainRecords(bench.registry, print).add(bench.ref, bench.record)
    assert bench.records(trust("own")).find(bench.ref, bench.image) is None


def test_a_record_that_another_key_signed_is_not_believed_and_told(bench: Bench) -> None:
    bench.records(trust("other")).add(bench.ref, bench.record)
    assert bench.records(trust("own")).find(bench.ref, bench.image) is None
    (said,) = bench.said
    assert said.startswith(f"note: {bench.ref.repository}@{bench.image}: the attestation sha256:")
    assert "is not believed" in said


def test_a_record_of_another_image_is_not_believed(bench: Bench) -> None:
    other = bench.server.image(PATH, "2", {"config": {"other": True}})
    bench.records(trust("own")).add(bench.ref, replace(bench.record, digest=other))
    (copied,) = attached(bench.registry, bench.ref, other)
    attach(bench.registry, bench.ref, bench.image, [(TEST_RESULT, copied.content)], lambda: False)
    assert bench.records(trust("own")).find(bench.ref, bench.image) is None
    assert len(bench.said) == 1


def test_what_says_another_type_of_itself_is_no_record(bench: Bench) -> None:
    bench.attest(Statement(PROVENANCE, bench.ref.repository, bench.image, {"any": 1}), "own")
    assert bench.records(trust("own")).find(bench.ref, bench.image) is None
    assert bench.said == []


def test_a_signed_test_result_of_another_program_is_told_and_ends_nothing(bench: Bench) -> None:
    bench.attest(Statement(TEST_RESULT, bench.ref.repository, bench.image, {"result": "PASSED"}), "own")
    bench.records(trust("own")).add(bench.ref, bench.record)
    assert bench.records(trust("own")).find(bench.ref, bench.image) == bench.record
    assert [said for said in bench.said if "is not believed as a record of passed gates" in said]


def test_a_second_record_extends_the_first(bench: Bench) -> None:
    records = bench.records(trust("own"))
    records.add(bench.ref, bench.record)
    records.add(bench.ref, replace(bench.record, gates=passes("mount", day=2), module=None, kernels=()))
    found = records.find(bench.ref, bench.image)
    assert found == replace(bench.record, gates={**passes("static", "boot"), **passes("mount", day=2)})
    assert types_at(bench.registry, bench.ref, bench.image) == [TEST_RESULT] * 2


def test_a_later_test_result_says_what_earlier_ones_say(bench: Bench) -> None:
    """A policy of cosign's must hold for each test result, such as the one that the gate `boot` was passed."""
    bench.records(trust("old")).add(bench.ref, bench.record)
    bench.records(trust("new", "old")).add(bench.ref, replace(bench.record, gates=passes("mount", day=2), module=None))
    (later,) = verified(bench.registry, trust("new"), bench.ref, bench.image, print, frozenset({TEST_RESULT}))[-1:]
    assert later.predicate["passedTests"] == ["boot", "mount", "static"]
    assert record_of(later).module == MODULE


def test_a_test_result_has_no_gate_of_another_cell_key(bench: Bench) -> None:
    records = bench.records(trust("own"))
    # The clock of the machine that ran them was fast.
    records.add(bench.ref, replace(bench.record, cell_key="other", gates=passes("static", "boot", day=9)))
    records.add(bench.ref, replace(bench.record, gates=passes("mount", day=2)))
    (later,) = verified(bench.registry, trust("own"), bench.ref, bench.image, print, frozenset({TEST_RESULT}))[-1:]
    assert (record_of(later).cell_key, later.predicate["passedTests"]) == (bench.record.cell_key, ["mount"])


def test_a_record_that_adds_nothing_is_not_attached_again(bench: Bench) -> None:
    records = bench.records(trust("own"))
    for day in (1, 2, 3):
        records.add(bench.ref, replace(bench.record, gates=passes("static", "boot", day=day)))
    assert types_at(bench.registry, bench.ref, bench.image) == [TEST_RESULT]


def test_records_by_an_old_key_count_as_long_as_it_is_listed(bench: Bench) -> None:
    bench.records(trust("old")).add(bench.ref, bench.record)
    both = bench.records(trust("new", "old"))
    assert both.find(bench.ref, bench.image) == bench.record
    both.add(bench.ref, replace(bench.record, gates=passes("mount")))
    assert both.find(bench.ref, bench.image) == replace(bench.record, gates=passes("static", "boot", "mount"))
    # What the old key alone has said is signed again by the new one.
    bench.said.clear()
    alone = bench.records(trust("new")).find(bench.ref, bench.image)
    assert alone is not None
    assert set(alone.gates) == {"static", "boot", "mount"}
    assert bench.said == [], "the old key's stays, and is no news in every later run"


def test_a_run_without_an_image_key_signs_no_record(bench: Bench) -> None:
    with pytest.raises(ToolError, match="no image key"):
        bench.records(trust("", "own")).add(bench.ref, bench.record)


@pytest.mark.usefixtures("slept")
def test_a_registry_that_cannot_be_queried_is_no_absence(bench: Bench) -> None:
    bench.records(trust("own")).add(bench.ref, bench.record)
    bench.server.instead = lambda request: problem(503, "UNAVAILABLE") if request.method == "GET" else None
    with pytest.raises(UnreachableError):
        bench.records(trust("own")).find(bench.ref, bench.image)


def test_statements_that_verify_are_returned_whatever_their_type(bench: Bench) -> None:
    statement = Statement(PROVENANCE, bench.ref.repository, bench.image, {"any": [1]})
    bench.attest(statement, "own")
    bench.attest(replace(statement, predicate={"any": [2]}), "other")
    assert verified(bench.registry, trust("own"), bench.ref, bench.image, bench.said.append) == (statement,)
    assert len(bench.said) == 1
    assert len(verified(bench.registry, trust("own", "other"), bench.ref, bench.image, print)) == 2
