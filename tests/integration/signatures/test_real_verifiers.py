"""Programs of other projects accept what is published, and refuse everything that somebody else puts in its place."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from kmatrix import cli
from kmatrix.effects.signing.key_files import IMAGE_KEY, IMAGE_PUBLIC_KEY, write_key_files
from kmatrix.effects.signing.new_keys import new_image_key
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT
from kmatrix.values.engine import RunOutput
from kmatrix.values.gate_record import BOOT_GATE, STATIC_GATE
from kmatrix.values.names import image_tag
from tests.integration.support.lab import Lab
from tests.integration.support.project.granted_boots import boots_taken_for_granted
from tests.integration.support.project.signing_keys import FOLDER, IMAGES, SIGNED, write_signing_keys
from tests.integration.support.project.site import NEWER_CLIENT, Site, SiteMaker
from tests.integration.support.registries import ThrowAwayRegistry
from tests.integration.support.session import Session
from tests.integration.support.verifiers import NO_SERVICES, Verifiers, verifiers_for
from tests.unit.support.documents import code_blocks

PAGE = "docs/verification.md"
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
)
COSIGN = "cosign verify --key {key} --insecure-ignore-tlog {image}"
COSIGN_ATTESTATION = (
    "cosign verify-attestation --key {key} --insecure-ignore-tlog --new-bundle-format --trusted-root root.json "
    "--type {kind} {image}"
)
SKOPEO = "skopeo --policy {key}.json --registries.d registries.d copy -q docker://{image} dir:$(mktemp -d)/image"


@dataclass(frozen=True)
class Published:
    """A project whose images are signed, and the programs that verify them.

    Their folder has the public keys images.pub, which signed, and other.pub.
    """

    site: Site
    cell: str
    verifiers: Verifiers

    @property
    def repository(self) -> str:
        """The repository of the images, as HOST/PATH."""
        return f"{self.site.target}/beegfs-client"

    def image(self, tag: str) -> str:
        """Return the reference of an image by its tag."""
        return f"{self.repository}:{image_tag(tag)}"

    def digest(self, tag: str) -> str:
        """Return the digest that a tag has."""
        return self.site.registry.digest(self.site.repository, image_tag(tag))

    def run(self, command: str, image: str, key: str = "images.pub", **values: str) -> RunOutput:
        """Run the command line of a verifier."""
        return self.verifiers.run(command.format(key=key, image=image, **values))

    def verify(self, image: str, key: str = "images.pub", *more: str) -> RunOutput:
        """Run `kmatrix verify --remote`."""
        stdout, stderr = io.StringIO(), io.StringIO()
        public = str(self.verifiers.folder / key)
        with redirect_stderr(stderr), redirect_stdout(stdout):
            code = cli.main(["verify", "--remote", image, "--key", public, *more, "--root", str(self.site.root)])
        return RunOutput(code, stdout.getvalue(), stderr.getvalue())

    def refusals(self, image: str, key: str = "images.pub") -> dict[str, str]:
        """Return what each program says about an image that it must refuse."""
        commands = {"cosign": COSIGN, "skopeo": SKOPEO, "attestation": COSIGN_ATTESTATION}
        said = {}
        for name, command in commands.items():
            done = self.run(command, image, key, kind=TEST_RESULT)
            assert done.status != 0, f"{name} accepts {image}: {done}"
            said[name] = done.stderr
        own = self.verify(image, key)
        assert own.status == 1, own.stderr
        said["kmatrix"] = own.stderr
        return said

    def copied_documents(self, digest: str, other: str) -> None:
        """Put the signatures and attestations of one digest beside another one."""
        for end in (".sig", ""):
            found = self._ask("GET", digest.replace(":", "-") + end)
            self._put(other.replace(":", "-") + end, found.content, found.headers["Content-Type"])

    def changed_manifest(self, tag: str, under: str) -> str:
        """Put a copy of an image's manifest with one layer less under another tag; return its digest."""
        content: dict[str, Any] = self._ask("GET", image_tag(tag)).json()
        content["layers"].pop()
        # Documents that are put beside it later must not be found beside another copy.
        content["annotations"] = {"copy": under}
        return self._put(under, json.dumps(content).encode(), content["mediaType"])

    def _ask(self, method: str, reference: str, **more: Any) -> requests.Response:
        url = f"http://{self.site.registry.address}/v2/{self.site.repository}/manifests/{reference}"
        response = requests.request(method, url, timeout=30, **{"headers": {"Accept": MANIFESTS}, **more})
        response.raise_for_status()
        return response

    def _put(self, reference: str, content: bytes, media_type: str) -> str:
        done = self._ask("PUT", reference, data=content, headers={"Content-Type": media_type})
        return str(done.headers["Docker-Content-Digest"])


