"""The signatures and attestations of one image: which of them verify, whether that is enough, and how it is shown.

A document that no key verifies is shown with the reason, and nothing of its content is used: whoever may push to the
repository could have written it. It does no harm beside one of the same kind that verifies, as while keys are rotated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.gate_record import MalformedRecordError
from kmatrix.decide.tag_of_record import foreign_tag
from kmatrix.decide.test_result import record_of
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT, Statement
from kmatrix.values.gate_record import BOOT_GATE, REQUIRED_GATES, GateRecord
from kmatrix.values.text import plain_line

SIGNATURE = "signature"
_NAMES = {TEST_RESULT: "test result", PROVENANCE: "provenance", SPDX: "SBOM"}
_FILES = {TEST_RESULT: "test-result.json", PROVENANCE: "provenance.json", SPDX: "sbom.spdx.json"}
_SHOWN = 200


@dataclass(frozen=True)
class Document:
    """A signature or an attestation that a registry has for an image.

    Attributes:
        kind: `SIGNATURE`, or the type of an attestation's predicate.
        key: the name of the public key that verifies it; empty if none does.
        fault: the reason why it is not believed; empty if it is.
        statement: that of an attestation that verifies.
    """

    kind: str
    key: str
    fault: str = ""
    statement: Statement | None = None


@dataclass(frozen=True)
class ImageDocuments:
    """An image, or a list of images, with everything that its registry has for its digest.

    Attributes:
        digest: of its manifest or list.
        arch: the architecture of an image in a list; empty for the list, and for an image that is in none.
        documents: its signatures and attestations.
    """

    digest: str
    arch: str
    documents: tuple[Document, ...]

    def of(self, kind: str) -> tuple[Document, ...]:
        """Return the documents of a kind."""
        return tuple(each for each in self.documents if each.kind == kind)

    def statements(self, kind: str) -> tuple[Statement, ...]:
        """Return the statements of a kind that verify, each once: two keys sign while one replaces the other."""
        found: list[Statement] = []
        for each in self.of(kind):
            if each.statement and each.statement not in found:
                found.append(each.statement)
        return tuple(found)


def kind_name(kind: str) -> str:
    """Return the human-readable name of a kind of documents."""
    return _NAMES.get(kind) or plain_line(kind)[:_SHOWN] or "attestation without a type"


def faults(images: Sequence[ImageDocuments], tag: str = "") -> tuple[str, ...]:
    """Return why an image must not be trusted: the first is the list, if it is one, and the others are in it.

    Each of them needs a signature, because a node verifies the image that it takes from a list
    (containers/image, copy/multiple.go). A test result of the list counts for every image in it, and those of all its
    images count for the list. It has to name the gates without which no image is published: of a bundle, `boot`.
    Attestations of other types than this project's are shown, and decide nothing: anybody may attach them, with keys of
    their own.

    Args:
        images: with their documents.
        tag: that the first was asked for by; empty if by its digest.
    """
    found: list[str] = []
    lacking = [_untested(image) for image in images]
    for image, untested in zip(images, lacking, strict=True):
        label = f"image for {image.arch}" if image.arch else _whole(images)
        if not image.of(SIGNATURE):
            found.append(f"{label}: it has no signature")
        for kind in (SIGNATURE, *_NAMES):
            if image.of(kind) and all(each.fault for each in image.of(kind)):
                found.append(f"{label}: no {kind_name(kind)} verifies: {image.of(kind)[0].fault}")
        covered = not lacking[0] or (image is images[0] and len(images) > 1 and not any(lacking[1:]))
        if untested and not covered and (image.statements(TEST_RESULT) or not image.of(TEST_RESULT)):
            found.append(f"{label}: {untested}")
    records = [_record(statement) for image in images for statement in image.statements(TEST_RESULT)]
    if moved := foreign_tag(tag, [record.name for record in records if record]):
        found.append(moved)
    return tuple(found)


def _whole(images: Sequence[ImageDocuments]) -> str:
    """Return the word for the first of these: a list of the others, or an image alone."""
    return "list" if len(images) > 1 else "image"


def _untested(image: ImageDocuments) -> str:
    """Return what its test results lack, if anything."""
    passed: set[str] = set()
    required: tuple[str, ...] = REQUIRED_GATES
    reason = ""
    for statement in image.statements(TEST_RESULT):
        try:
            record = record_of(statement)
            passed |= record.gates.keys()
            # The static checks of its modules are those of the cells that they are from.
            required = required if record.cell_key else (BOOT_GATE,)
        except MalformedRecordError as error:
            reason = f"its test result says {statement.predicate.get('result')!r:.40}: {error}"
    gates = [gate for gate in required if gate not in passed]
    if not image.statements(TEST_RESULT):
        return "it has no test result"
    return reason or f"no test result says that it passed {' and '.join(gates)}" if gates else ""


def rows(images: Sequence[ImageDocuments]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield a row for each document: image, document, whether it verifies, the key, and its content or the fault."""
    for image in images:
        about = image.arch or _whole(images)
        for each in image.documents:
            verdict = "not verified" if each.fault else "verified"
            yield about, kind_name(each.kind), verdict, each.key or "-", each.fault or _content(each)


