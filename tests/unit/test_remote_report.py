"""What `verify --remote` makes of the documents of an image: which are enough, and how they are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.remote_report import SIGNATURE, Document, ImageDocuments, faults, files, is_saved_name, report, rows
from kmatrix.decide.test_result import test_result as as_statement
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT, Statement
from kmatrix.values.gate_record import GatePass, GateRecord, TestedKernel

LIST, X86, ARM = (f"sha256:{each * 64}" for each in "abc")
NAME = "quay.io/team/beegfs-client"
OTHER_KEY = "none of the public keys verifies it"
KERNEL = TestedKernel(f"quay.io/team/toolkit@sha256:{'d' * 64}", f"sha256:{'e' * 64}", "5.14.0-427.50.1.el9_4.x86_64")
REVISION = "1" * 40
PROVEN = {
    "buildDefinition": {
        "resolvedDependencies": [
            {"uri": "pkg:oci/toolkit", "digest": {"sha256": "2" * 64}},
            {"uri": "git+https://git.example/kmatrix@refs/heads/main", "digest": {"gitCommit": REVISION}},
        ]
    },
    "runDetails": {"builder": {"id": "https://git.example/kmatrix/local"}},
}


def record(*gates: str) -> GateRecord:
    passed = dict.fromkeys(gates, GatePass("2026-01-02T03:04:05Z", "1.4.0"))
    return GateRecord(X86, "8.3.1-k", "key", passed, None, (KERNEL,), (), REVISION)


def passing(*gates: str, fault: str = "") -> Document:
    statement = as_statement(record(*(gates or ("static", "boot"))), NAME)
    return Document(TEST_RESULT, "", fault) if fault else Document(TEST_RESULT, "images.pub", statement=statement)


def stating(kind: str, **predicate: object) -> Document:
    return Document(kind, "images.pub", statement=Statement(kind, NAME, X86, predicate))


def image(*documents: Document, digest: str = X86, arch: str = "") -> ImageDocuments:
    return ImageDocuments(digest, arch, documents)


SIGNED = Document(SIGNATURE, "images.pub")
FOREIGN = Document(SIGNATURE, "", OTHER_KEY)


def test_an_image_with_a_signature_and_a_test_result_has_no_fault() -> None:
    assert faults([image(SIGNED, passing())]) == ()


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ((), ("image: it has no signature", "image: it has no test result")),
        ((SIGNED,), ("image: it has no test result",)),
        ((passing(),), ("image: it has no signature",)),
        ((FOREIGN, passing()), (f"image: no signature verifies: {OTHER_KEY}",)),
        ((SIGNED, passing(fault=OTHER_KEY)), (f"image: no test result verifies: {OTHER_KEY}",)),
        ((SIGNED, passing(), Document(SPDX, "", OTHER_KEY)), (f"image: no SBOM verifies: {OTHER_KEY}",)),
        ((SIGNED, passing("static")), ("image: no test result says that it passed boot",)),
    ],
)
def test_what_is_missing_or_does_not_verify_is_a_fault(
    documents: tuple[Document, ...], expected: tuple[str, ...]
) -> None:
    assert faults([image(*documents)]) == expected


def test_a_test_result_that_failed_is_a_fault() -> None:
    (fault,) = faults([image(SIGNED, stating(TEST_RESULT, result="FAILED", configuration=[]))])
    assert fault.startswith("image: its test result says 'FAILED'")


def test_documents_of_other_keys_do_no_harm_beside_those_that_verify() -> None:
    assert faults([image(FOREIGN, SIGNED, passing(fault=OTHER_KEY), passing())]) == ()


def test_attestations_of_other_types_decide_nothing() -> None:
    scan = Document("https://cosign.sigstore.dev/attestation/vuln/v1", "", OTHER_KEY)
    assert faults([image(SIGNED, passing(), scan)]) == ()


def test_a_bundle_needs_the_gate_boot_alone() -> None:
    def of_bundle(*gates: str) -> Document:
        statement = as_statement(replace(record(*gates), cell_key=""), NAME)
        return Document(TEST_RESULT, "images.pub", statement=statement)

    assert faults([image(SIGNED, of_bundle("boot"))]) == ()
    assert faults([image(SIGNED, of_bundle("mount"))]) == ("image: no test result says that it passed boot",)


def test_gates_of_several_test_results_count_together() -> None:
    assert faults([image(SIGNED, passing("static"), passing("boot"))]) == ()


def test_each_image_of_a_list_needs_a_signature_of_its_own() -> None:
    of_list = image(SIGNED, passing(), digest=LIST)
    x86, arm = image(SIGNED, arch="x86_64"), image(arch="aarch64", digest=ARM)
    assert faults([of_list, x86, arm]) == ("image for aarch64: it has no signature",)


def test_a_list_is_tested_if_all_its_images_are() -> None:
    of_list = image(SIGNED, digest=LIST)
    x86, arm = image(SIGNED, passing(), arch="x86_64"), image(SIGNED, passing(), arch="aarch64", digest=ARM)
    assert faults([of_list, x86, arm]) == ()
    untested = replace(arm, documents=(SIGNED,))
    assert faults([of_list, x86, untested]) == (
        "list: it has no test result",
        "image for aarch64: it has no test result",
    )


def test_the_report_has_what_the_statements_say() -> None:
    documents = image(SIGNED, passing(), stating(SPDX, packages=[{}, {}]), stating(PROVENANCE, **PROVEN))
    made = report(f"{NAME}@{X86}", [documents])
    assert (made["verified"], made["faults"]) == (True, [])
    (entry,) = made["images"]
    assert [each["kind"] for each in entry["documents"]] == ["signature", "test result", "SBOM", "provenance"]
    (result,) = entry["test_results"]
    assert (result["result"], result["name"], result["revision"]) == ("PASSED", "8.3.1-k", REVISION)
    assert result["gates"]["boot"] == {"at": "2026-01-02T03:04:05Z", "version": "1.4.0"}
    assert result["kernels"] == [{"release": KERNEL.release, "vmlinuz": KERNEL.vmlinuz, "toolkit": KERNEL.toolkit}]
    assert entry["sboms"] == [{"packages": 2}]
    source = f"git+https://git.example/kmatrix@{REVISION}"
    assert entry["provenance"] == [{"source": source, "builder": "https://git.example/kmatrix/local"}]
    assert [row[-1] for row in rows([documents])] == [
        "-",
        f"PASSED: 8.3.1-k: boot, static; in kernel {KERNEL.release}; at 2026-01-02T03:04:05Z; by kmatrix 1.4.0",
        "2 packages",
        f"{source}; built by https://git.example/kmatrix/local",
    ]


def test_content_that_does_not_verify_is_never_shown() -> None:
    hostile = Document("\x1b[31mhttps://x.example/\nverified", "", OTHER_KEY)
    ((_, kind, verdict, key, content),) = rows([image(hostile)])
    assert (kind, verdict, key, content) == ("https://x.example/ verified", "not verified", "-", OTHER_KEY)


def test_documents_of_a_strange_form_are_shown_without_an_error() -> None:
    strange = [stating(PROVENANCE, buildDefinition=[], runDetails="x"), stating(SPDX, packages=3)]
    strange.append(stating(PROVENANCE, buildDefinition={"resolvedDependencies": ["x", {"digest": "y"}]}))
    strange.append(stating(TEST_RESULT, result="PASSED"))
    assert [row[-1] for row in rows([image(*strange)])] == ["-", "0 packages", "-", "PASSED"]


def test_only_statements_that_verify_are_saved() -> None:
    other = stating(TEST_RESULT, result="PASSED")
    both = image(
        passing(), other, passing(), Document(SPDX, "", OTHER_KEY), stating("https://x.example/"), arch="x86_64"
    )
    assert list(files([both])) == ["x86_64-test-result.json", "x86_64-test-result-2.json"]
    assert all(is_saved_name(name) for name in files([both]))
    assert files([image(stating(SPDX, packages=[]))]) == {"sbom.spdx.json": {"packages": []}}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("provenance.json", True),
        ("aarch64-sbom-3.spdx.json", True),
        ("package.json", False),
        ("my-provenance.json", False),
        ("trusted-root.json", False),
    ],
)
def test_only_names_of_documents_are_those_of_saved_ones(name: str, ours: bool) -> None:
    assert is_saved_name(name) is ours