def write_policy(folder: Path, name: str, registry: ThrowAwayRegistry) -> None:
    """Write the policy of skopeo that accepts what one public key of the folder verifies."""
    signed = {"type": "sigstoreSigned", "keyPath": name, "signedIdentity": {"type": "matchRepository"}}
    policy = {"default": [{"type": "reject"}], "transports": {"docker": {registry.address: [signed]}}}
    (folder / f"{name}.json").write_text(json.dumps(policy), encoding="utf-8")


@pytest.fixture(name="published", scope="module")
def _published(
    lab: Lab,
    session: Session,
    registry: ThrowAwayRegistry,
    module_sites: SiteMaker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Published]:
    """One cell that was really booted, and the bundle of it."""
    # The module is signed; that it loads under Secure Boot is tested elsewhere.
    gates = [STATIC_GATE, BOOT_GATE]
    site = module_sites(kernels=[lab.kernels.newer], signed=SIGNED, gates=gates)
    folder, other = tmp_path_factory.mktemp("verifiers"), tmp_path_factory.mktemp("other")
    write_signing_keys(other, [IMAGES])
    for name, root in (("images.pub", site.root), ("other.pub", other)):
        (folder / name).write_bytes((root / FOLDER / IMAGE_PUBLIC_KEY).read_bytes())
        write_policy(folder, name, registry)
    (folder / "root.json").write_text(NO_SERVICES, encoding="utf-8")
    (folder / "registries.d").mkdir()
    attachments = {"docker": {registry.address: {"use-sigstore-attachments": True}}}
    (folder / "registries.d" / "lab.yaml").write_text(json.dumps(attachments), encoding="utf-8")
    built = site.run("build", boot=True)
    assert built.code == 0, built.stderr
    with boots_taken_for_granted():
        bundled = site.run("bundle")
    assert bundled.code == 0, bundled.stderr
    with ExitStack() as stack:
        verifiers = stack.enter_context(verifiers_for(lab, session, registry, folder))
        yield Published(site, f"{NEWER_CLIENT}-{lab.kernels.newer}", verifiers)


@pytest.fixture(name="tag", params=["cell", "bundle"])
def _tag(request: pytest.FixtureRequest, published: Published) -> str:
    """The name of an image: of the cell, then of the bundle."""
    return published.cell if request.param == "cell" else NEWER_CLIENT


def test_cosign_and_skopeo_accept_the_signature(published: Published, tag: str) -> None:
    for command in (COSIGN, SKOPEO):
        done = published.run(command, published.image(tag))
        assert done.status == 0, done
        assert published.run(command, f"{published.repository}@{published.digest(tag)}").status == 0
    (signed,) = json.loads(published.run(COSIGN, published.image(tag)).stdout)
    assert signed["critical"]["identity"] == {"docker-reference": published.repository}


@pytest.mark.parametrize("kind", [TEST_RESULT, PROVENANCE, SPDX])
def test_cosign_accepts_the_attestations(published: Published, tag: str, kind: str) -> None:
    done = published.run(COSIGN_ATTESTATION, published.image(tag), kind=kind)
    assert done.status == 0, done
    assert len(done.stdout.splitlines()) == 1


def test_kmatrix_itself_verifies_what_cosign_verifies(published: Published, tag: str) -> None:
    done = published.verify(published.image(tag), "images.pub", "--json")
    assert done.status == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["image"].endswith(f"@{published.digest(tag)}")
    kinds = {each["kind"] for entry in report["images"] for each in entry["documents"]}
    assert kinds == {"signature", "test result", "provenance", "SBOM"}


def test_the_test_result_names_the_kernel_that_was_booted(published: Published, lab: Lab) -> None:
    report = json.loads(published.verify(published.image(published.cell), "images.pub", "--json").stdout)
    (result,) = report["images"][0]["test_results"]
    assert set(result["gates"]) == {"static", "boot"}
    (kernel,) = result["kernels"]
    assert kernel["release"] == lab.kernels.newer
    assert kernel["toolkit"].endswith(lab.toolkits["newer"].partition("@")[2])


