"""`verify --remote`: the documents of an image in a registry, verified with public keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kmatrix.cli import main
from kmatrix.decide.test_result import test_result as as_statement
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT
from kmatrix.values.gate_record import GatePass, GateRecord
from tests.unit.support.fake_registry import INDEX, problem
from tests.unit.support.hand_signed import bundle, new_key, put_bundles, put_signature, write_public
from tests.unit.support.image_registry import ImageRegistry, image_registry
from tests.unit.support.projects import MATRIX

NAME = "team/beegfs-client"
TAG = "8.3.1"
PACKAGES = {"spdxVersion": "SPDX-2.3", "packages": [{}, {}, {}]}


def gates_passed(digest: str, *gates: str) -> dict[str, Any]:
    passed = dict.fromkeys(gates or ("static", "boot"), GatePass("2026-01-02T03:04:05Z", "1.4.0"))
    return dict(as_statement(GateRecord(digest, TAG, "", passed), NAME).predicate)


@dataclass(frozen=True)
class Site:
    """A project whose profile accepts one key, and a registry."""

    root: Path
    server: ImageRegistry
    key: ec.EllipticCurvePrivateKey

    @property
    def image(self) -> str:
        return f"{self.server.web.address}/{NAME}:{TAG}"

    def put_image(self, arch: str = "amd64", tag: str = TAG) -> str:
        return self.server.image(NAME, tag, {"architecture": arch, "os": "linux"})

    def put_documents(self, digest: str, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        key = key or self.key
        put_signature(self.server, NAME, digest, (key, digest))
        put_bundles(
            self.server,
            NAME,
            digest,
            (TEST_RESULT, bundle(key, digest, TEST_RESULT, gates_passed(digest))),
            (SPDX, bundle(key, digest, SPDX, PACKAGES)),
        )

    def verify(self, *more: str) -> int:
        return main(["verify", "--remote", self.image, *more, "--root", str(self.root)])


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("KMATRIX_PROFILE", raising=False)
    key = new_key()
    (tmp_path / "keys").mkdir()
    write_public(key, tmp_path / "keys" / "images.pub")
    signing = "    image_signing: {public_keys: [keys/images.pub]}\n"
    (tmp_path / "matrix.yaml").write_text(MATRIX + signing, encoding="utf-8")
    with image_registry() as server:
        yield Site(tmp_path, server, key)


def test_a_signed_and_tested_image_is_verified(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    digest = site.put_image()
    site.put_documents(digest)
    assert site.verify("--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["verified"]
    assert f"{site.image}@{digest} is verified" in said.err
    for words in (
        "keys/images.pub",
        f"PASSED: {TAG}: boot, static; at 2026-01-02T03:04:05Z; by kmatrix 1.4.0",
        "3 packages",
    ):
        assert words in said.err


def test_a_tag_that_was_moved_to_another_signed_image_is_not_verified(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = "8.3.2"
    digest = site.put_image(tag=moved)
    site.put_documents(digest)
    name = site.image.removesuffix(TAG) + moved
    assert main(["verify", "--remote", name, "--json", "--root", str(site.root)]) == 1
    said = capsys.readouterr()
    assert not json.loads(said.out)["verified"]
    assert f"the tag {moved} leads to an image that was tested as {TAG}: somebody may have moved it" in said.err
    assert f"{name}@{digest} is not verified" in said.err
    assert main(["verify", "--remote", f"{name}@{digest}", "--root", str(site.root)]) == 0, "a digest names no version"


def test_nothing_but_the_result_is_on_standard_output(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.put_documents(site.put_image())
    site.verify()
    assert capsys.readouterr().out == ""


def test_an_unsigned_image_is_not_verified(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.put_image()
    assert site.verify("--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["faults"] == ["image: it has no signature", "image: it has no test result"]
    assert "is not verified. Do not use it" in said.err


def test_documents_of_another_key_are_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.put_documents(site.put_image(), new_key())
    assert site.verify() == 1
    said = capsys.readouterr().err
    assert "no signature verifies: none of the public keys verifies it" in said
    assert "no test result verifies" in said
    assert "3 packages" not in said, "content that does not verify"


def test_a_given_key_replaces_those_of_the_profile(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    other = new_key()
    site.put_documents(site.put_image(), other)
    public = write_public(other, site.root / "other: [key].pub")
    assert site.verify("--key", str(public)) == 0
    assert "other: [key].pub" in capsys.readouterr().err
    assert site.verify("--key", str(site.root / "keys" / "images.pub")) == 1
    assert site.verify("--key", str(public), "--key", str(site.root / "keys" / "images.pub")) == 0


def test_no_private_key_reaches_a_credential_helper(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --key, matrix.yaml is not read: it may name further variables, and these names count without it."""
    site.put_documents(site.put_image())
    helper, seen = tmp_path / "docker-credential-seeing", tmp_path / "seen"
    login = '{"Username": "u", "Secret": "p"}'
    helper.write_text(f"#!/bin/sh\n/usr/bin/env >'{seen}'\necho '{login}'\n", encoding="utf-8")
    helper.chmod(0o755)
    authfile = tmp_path / "auth.json"
    authfile.write_text(json.dumps({"credHelpers": {site.server.web.address: "seeing"}}), encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="x"'})
    site.server.instead = lambda request: None if request.header("authorization") else refused
    private = ("KMATRIX_IMAGE_KEY", "KMATRIX_MODULE_KEY_PASSWORD", "SIGSTORE_ID_TOKEN")
    for name in private:
        monkeypatch.setenv(name, "a secret")
    assert site.verify("--key", str(site.root / "keys" / "images.pub"), "--authfile", str(authfile)) == 0
    names = {line.partition("=")[0] for line in seen.read_text(encoding="utf-8").splitlines()}
    assert "PATH" in names
    assert names.isdisjoint(private)


def test_a_key_that_is_listed_twice_is_named_by_its_first_file(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.put_documents(site.put_image())
    write_public(site.key, site.root / "keys" / "again.pub")
    signing = "    image_signing: {public_keys: [keys/images.pub, keys/again.pub]}\n"
    (site.root / "matrix.yaml").write_text(MATRIX + signing, encoding="utf-8")
    assert site.verify() == 0
    assert "keys/images.pub" in capsys.readouterr().err


def test_documents_of_another_image_are_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    digest, other = site.put_image(), f"sha256:{'0' * 64}"
    put_signature(site.server, NAME, digest, (site.key, other))
    put_bundles(site.server, NAME, digest, (TEST_RESULT, bundle(site.key, other, TEST_RESULT, gates_passed(other))))
    assert site.verify() == 1
    said = capsys.readouterr().err
    assert "no signature verifies: " in said
    assert "no test result verifies: " in said


def test_a_signature_for_another_repository_is_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    digest = site.put_image()
    site.put_documents(digest)
    repository = site.server.repository(NAME)
    site.server.repositories = {"team/copy": repository}
    assert main(["verify", "--remote", site.image.replace(NAME, "team/copy"), "--root", str(site.root)]) == 1
    assert "image: no signature verifies: " in capsys.readouterr().err


def test_a_bundle_that_states_the_type_of_another_is_known_by_its_own(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = site.put_image()
    put_signature(site.server, NAME, digest, (site.key, digest))
    put_bundles(site.server, NAME, digest, (TEST_RESULT, bundle(site.key, digest, PROVENANCE, {})))
    assert site.verify() == 1
    assert "image: it has no test result" in capsys.readouterr().err


def test_a_second_signature_of_another_key_does_no_harm(site: Site) -> None:
    digest = site.put_image()
    site.put_documents(digest)
    put_signature(site.server, NAME, digest, (new_key(), digest), (site.key, digest))
    assert site.verify() == 0


def test_every_image_of_a_list_is_verified(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    digests = {arch: site.put_image(arch, "") for arch in ("amd64", "arm64")}
    manifests = [
        {"mediaType": "x", "size": 1, "digest": digest, "platform": {"os": "linux", "architecture": arch}}
        for arch, digest in digests.items()
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()
    of_list = site.server.put(NAME, TAG, index, INDEX)
    for digest in (of_list, digests["amd64"]):
        site.put_documents(digest)
    assert site.verify() == 1
    assert "image for aarch64: it has no signature" in capsys.readouterr().err
    site.put_documents(digests["arm64"])
    assert site.verify("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [each["digest"] for each in report["images"]] == [of_list, digests["amd64"], digests["arm64"]]
    assert [each["arch"] for each in report["images"]] == ["", "x86_64", "aarch64"]


def test_what_verifies_is_saved_and_nothing_else(site: Site, tmp_path: Path) -> None:
    digest = site.put_image()
    site.put_documents(digest)
    put_bundles(
        site.server,
        NAME,
        digest,
        (SPDX, bundle(site.key, digest, SPDX, PACKAGES)),
        (PROVENANCE, bundle(new_key(), digest, PROVENANCE, {})),
    )
    assert site.verify("--save", str(tmp_path / "documents")) == 1
    (saved,) = (tmp_path / "documents").iterdir()
    assert saved.name == "sbom.spdx.json"
    assert json.loads(saved.read_text(encoding="utf-8")) == PACKAGES


def test_what_two_keys_say_alike_is_reported_and_saved_once(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both image keys sign while one replaces the other."""
    digest, following = site.put_image(), new_key()
    put_signature(site.server, NAME, digest, (site.key, digest), (following, digest))
    said = {TEST_RESULT: gates_passed(digest), SPDX: PACKAGES}
    bundles = [(kind, bundle(key, digest, kind, said[kind])) for kind in said for key in (site.key, following)]
    put_bundles(site.server, NAME, digest, *bundles)
    public = [str(write_public(key, tmp_path / f"{number}.pub")) for number, key in enumerate((site.key, following))]
    assert site.verify("--key", public[0], "--key", public[1], "--json", "--save", str(tmp_path / "documents")) == 0
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert [each["key"] for each in image["documents"]] == public * 3, "each document is shown with its key"
    assert (len(image["test_results"]), image["sboms"]) == (1, [{"packages": 3}])
    saved = sorted(each.name for each in (tmp_path / "documents").iterdir())
    assert saved == ["sbom.spdx.json", "test-result.json"]


def test_documents_that_an_earlier_run_saved_are_replaced(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    site.put_documents(site.put_image())
    assert site.verify("--save", str(folder)) == 0
    (folder / "notes.json").write_text("{}", encoding="utf-8")
    assert sorted(each.name for each in folder.iterdir()) == ["notes.json", "sbom.spdx.json", "test-result.json"]
    site.server.image(NAME, TAG, {"architecture": "amd64", "os": "linux", "another": True})
    assert site.verify("--save", str(folder)) == 1
    assert [each.name for each in folder.iterdir()] == ["notes.json"]


def test_an_image_that_does_not_exist_is_an_error_of_its_own(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.verify() == 3
    assert "the registry has no such image" in capsys.readouterr().err


@pytest.mark.parametrize("end", [".sig", ""])
def test_a_registry_that_cannot_be_queried_is_no_absence(
    site: Site, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    digest = site.put_image()
    site.put_documents(digest)
    down = f"/manifests/{digest.replace(':', '-')}{end}"
    refused = problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="x"'})
    site.server.instead = lambda request: refused if request.path.endswith(down) else None
    assert site.verify() == 4
    assert "it has no" not in capsys.readouterr().err


def test_a_profile_without_keys_asks_for_one(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (site.root / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    assert site.verify() == 2
    assert "--key FILE" in capsys.readouterr().err


def test_a_file_that_is_no_public_key_is_named(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.verify("--key", str(site.root / "matrix.yaml")) == 2
    assert "matrix.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--json",), ("--key", "x"), ("--save", "x")])
def test_options_of_remote_are_refused_without_it(
    site: Site, capsys: pytest.CaptureFixture[str], option: tuple[str, ...]
) -> None:
    assert main(["verify", *option, "--root", str(site.root)]) == 2
    assert f"{option[0]} has no effect without --remote" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--only", "x"), ("--no-boot",), ("--accel", "tcg")])
def test_options_of_gates_are_refused_with_remote(
    site: Site, capsys: pytest.CaptureFixture[str], option: tuple[str, ...]
) -> None:
    assert site.verify(*option) == 2
    assert f"{option[0]} has no effect with --remote" in capsys.readouterr().err


def test_a_malformed_reference_is_a_usage_error(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--remote", "beegfs-client", "--root", str(site.root)]) == 2
    assert "--remote: 'beegfs-client' names no registry" in capsys.readouterr().err
