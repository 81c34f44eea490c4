"""Bundles and module images are signed before they have a name: lists, and every image that they name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kmatrix.decide.bundle import CellImage, compose, manifest_list
from kmatrix.decide.spdx import IMAGE, document, element
from kmatrix.stages import bundle_record
from kmatrix.stages.image_signing import attest, vouch
from kmatrix.stages.trust import verified
from kmatrix.values.attestation import SPDX, TEST_RESULT, Statement
from kmatrix.values.gate_record import BOOT_GATE
from kmatrix.values.names import Arch
from tests.unit.support.bundle_bench import Bench
from tests.unit.support.cell_images import CLIENT, KERNELS, with_manifest
from tests.unit.support.fake_registry import problem
from tests.unit.support.gate_records import record_of
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.trusted_keys import signers_of, trust, types_at

pytestmark = pytest.mark.usefixtures("two_gates")
ARCHES: tuple[Arch, ...] = ("x86_64", "aarch64")


@pytest.fixture(autouse=True)
def _sboms_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a bundle's bill of materials name the images whose own one is found."""

    def statements(*arguments: Any) -> tuple[Statement, ...]:
        _, wanted, bundles, ref, digest, _, sbom_of = arguments
        found = {each.digest: sbom_of(each.digest) for bundle in bundles for each in wanted.of(bundle.arch)}
        return (Statement(SPDX, ref.repository, digest, found),)

    monkeypatch.setattr(bundle_record, "bundle_statements", statements)


def images(bench: Bench, key: str, arches: tuple[Arch, ...] = ARCHES) -> list[CellImage]:
    """Publish a cell of two kernels for each architecture, as runs with this image key did."""
    made = [bench.image(kernel, arch) for arch in arches for kernel in KERNELS[:2]]
    for each in made:
        vouch_cell(bench, each, key)
    bench.run.trust = trust(key)
    return made


def document_of(name: str, digest: str, tool: str) -> dict[str, Any]:
    """Return a bill of materials that has nothing but the image."""
    return document(name, digest, "2026-01-01T00:00:00Z", tool, [element(IMAGE, name)], [])


def vouch_cell(bench: Bench, image: CellImage, key: str) -> None:
    ref, record = bench.ref(image.cell.tag), record_of(image.digest, image.cell.id)
    sbom = Statement(SPDX, ref.repository, image.digest, document_of(ref.repository, image.digest, image.cell.id))
    vouch(replace(bench.run, trust=trust(key)), ref, record, lambda: [sbom])


def listed(bench: Bench, digest: str) -> list[str]:
    """Return a digest, and those that it names if it is a list."""
    content = json.loads(bench.document(digest).content)
    return [digest, *(entry["digest"] for entry in content.get("manifests", ()))]


def reachable(bench: Bench) -> Iterator[tuple[str, str]]:
    """Yield every name that nodes may pull, with each digest that they get by it."""
    for tag in ("8.98.1", *(f"8.98.1-{kernel}" for kernel in KERNELS[:2])):
        named = bench.names(tag)
        assert named is not None
        for digest in listed(bench, named):
            yield tag, digest


def signers(bench: Bench, digest: str) -> dict[str, str]:
    return signers_of(bench.run.registry, bench.ref("any"), digest, "own", "old")


@pytest.mark.parametrize("arches", [ARCHES, ARCHES[:1]])
def test_no_name_leads_to_an_image_without_a_signature(bench: Bench, arches: tuple[Arch, ...]) -> None:
    result = bench.make(*images(bench, "own", arches))
    assert result.verdict == "passed", result.reason
    assert not [name for name in bench.written if name.endswith(".gates")]
    repository = bench.ref("any").repository
    before = bench.written
    for tag, digest in reachable(bench):
        assert signers(bench, digest) == {"own": repository}, tag
        signature = f"{digest.replace(':', '-')}.sig"
        # Cells were signed when they were published.
        assert signature not in before or before.index(signature) < before.index(tag)


def test_the_list_and_each_image_say_in_which_kernels_they_were_booted(bench: Bench) -> None:
    made = images(bench, "own")
    result = bench.make(*made)
    composed = [compose(CLIENT, tuple(each for each in made if each.cell.arch == arch)) for arch in ARCHES]
    assert result.digest == manifest_list(composed).digest
    for digest in (result.digest, *(each.manifest.digest for each in composed)):
        record = bench.run.records.find(bench.ref("any"), digest)
        assert record is not None
        assert (record.name, record.cell_key, set(record.gates)) == (str(CLIENT), "", {BOOT_GATE})
        assert types_at(bench.run.registry, bench.ref("any"), digest) == sorted([TEST_RESULT, SPDX])