def test_another_key_verifies_nothing(published: Published, tag: str) -> None:
    said = published.refusals(published.image(tag), "other.pub")
    for name in ("cosign", "skopeo"):
        assert "invalid signature when validating ASN.1 encoded signature" in said[name]
    assert "accepted signatures do not match threshold" in said["attestation"]
    assert "none of the public keys verifies it" in said["kmatrix"]


def test_a_changed_manifest_has_no_signature(published: Published, tag: str) -> None:
    published.changed_manifest(tag, "changed")
    said = published.refusals(published.image("changed"))
    assert "no signatures found" in said["cosign"]
    assert "A signature was required, but no signature exists" in said["skopeo"]
    assert "no valid bundles exist in registry" in said["attestation"]
    assert "it has no signature" in said["kmatrix"]


def test_documents_that_were_copied_from_another_image_are_refused(published: Published, tag: str) -> None:
    published.copied_documents(published.digest(tag), published.changed_manifest(tag, "copied"))
    said = published.refusals(published.image("copied"))
    assert "invalid or missing digest in claim" in said["cosign"]
    assert "does not match" in said["skopeo"]
    assert "provided artifact digest does not match any digest in statement" in said["attestation"]
    assert "no signature verifies" in said["kmatrix"]
    assert "no test result verifies" in said["kmatrix"]


BLOCKS = code_blocks([PAGE])


def test_the_blocks_of_the_page_verify_an_image(published: Published) -> None:
    """All of them, one after the other, but those of oc and of a checkout."""
    blocks = [block for block in BLOCKS if not re.search(r"^(oc|nox) ", block, re.MULTILINE)]
    assert len(blocks) == 10
    script = "\n".join(blocks).replace("quay.io/your-team/beegfs-client\n", f"{published.repository}\n", 1)
    script = script.replace("$REPOSITORY:8.3.1", f"$REPOSITORY:{image_tag(published.cell)}", 1)
    folder = published.verifiers.folder
    done = published.verifiers.run(
        f"mkdir page && cd page && cp ../images.pub . && {{\n{script}\n}}",
        KERNEL=published.cell.removeprefix(f"{NEWER_CLIENT}-"),
    )
    assert done.status == 0, done
    tested = json.loads((folder / "page" / "test-result.json").read_text(encoding="utf-8"))
    assert (tested["result"], "boot" in tested["passedTests"]) == ("PASSED", True)
    sbom = json.loads((folder / "page" / "sbom.spdx.json").read_text(encoding="utf-8"))
    assert sbom["spdxVersion"] == "SPDX-2.3"
    assert "CMS Verification successful" in done.stderr


def test_the_page_names_every_word_of_refusal(published: Published) -> None:
    """The words of its table are those that the tests above have seen."""
    table = (published.site.lab.root / PAGE).read_text(encoding="utf-8").partition("## What is refused")[2]
    source = Path(__file__).read_text(encoding="utf-8")
    words = re.findall(r"`([^`]+)`", table)
    assert len(words) >= 7
    assert [each for each in words if source.count(each) < 1] == []


def test_either_key_verifies_while_one_replaces_the_other(published: Published) -> None:
    """The last test here: what was published has signatures and attestations of two keys from now on."""
    site, folder = published.site, published.verifiers.folder
    write_key_files(site.root / FOLDER / "next", new_image_key())
    key, public = f"{FOLDER}/{IMAGE_KEY}", f"{FOLDER}/{IMAGE_PUBLIC_KEY}"
    following, following_public = f"{FOLDER}/next/{IMAGE_KEY}", f"{FOLDER}/next/{IMAGE_PUBLIC_KEY}"
    signing = {"key": f"file:{key}", "next_key": f"file:{following}", "public_keys": [public, following_public]}
    site.change_profile(image_signing=signing)
    (folder / "next.pub").write_bytes((site.root / following_public).read_bytes())
    write_policy(folder, "next.pub", site.registry)
    before = {tag: published.digest(tag) for tag in (published.cell, NEWER_CLIENT)}
    with boots_taken_for_granted():
        for command in ("build", "bundle"):
            done = site.run(command, boot=command == "build")
            assert done.code == 0, done.stderr
    assert {tag: published.digest(tag) for tag in before} == before, "nothing was built"
    for tag in before:
        for name in ("images.pub", "next.pub"):
            for command in (COSIGN, SKOPEO, COSIGN_ATTESTATION):
                verified = published.run(command, published.image(tag), name, kind=TEST_RESULT)
                assert verified.status == 0, verified
            assert published.verify(published.image(tag), name).status == 0
        assert published.run(COSIGN, published.image(tag), "other.pub").status != 0
