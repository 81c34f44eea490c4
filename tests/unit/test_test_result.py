"""The test result of an image: what other verifiers read in it, and the record of gates that it gives back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kmatrix.decide import test_result as form
from kmatrix.decide.gate_record import MalformedRecordError
from kmatrix.values.attestation import PROVENANCE, TEST_RESULT, Statement
from kmatrix.values.cells import Finding
from kmatrix.values.gate_record import GatePass, GateRecord, RecordedModule, TestedKernel

DIGEST = "sha256:" + "1" * 64
NAME = "quay.io/team/beegfs-client"
KERNEL = TestedKernel(
    f"quay.io/okd/driver-toolkit@sha256:{'2' * 64}", f"sha256:{'3' * 64}", "5.14.0-427.50.1.el9_4.x86_64"
)
OTHER = replace(KERNEL, vmlinuz=f"sha256:{'4' * 64}", release="5.14.0-427.50.1.el9_4.x86_64+rt")
MODULE = RecordedModule(
    ("KERNEL_HAS_A", "KERNEL_HAS_B"), {"kmalloc": 0x1234, "weak": 0}, ("CIFS",), "GPL v2", ("ib_core",)
)
WARNING = Finding("features", "feature-lost", "the module lacks KERNEL_HAS_C", "KERNEL_HAS_C", "")
RECORD = GateRecord(
    digest=DIGEST,
    name="8.98.1-5.14.0-427.50.1.el9_4.x86_64",
    cell_key=f"sha256:{'5' * 64}",
    gates={
        "static": GatePass("2026-01-01T00:00:00Z", "0.1.0"),
        "boot": GatePass("2026-01-01T00:00:09Z", "0.1.0"),
        "mount": GatePass("2026-02-01T00:00:00Z", "0.2.0"),
    },
    module=MODULE,
    kernels=(KERNEL, OTHER),
    warnings=(WARNING,),
    revision="a" * 40,
)
Change = Callable[[dict[str, Any]], object]


def _through_json(statement: Statement) -> Statement:
    """What a reader gets: the predicate was text in between."""
    return replace(statement, predicate=json.loads(json.dumps(statement.predicate)))


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, module=None, warnings=(), revision=""),
        replace(RECORD, module=replace(MODULE, features=None)),
        replace(RECORD, name="8.98.1", cell_key="", module=None, gates={"boot": RECORD.gates["boot"]}),
        replace(RECORD, kernels=()),
        replace(RECORD, gates={}, warnings=()),
    ],
    ids=["all", "least", "no-features", "bundle", "no-kernel", "no-gate"],
)
def test_a_record_comes_back_exactly(record: GateRecord) -> None:
    assert form.record_of(_through_json(form.test_result(record, NAME))) == record


def test_the_statement_is_about_the_image() -> None:
    statement = form.test_result(RECORD, NAME)
    assert (statement.predicate_type, statement.name, statement.digest) == (TEST_RESULT, NAME, DIGEST)


def test_a_gate_with_a_finding_that_did_not_decide_is_warned() -> None:
    """in-toto/attestation, spec/predicates/test-result.md: the lists of tests, and the results."""
    predicate = form.test_result(RECORD, NAME).predicate
    assert predicate["result"] == "WARNED"
    assert (predicate["passedTests"], predicate["warnedTests"]) == (["boot", "mount"], ["static"])
    predicate = form.test_result(replace(RECORD, warnings=()), NAME).predicate
    assert predicate["result"] == "PASSED"
    assert (predicate["passedTests"], predicate["warnedTests"]) == (["boot", "mount", "static"], [])


def test_a_warning_of_a_gate_that_was_not_run_warns_of_none() -> None:
    later = replace(RECORD, gates={"mount": RECORD.gates["mount"]})
    assert form.test_result(later, NAME).predicate["result"] == "PASSED"


def test_every_descriptor_has_a_digest_or_an_address() -> None:
    """in-toto/attestation, spec/v1/resource_descriptor.md: one of uri, digest, content at least."""
    for record in (RECORD, replace(RECORD, revision="")):
        configuration = form.test_result(record, NAME).predicate["configuration"]
        assert all(each.get("uri") or each.get("digest") for each in configuration)


def test_other_verifiers_find_the_kernel_and_its_toolkit() -> None:
    configuration = form.test_result(RECORD, NAME).predicate["configuration"]
    assert [each["name"] for each in configuration] == ["kmatrix", "driver-toolkit", "vmlinuz", "vmlinuz"]
    program, toolkit, kernel, _ = configuration
    assert program["digest"] == {"gitCommit": "a" * 40}
    assert toolkit["digest"] == {"sha256": "2" * 64}
    assert toolkit["uri"].startswith("pkg:oci/driver-toolkit@sha256%3A222")
    assert kernel["digest"] == {"sha256": "3" * 64}
    assert kernel["annotations"] == {"release": KERNEL.release, "toolkit": KERNEL.toolkit}


def _in_program(key: str, value: Any) -> Change:
    return lambda predicate: predicate["configuration"][0]["annotations"].update({key: value})


def _in_kernel(key: str, value: Any) -> Change:
    return lambda predicate: predicate["configuration"][-1].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda predicate: predicate.update(result="FAILED"), "FAILED"),
        (lambda predicate: predicate.update(result=["PASSED"]), "result"),
        (lambda predicate: predicate.update(failedTests=["boot"]), "failed"),
        (lambda predicate: predicate.pop("result"), "KeyError"),
        (lambda predicate: predicate.pop("configuration"), "KeyError"),
        (lambda predicate: predicate.update(configuration=None), "TypeError"),
        (lambda predicate: predicate.update(configuration=[]), "ValueError"),
        (lambda predicate: predicate["configuration"].append(predicate["configuration"][0]), "ValueError"),
        (lambda predicate: predicate["configuration"].append("vmlinuz"), "AttributeError"),
        (lambda predicate: predicate.update(passedTests=["boot", "mount", "secure-boot"]), "secure-boot"),
        (lambda predicate: predicate.update(passedTests=["boot"]), "boot"),
        (lambda predicate: predicate.update(passedTests=["boot", "mount", "mount"]), "mount"),
        (lambda predicate: predicate.update(passedTests=[1, "mount"]), "TypeError"),
        (_in_program("schema", 2), "schema 2"),
        (_in_program("schema", True), "schema True"),
        (_in_program("name", 7), "TypeError"),
        (_in_program("name", "\ud800"), "UnicodeEncodeError"),
        (_in_program("gates", ["boot"]), "AttributeError"),
        (_in_program("gates", {"boot": {"at": 1, "kmatrix": "1"}}), "TypeError"),
        (_in_program("warnings", [{"check": "features"}]), "KeyError"),
        (_in_program("module", {"features": "all"}), "TypeError"),
        (_in_program("module", None), "TypeError"),
        (_in_kernel("digest", {"sha256": "33"}), "ValueError"),
        (_in_kernel("digest", {"sha512": "3" * 128}), "KeyError"),
        (_in_kernel("annotations", {"release": "6.1", "toolkit": "quay.io/okd/driver-toolkit"}), "ValueError"),
        (_in_kernel("annotations", None), "TypeError"),
        (lambda predicate: predicate["configuration"][0].update(digest={"gitCommit": "main"}), "no commit"),
    ],
)
def test_a_predicate_of_another_form_is_refused(change: Change, message: str) -> None:
    statement = form.test_result(RECORD, NAME)
    predicate = copy.deepcopy(dict(statement.predicate))
    change(predicate)
    with pytest.raises(MalformedRecordError, match=message):
        form.record_of(replace(statement, predicate=predicate))


def test_a_predicate_of_another_type_is_refused() -> None:
    with pytest.raises(MalformedRecordError, match="slsa"):
        form.record_of(replace(form.test_result(RECORD, NAME), predicate_type=PROVENANCE))


def test_fields_of_later_versions_and_of_others_are_ignored() -> None:
    """in-toto/attestation, spec/v1/README.md: consumers must ignore unrecognised fields."""
    statement = form.test_result(RECORD, NAME)
    predicate = {**copy.deepcopy(dict(statement.predicate)), "url": "https://ci.example.com/1", "x": {}}
    predicate["configuration"].append({"name": "runner", "uri": "https://ci.example.com"})
    assert form.record_of(replace(statement, predicate=predicate)) == RECORD
