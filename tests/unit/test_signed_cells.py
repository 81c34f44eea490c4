"""Cells are signed and attested before they have a name, and again where the image key was changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.decide.image_documents import Document
from kmatrix.decide.provenance import CELL_BUILD
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.registry.referrers import attach, attached
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.signing.bundles import sign_statement
from kmatrix.effects.signing.image_keys import ImageSigner
from kmatrix.stages import cell as cell_stage
from kmatrix.stages import image_signing
from kmatrix.stages.attested_records import AttestedRecords
from kmatrix.stages.gate_records import PlainRecords
from kmatrix.stages.image_signing import vouch
from kmatrix.stages.kernel_tag import kernel_image_of
from kmatrix.stages.publish import SentImage, image_of
from kmatrix.stages.run import split_published
from kmatrix.stages.run_context import CellContext, Options, RunContext, cell_result
from kmatrix.stages.trust import Trust
from kmatrix.stages.unpublished import complete_cells
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT, Statement
from kmatrix.values.boot import BootOptions
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import InterruptedRunError, ProtocolError, UnreachableError
from kmatrix.values.gate_record import GatePass, RecordedImage
from kmatrix.values.labels import MODULE_CERTIFICATE, REVISION
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe
from tests.unit.support.fake_registry import problem
from tests.unit.support.gate_records import BOTH, record_of
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.image_registry import NO_CREDENTIALS, ImageRegistry, image_registry
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.saying import Saying
from tests.unit.support.stand_in_engine import StandInEngine
from tests.unit.support.trusted_keys import signer, signers_of, trust, types_at

pytestmark = pytest.mark.usefixtures("two_gates")
OWN = "team/beegfs-client"
BUILT = {"buildDefinition": {"buildType": CELL_BUILD}}


@dataclass
class Bench:
    """A cell, a registry, and a run that signs with the key `own`."""

    server: ImageRegistry
    run: RunContext
    recipe: Recipe
    log: Path
    said: list[str] = field(default_factory=list)

    @property
    def ref(self) -> ImageRef:
        return image_of(self.run.options.target, self.recipe.cell)

    @property
    def by_kernel(self) -> ImageRef:
        return kernel_image_of(self.run.options.target, self.recipe.cell)

    def put(self, tag: str = "") -> str:
        """Have the cell's image in the registry."""
        labels = {REVISION: "0123abc", MODULE_CERTIFICATE: "MIID", "com.redhat.component": "ubi9-micro-container"}
        return self.server.image(OWN, tag, {"config": {"Labels": labels}}, (b"base", b"module"))

    def publish(self, key: str) -> str:
        """Publish the cell as a run with this image key did."""
        image = self.put()
        run = replace(self.run, trust=trust(key))
        statement = Statement(PROVENANCE, self.ref.repository, image, BUILT)
        vouch(run, self.ref, record_of(image, self.recipe.cell.id, self.recipe.cell_key), lambda: [statement])
        return self.put(self.recipe.cell.tag)

    def build(self) -> CellResult | None:
        """Look for the cell as `build` does; returns its result, or None if it was to be built."""
        self.server.web.requests.clear()
        kept: list[CellResult] = []
        split_published(self.run, [self.recipe], kept.append)
        return kept[0] if kept else None

    def push(self, result: CellResult) -> CellResult:
        """Push the cell's image, whose content the registry has, and which has no name yet."""
        with open_log(self.log) as log:
            return cell_stage._push(CellContext(self.run, self.recipe, log), result)

    def passed(self) -> CellResult:
        times = dict.fromkeys(BOTH, "2026-01-01T00:00:00Z")
        gates = cast("Any", dict.fromkeys(BOTH, "passed"))
        return replace(cell_result(self.recipe, "passed", "all well"), gates=gates, gates_at=times)

    def signers(self, ref: ImageRef, digest: str) -> dict[str, str]:
        return signers_of(self.run.registry, ref, digest, "own", "old")

    @property
    def named(self) -> list[str]:
        """The names that were written, in order."""
        puts = [each.rpartition("/")[2] for each in self.server.sent("PUT") if "/manifests/" in each]
        return [each for each in puts if not each.startswith("sha256:")]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    asking = profile(kernel_tags=True)
    recipe = next(iter(recipes(asking).values()))
    with image_registry() as server:
        said: list[str] = []
        options = Options(tmp_path, "ocp", asking, f"{server.web.address}/team", boot=BootOptions())
        progress = Saying(said.append)
        registry = RegistryWriter(NO_CREDENTIALS, pushes_to=options.target)
        engine = cast("Any", StandInEngine())
        run = RunContext(engine, registry, NO_CREDENTIALS, options, progress, cast("Any", None), trust=trust("own"))
        made = Bench(server, run, recipe, tmp_path / "log", said)

        def send(*_: object) -> SentImage:
            digest = made.put()
            return SentImage(made.ref, Document(*server.repository(OWN).manifests[digest]))

        def statements(_: object, ref: ImageRef, digest: str) -> tuple[Statement, ...]:
            return (Statement(PROVENANCE, ref.repository, digest, BUILT),)

        monkeypatch.setattr(cell_stage, "send_image", send)
        monkeypatch.setattr(cell_stage, "cell_statements", statements)
        yield made