def test_the_bill_of_materials_is_made_of_those_of_the_cells_that_verify(bench: Bench) -> None:
    made = images(bench, "own")
    # Whoever may push can attach any.
    bench.run.trust = trust("old")
    repository = bench.ref("any").repository
    forged = Statement(SPDX, repository, made[0].digest, document_of(repository, made[0].digest, "forged"))
    attest(bench.run, bench.ref("any"), made[0].digest, [forged])
    bench.run.trust = trust("own")
    # The publisher's own, by a scanner.
    scan = Statement(SPDX, repository, made[1].digest, {"SPDXID": "SPDXRef-DOCUMENT", "packages": []})
    attest(bench.run, bench.ref("any"), made[1].digest, [scan])
    result = bench.make(*made)
    found = verified(bench.run.registry, bench.run.trust, bench.ref("any"), result.digest, print, frozenset({SPDX}))
    expected = {each.digest: document_of(repository, each.digest, each.cell.id) for each in made}
    assert [each.predicate for each in found] == [expected]


def test_the_same_bundle_is_skipped_without_a_write(bench: Bench) -> None:
    made = images(bench, "own")
    first = bench.make(*made)
    again = bench.make(*made)
    assert (again.verdict, again.digest, again.reason) == (
        "skipped",
        first.digest,
        "already published, of the same cells",
    )
    assert {line.partition(" ")[0] for line in bench.server.sent()} == {"GET"}


def test_after_a_change_of_the_key_everything_is_signed_again_without_a_boot(bench: Bench) -> None:
    made = images(bench, "old")
    first = bench.make(*made)
    bench.booted.clear()
    bench.run.trust = trust("own", "old")
    again = bench.make(*made)
    assert (again.verdict, again.digest, bench.booted) == ("skipped", first.digest, [])
    assert again.reason == "already published, of the same cells; now signed with the image key"
    assert all("own" in signers(bench, digest) for _, digest in reachable(bench))
    # The old key may leave the list.
    bench.run.trust = trust("own")
    last = bench.make(*made)
    assert (last.verdict, last.reason, bench.booted) == ("skipped", "already published, of the same cells", [])


def test_a_module_image_that_stays_is_signed_after_a_change_of_the_key(bench: Bench) -> None:
    made = images(bench, "old")
    bench.make(*made)
    stays = {tag: bench.names(tag) for tag, _ in reachable(bench) if tag != "8.98.1"}
    # The same modules, in images that were built again: the tags keep theirs.
    built = [with_manifest(replace(each, config={**each.config, "container": "again"})) for each in made]
    for each in built:
        bench.publish(each, ())
        vouch_cell(bench, each, "old")
    bench.run.trust = trust("own", "old")
    result = bench.make(*built)
    assert result.verdict in ("passed", "skipped"), result.reason
    assert {tag: bench.names(tag) for tag in stays} == stays
    assert all("own" in signers(bench, digest) for _, digest in reachable(bench))


def test_a_bundle_whose_record_is_not_signed_is_booted_again(bench: Bench) -> None:
    made = images(bench, "own")
    bench.run.trust = replace(bench.run.trust, keys=(), signer=None)
    bench.make(*made)
    bench.booted.clear()
    bench.run.trust = trust("own")
    result = bench.make(*made)
    assert (result.verdict, len(bench.booted)) == ("passed", 4)


@pytest.mark.parametrize("refused", [".sig", ""])
def test_no_name_where_something_could_not_be_signed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    made, answer = images(bench, "own"), bench.server.answer

    def instead(request: Request) -> Reply:
        if request.method == "PUT" and "/manifests/sha256-" in request.path and request.path.endswith(refused):
            return problem(400, "MANIFEST_INVALID")
        return answer(request)

    monkeypatch.setattr(bench.server.web, "answer", instead)
    result: Any = bench.make(*made)
    assert result.verdict == "errored"
    assert bench.names("8.98.1") is None
    assert bench.names(f"8.98.1-{KERNELS[0]}") is None