def _content(document: Document) -> str:
    if document.statement is None:
        return "-"
    shown = {TEST_RESULT: _test_text, SPDX: _sbom_text, PROVENANCE: _provenance_text}
    return shown[document.kind](document.statement) if document.kind in shown else "-"


def _test_text(statement: Statement) -> str:
    record, result = _record(statement), str(statement.predicate.get("result"))
    if record is None:
        return result
    gates = ", ".join(record.gates) or "no gate"
    kernels = ", ".join(dict.fromkeys(each.release for each in record.kernels))
    versions = ", ".join(dict.fromkeys(each.version for each in record.gates.values()))
    times = sorted(each.at for each in record.gates.values())
    # Tags are not signed: one may have been moved to an image of another cell that is signed as well.
    return f"{result}: {record.name}: {gates}" + "".join(
        f"{word} {value}"
        for word, value in (("; in kernel", kernels), ("; at", times[-1] if times else ""), ("; by kmatrix", versions))
        if value
    )


def _sbom_text(statement: Statement) -> str:
    return f"{_package_count(statement)} packages"


def _provenance_text(statement: Statement) -> str:
    source, builder = _source(statement), _builder(statement)
    return "; ".join(part for part in (source, f"built by {builder}" if builder else "") if part) or "-"


def _record(statement: Statement) -> GateRecord | None:
    """Return the record in a test result; another program may have written one that has none."""
    try:
        return record_of(statement)
    except MalformedRecordError:
        return None


def _package_count(statement: Statement) -> int:
    packages = statement.predicate.get("packages")
    return len(packages) if isinstance(packages, list) else 0


def _source(statement: Statement) -> str:
    """Return the repository and revision that an image was built from: the dependency that has a commit.

    The field is `resolvedDependencies` of SLSA's provenance (slsa-framework/slsa, docs/spec/v1.0/provenance.md).
    """
    dependencies = _at(statement.predicate, "buildDefinition").get("resolvedDependencies")
    for each in dependencies if isinstance(dependencies, list) else ():
        commit = _at(each, "digest").get("gitCommit") if isinstance(each, dict) else None
        if commit:
            uri = str(each.get("uri", "")).rpartition("@")[0] or str(each.get("uri", ""))
            return f"{uri}@{commit}" if uri else str(commit)
    return ""


def _builder(statement: Statement) -> str:
    return str(_at(_at(statement.predicate, "runDetails"), "builder").get("id") or "")


def _at(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def report(image: str, images: Sequence[ImageDocuments], tag: str = "") -> dict[str, Any]:
    """Return the machine-readable report; docs/verification.md describes its fields."""
    found = faults(images, tag)
    return {
        "schema": 1,
        "image": image,
        "verified": not found,
        "faults": list(found),
        "images": [_entry(each) for each in images],
    }


def _entry(image: ImageDocuments) -> dict[str, Any]:
    return {
        "digest": image.digest,
        "arch": image.arch,
        "documents": [
            {"kind": kind_name(each.kind), "verified": not each.fault, "key": each.key, "fault": each.fault}
            for each in image.documents
        ],
        "test_results": [_test_entry(each) for each in image.statements(TEST_RESULT)],
        "sboms": [{"packages": _package_count(each)} for each in image.statements(SPDX)],
        "provenance": [{"source": _source(each), "builder": _builder(each)} for each in image.statements(PROVENANCE)],
    }


def _test_entry(statement: Statement) -> dict[str, Any]:
    record = _record(statement)
    return {
        "result": str(statement.predicate.get("result")),
        "name": record.name if record else "",
        "revision": record.revision if record else "",
        "gates": {
            name: {"at": each.at, "version": each.version} for name, each in (record.gates if record else {}).items()
        },
        "kernels": [
            {"release": each.release, "vmlinuz": each.vmlinuz, "toolkit": each.toolkit}
            for each in (record.kernels if record else ())
        ],
    }


def is_saved_name(name: str) -> bool:
    """Return whether `files` may give a file this name."""
    stems = "|".join(re.escape(each.partition(".")[0]) for each in _FILES.values())
    return re.fullmatch(rf"((x86_64|aarch64)-)?({stems})(-\d+)?(\.spdx)?\.json", name) is not None


def files(images: Sequence[ImageDocuments]) -> dict[str, Mapping[str, Any]]:
    """Return the predicates of attestations that verify, by the names of the files to save them in."""
    found: dict[str, Mapping[str, Any]] = {}
    for image in images:
        for kind, name in _FILES.items():
            for number, statement in enumerate(image.statements(kind), 1):
                stem, _, extension = name.partition(".")
                parts = (image.arch, stem, str(number) if number > 1 else "")
                found["-".join(part for part in parts if part) + f".{extension}"] = statement.predicate
    return found