def test_the_name_comes_after_the_attestations_and_the_signature(bench: Bench) -> None:
    result = bench.push(bench.passed())
    assert (result.verdict, bench.server.repository(OWN).tags[bench.recipe.cell.tag]) == ("passed", result.digest)
    tag = result.digest.replace(":", "-")
    kernel = bench.by_kernel.tag
    assert bench.named == [tag, f"{tag}.sig", bench.recipe.cell.tag, tag, f"{tag}.sig", kernel]
    assert bench.signers(bench.ref, result.digest) == {"own": bench.ref.repository}
    assert types_at(bench.run.registry, bench.ref, result.digest) == sorted([TEST_RESULT, PROVENANCE])
    assert bench.run.records.find(bench.ref, result.digest) is not None
    assert set(result.stages or {}) <= {"push", "sign"}
    assert (result.signed, result.attestations) == (True, ("test result", "provenance"))
    skipped = bench.build()
    assert skipped is not None, "it is published now"
    assert (skipped.signed, skipped.attestations) == (True, ("test result",))
    assert bench.named == []


def test_the_kernel_tag_has_a_signature_for_its_own_repository_and_the_attestations(bench: Bench) -> None:
    result = bench.push(bench.passed())
    assert bench.signers(bench.by_kernel, result.digest) == {"own": bench.by_kernel.repository}
    assert bench.by_kernel.repository != bench.ref.repository
    found = AttestedRecords(bench.run.registry, trust("", "own"), print).find(bench.by_kernel, result.digest)
    assert found == bench.run.records.find(bench.ref, result.digest)


@pytest.mark.parametrize("fault", [".sig", ""])
def test_no_name_where_the_image_could_not_be_attested_or_signed(bench: Bench, fault: str) -> None:
    def refuse(request: Request) -> Reply | None:
        refused = request.method == "PUT" and "/manifests/sha256-" in request.path and request.path.endswith(fault)
        return problem(400, "MANIFEST_INVALID") if refused else None

    bench.server.instead = refuse
    with pytest.raises(ProtocolError):
        bench.push(bench.passed())
    assert bench.recipe.cell.tag not in bench.server.repository(OWN).tags


def test_a_run_that_is_told_to_stop_gives_no_name(bench: Bench) -> None:
    def stop(request: Request) -> Reply | None:
        if request.path.endswith(".sig") and request.method == "PUT":
            bench.run.engine.stop()
        return None

    bench.server.instead = stop
    with pytest.raises(InterruptedRunError):
        bench.push(bench.passed())
    assert bench.recipe.cell.tag not in bench.server.repository(OWN).tags


def test_an_image_that_an_old_key_signed_is_signed_again_without_a_build(bench: Bench) -> None:
    image = bench.publish("old")
    bench.run.trust = trust("own", "old")
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest) == ("skipped", image)
    assert result.reason == "already published, built from the same inputs; now signed with the image key"
    assert bench.signers(bench.ref, image) == {"own": bench.ref.repository, "old": bench.ref.repository}
    # Its attestations too: the old key may leave the list now.
    assert types_at(bench.run.registry, bench.ref, image) == sorted([TEST_RESULT, PROVENANCE] * 2)
    bench.run.trust = trust("own")
    again = bench.build()
    assert again is not None
    assert (again.verdict, again.reason) == ("skipped", "already published, built from the same inputs")
    assert bench.named == []


def test_while_a_key_is_replaced_a_new_image_is_signed_with_both(bench: Bench) -> None:
    """Nodes whose policy has either key pull it, so no policy has to change at the same moment as another."""
    bench.run.trust = trust("old", "own", following="own")
    digest = bench.push(bench.passed()).digest
    for ref in (bench.ref, bench.by_kernel):
        assert bench.signers(ref, digest) == {"own": ref.repository, "old": ref.repository}
        assert types_at(bench.run.registry, ref, digest) == sorted([TEST_RESULT, PROVENANCE] * 2)
    for key in ("old", "own"):
        found = AttestedRecords(bench.run.registry, trust("", key), print).find(bench.ref, digest)
        assert found is not None, key
        bench.run.trust = trust(key)
        again = bench.build()
        assert again is not None
        assert (again.verdict, again.signed, bench.named) == ("skipped", True, []), "nothing is left to sign"


