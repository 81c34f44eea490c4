"""The attestation of the gates that an image has passed: in-toto's test result, which holds a record of gates.

The form is that of in-toto/attestation, spec/predicates/test-result.md. A verifier of any make reads the result, the
names of the tests, and the configuration: this program, and each kernel that was booted with its toolkit. The rest of
the record stands in the annotations of the program's descriptor, where the specification has its place for what a
producer and its own consumer agree on (spec/v1/resource_descriptor.md).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from kmatrix.decide.formats.purl import image_purl
from kmatrix.decide.gate_record import MalformedRecordError, module_content, module_of
from kmatrix.values.attestation import TEST_RESULT, Statement
from kmatrix.values.cells import Finding
from kmatrix.values.gate_record import STATIC_GATE, GatePass, GateRecord, TestedKernel
from kmatrix.values.names import ImageRef, digest
from kmatrix.values.project import PROGRAM

SCHEMA = 1
_PROGRAM = "kmatrix"
_TOOLKIT = "driver-toolkit"
_KERNEL = "vmlinuz"
_RESULTS = ("PASSED", "WARNED")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FINDING = ("check", "code", "message", "expected", "actual")


def test_result(record: GateRecord, name: str) -> Statement:
    """Return a record of gates as the statement of a test result; `record_of` gives exactly this record back.

    Args:
        record: the record.
        name: repository of the image.
    """
    warned = {_gate_of(warning, record) for warning in record.warnings} & record.gates.keys()
    predicate = {
        "result": "WARNED" if warned else "PASSED",
        "configuration": [_program(record), *_toolkits(record.kernels), *(_tested(each) for each in record.kernels)],
        "passedTests": sorted(record.gates.keys() - warned),
        "warnedTests": sorted(warned),
        "failedTests": [],
    }
    return Statement(TEST_RESULT, name, record.digest, predicate)


# Not tests, for pytest.
test_result.__test__ = False  # type: ignore[attr-defined]


def record_of(statement: Statement) -> GateRecord:
    """Return the record of gates that a test result holds.

    Whoever has a key may sign any content, and a reader must survive it: nothing here is taken on trust but the
    signature, which the caller has verified.

    Raises:
        MalformedRecordError: it is no test result of this program's, or some test of it did not pass.
    """
    if statement.predicate_type != TEST_RESULT:
        raise MalformedRecordError(f"its predicate is of type {statement.predicate_type!r:.80}, not {TEST_RESULT}")
    try:
        return _record(statement.predicate, statement.digest)
    except MalformedRecordError:
        raise
    except Exception as error:
        raise MalformedRecordError(f"its predicate is not as this program writes it ({error!r:.200})") from error


def _gate_of(warning: Finding, record: GateRecord) -> str:
    """Return the gate that a warning is of: the one of its name, else the static checks, which have groups."""
    return warning.check if warning.check in record.gates else STATIC_GATE


def _program(record: GateRecord) -> dict[str, Any]:
    annotations: dict[str, Any] = {
        "schema": SCHEMA,
        "name": record.name,
        "cellKey": record.cell_key,
        "gates": {gate: {"at": passed.at, "kmatrix": passed.version} for gate, passed in sorted(record.gates.items())},
        "warnings": [{field: getattr(warning, field) for field in _FINDING} for warning in record.warnings],
    }
    if record.module is not None:
        annotations["module"] = module_content(record.module)
    revision = {"digest": {"gitCommit": record.revision}} if record.revision else {}
    return {"name": _PROGRAM, "uri": PROGRAM, **revision, "annotations": annotations}


def _toolkits(kernels: Iterable[TestedKernel]) -> list[dict[str, Any]]:
    """Return a descriptor of each toolkit once: one may have several kernels."""
    refs = {kernel.toolkit: ImageRef.parse(kernel.toolkit) for kernel in kernels}
    return [{"name": _TOOLKIT, "uri": image_purl(ref), "digest": _digest_set(ref.digest)} for ref in refs.values()]


def _tested(kernel: TestedKernel) -> dict[str, Any]:
    notes = {"release": kernel.release, "toolkit": kernel.toolkit}
    return {"name": _KERNEL, "digest": _digest_set(kernel.vmlinuz), "annotations": notes}


def _digest_set(found: str) -> dict[str, str]:
    return {"sha256": found.removeprefix("sha256:")}


def _record(predicate: Mapping[str, Any], subject: str) -> GateRecord:
    if predicate["result"] not in _RESULTS or predicate.get("failedTests"):
        raise MalformedRecordError(f"its result is {predicate['result']!r:.40}, or it names tests that failed")
    configuration = predicate["configuration"]
    (program,) = (each for each in configuration if each.get("name") == _PROGRAM)
    notes = program["annotations"]
    if notes["schema"] is True or notes["schema"] != SCHEMA:
        raise MalformedRecordError(f"it has schema {notes['schema']!r:.40}, and this version of kmatrix knows {SCHEMA}")
    gates = {
        _text(gate): GatePass(_text(entry["at"]), _text(entry["kmatrix"])) for gate, entry in notes["gates"].items()
    }
    # What other verifiers read must be what this program reads.
    named = sorted(_text(gate) for gate in (*predicate["passedTests"], *predicate["warnedTests"]))
    if named != sorted(gates):
        raise MalformedRecordError(f"its tests are {named!r:.80}, and its record has the gates {sorted(gates)!r:.80}")
    warnings = tuple(Finding(**{field: _text(entry[field]) for field in _FINDING}) for entry in notes["warnings"])
    return GateRecord(
        digest=digest(subject),
        name=_text(notes["name"]),
        cell_key=_text(notes["cellKey"]),
        gates=gates,
        module=module_of(notes["module"]) if "module" in notes else None,
        kernels=tuple(_kernel(each) for each in configuration if each.get("name") == _KERNEL),
        warnings=warnings,
        revision=_revision(program),
    )


def _kernel(entry: Mapping[str, Any]) -> TestedKernel:
    notes = entry["annotations"]
    toolkit = ImageRef.parse(_text(notes["toolkit"]))
    vmlinuz = digest(f"sha256:{_text(entry['digest']['sha256'])}")
    return TestedKernel(sys.intern(toolkit.pinned), vmlinuz, _text(notes["release"]))


def _revision(program: Mapping[str, Any]) -> str:
    if "digest" not in program:
        return ""
    commit = _text(program["digest"]["gitCommit"])
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"{commit!r:.80} is no commit")
    return commit


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    # A lone surrogate is valid JSON, and no terminal and no file takes it.
    value.encode()
    return value