def test_while_a_key_is_replaced_a_published_image_gets_what_it_lacks(bench: Bench) -> None:
    image = bench.publish("old")
    bench.run.trust = trust("old", "own", following="own")
    result = bench.build()
    assert result is not None
    assert (result.digest, result.reason.rpartition("; ")[2]) == (image, "now signed with both image keys")
    assert bench.signers(bench.ref, image) == {"own": bench.ref.repository, "old": bench.ref.repository}
    assert types_at(bench.run.registry, bench.ref, image) == sorted([TEST_RESULT, PROVENANCE] * 2)
    result = bench.build()
    assert result is not None
    assert (result.reason, bench.named) == ("already published, built from the same inputs", [])


@pytest.mark.parametrize("times", [0, 1, 2], ids=["at once", "after an attestation", "before the signature"])
def test_no_name_where_one_of_both_keys_fails_and_the_next_run_completes_it(bench: Bench, times: int) -> None:
    left = iter(range(times))

    def sign(payload: bytes) -> bytes:
        if next(left, None) is None:
            raise UnreachableError("key service", "hv:next", "sealed", "Open it.")
        return signer("own").sign(payload)

    both = trust("old", "own", following="own")
    bench.run.trust = replace(both, following=ImageSigner(signer("own").public, sign))
    with pytest.raises(UnreachableError, match="key service"):
        bench.push(bench.passed())
    assert bench.recipe.cell.tag not in bench.server.repository(OWN).tags
    bench.run.trust = both
    digest = bench.push(bench.passed()).digest
    for ref in (bench.ref, bench.by_kernel):
        assert bench.signers(ref, digest) == {"own": ref.repository, "old": ref.repository}
        assert types_at(bench.run.registry, ref, digest) == sorted([TEST_RESULT, PROVENANCE] * 2)


def test_a_published_image_that_one_of_both_keys_cannot_sign_is_errored_and_keeps_what_it_has(bench: Bench) -> None:
    image = bench.publish("old")

    def sign(_: bytes) -> bytes:
        raise UnreachableError("key service", "hv:next", "sealed", "Open it.")

    both = trust("old", "own", following="own")
    bench.run.trust = replace(both, following=ImageSigner(signer("own").public, sign))
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest, result.signed) == ("errored", image, False)
    assert "published, but not signed with both image keys: " in result.reason
    assert bench.signers(bench.ref, image) == {"old": bench.ref.repository}
    bench.run.trust = both
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.signed) == ("skipped", True)
    assert bench.signers(bench.ref, image) == {"own": bench.ref.repository, "old": bench.ref.repository}


def test_a_gate_that_is_added_while_a_key_is_replaced_is_attested_with_both(bench: Bench) -> None:
    digest = bench.publish("old")
    bench.run.trust = trust("old", "own", following="own")
    first = record_of(digest, bench.recipe.cell.id, bench.recipe.cell_key)
    later = replace(first, gates={"mount": GatePass("2026-02-01T00:00:00Z", "0.1.0")})
    cell_stage._record_passed(bench.run, RecordedImage(bench.ref.with_digest(digest), first), later)
    for key in ("old", "own"):
        found = AttestedRecords(bench.run.registry, trust("", key), print).find(bench.ref, digest)
        assert found is not None
        assert set(found.gates) == {"boot", "mount", "static"}, key


def test_a_skipped_cell_has_the_labels_of_its_image_without_those_of_the_base(bench: Bench) -> None:
    bench.publish("own")
    result = bench.build()
    assert result is not None
    assert result.labels == {REVISION: "0123abc"}


def test_whether_an_image_is_signed_is_not_known_where_the_registry_does_not_answer(bench: Bench) -> None:
    bench.publish("own")
    denied = problem(403, "DENIED")
    bench.server.instead = lambda request: denied if ".sig" in request.path else None
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.signed) == ("errored", None)


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [
        (TEST_RESULT, {"result": "PASSED"}),
        (PROVENANCE, {"buildDefinition": {"buildType": "https://ci.example/build/v1"}}),
        (PROVENANCE, {"buildDefinition": [CELL_BUILD]}),
        (SPDX, {"SPDXID": "SPDXRef-DOCUMENT", "documentNamespace": "https://scanner.example/1", "packages": []}),
    ],
)
def test_a_statement_of_another_program_prevents_no_signature_and_is_not_signed_again(
    bench: Bench, kind: str, predicate: dict[str, Any]
) -> None:
    image = bench.publish("old")
    foreign = sign_statement(Statement(kind, bench.ref.repository, image, predicate), signer("old"))
    attach(bench.run.registry, bench.ref, image, [(kind, foreign)], lambda: False)
    bench.run.trust = trust("own", "old")
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.reason.rpartition("; ")[2]) == ("skipped", "now signed with the image key")
    assert types_at(bench.run.registry, bench.ref, image) == sorted([TEST_RESULT, PROVENANCE] * 2 + [kind])


def test_an_image_whose_record_no_listed_key_signed_is_built_again(bench: Bench) -> None:
    image = bench.publish("old")
    assert bench.build() is None
    assert bench.signers(bench.ref, image) == {"old": bench.ref.repository}, "and not signed"


def test_an_image_with_a_plain_record_is_built_again(bench: Bench) -> None:
    image = bench.put(bench.recipe.cell.tag)
    record = record_of(image, bench.recipe.cell.id, bench.recipe.cell_key)
    PlainRecords(bench.run.registry, print).add(bench.ref, record)
    assert bench.build() is None
    bench.run.trust = Trust()
    assert bench.build() is not None, "it counts without keys"


def test_a_published_image_that_cannot_be_signed_is_errored_and_the_next_run_signs_it(bench: Bench) -> None:
    image = bench.publish("old")
    bench.run.trust = trust("own", "old")
    refused = problem(400, "MANIFEST_INVALID")
    bench.server.instead = lambda request: refused if request.method == "PUT" and ".sig" in request.path else None
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest, result.signed) == ("errored", image, False)
    assert "published, but not signed with the image key: " in result.reason
    bench.server.instead = lambda _: None
    result = bench.build()
    assert result is not None
    assert result.verdict == "skipped"
    assert "own" in bench.signers(bench.ref, image)


@pytest.mark.parametrize("signing", [Trust(), trust("", "old")])
def test_a_run_without_an_image_key_signs_nothing(bench: Bench, signing: Trust) -> None:
    bench.publish("old")
    bench.run.trust = signing
    bench.run.options = replace(bench.run.options, push=False)
    result = bench.build()
    assert (result is not None) == bool(signing.keys)
    assert result is None or (result.signed, result.attestations) == (None, ())
    assert bench.named == []


def test_cells_that_need_no_job_are_those_whose_record_verifies(bench: Bench) -> None:
    bench.publish("old")

    def complete(believed: Trust) -> dict[str, Any]:
        records = AttestedRecords(bench.run.registry, believed, print)
        target, progress = bench.run.options.target, Saying(print)
        return dict(complete_cells(bench.run.registry, records, target, [bench.recipe], BOTH, False, progress))

    assert list(complete(trust("", "old"))) == [bench.recipe.cell.id]
    assert complete(trust("", "own")) == {}


def test_without_keys_a_plain_record_is_all_that_is_written(bench: Bench) -> None:
    bench.run.trust = Trust()
    result = bench.push(bench.passed())
    tag = result.digest.replace(":", "-")
    assert bench.named == [f"{tag}.gates", bench.recipe.cell.tag, bench.by_kernel.tag]
    assert attached(bench.run.registry, bench.ref, result.digest) == ()


def test_keyless_signatures_are_added_to_a_plain_record(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def attest(ref: ImageRef, statement: Statement, _: object) -> None:
        calls.append(f"attest {statement.predicate_type} {ref.pinned}")

    monkeypatch.setattr(image_signing, "attest_keyless", attest)
    monkeypatch.setattr(image_signing, "sign_keyless", lambda ref, _: calls.append(f"sign {ref.pinned}"))
    bench.run.trust = Trust(keyless=True)
    result = bench.push(bench.passed())
    pinned, by_kernel = (ref.with_digest(result.digest).pinned for ref in (bench.ref, bench.by_kernel))
    attested = [f"attest {TEST_RESULT} {pinned}", f"attest {PROVENANCE} {pinned}"]
    assert calls == [*attested, f"sign {pinned}", f"sign {by_kernel}"]
    assert f"{result.digest.replace(':', '-')}.gates" in bench.named


def test_a_gate_that_is_added_later_is_attested_keyless_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    attested: list[Statement] = []
    monkeypatch.setattr(image_signing, "attest_keyless", lambda _, statement, *__: attested.append(statement))
    bench.run.trust = Trust(keyless=True)
    digest = bench.put(bench.recipe.cell.tag)
    first = record_of(digest, bench.recipe.cell.id, bench.recipe.cell_key)
    later = replace(first, gates={"mount": GatePass("2026-02-01T00:00:00Z", "0.1.0")})
    published = RecordedImage(bench.ref.with_digest(digest), first)
    cell_stage._record_passed(bench.run, published, later)
    assert [each.predicate["passedTests"] for each in attested] == [["boot", "mount", "static"]]
    bench.run.trust = Trust()
    cell_stage._record_passed(bench.run, published, later)
    assert len(attested) == 1
