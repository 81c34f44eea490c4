"""Retention against a real registry: images of a kernel without a release leave it, with their records and tags."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from kmatrix.decide.gate_record import record_tag
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.names import ImageRef, image_tag
from tests.integration.support.lab import Lab
from tests.integration.support.project.granted_boots import gates_taken_for_granted
from tests.integration.support.project.site import NEWER_CLIENT, PROFILE, Site, SiteMaker

DAYS = 30
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"


def published(site: Site) -> None:
    """Publish every cell as one that passed each gate; that the cells' own gate boots them is tested elsewhere."""
    with gates_taken_for_granted():
        run = site.run("build", boot=True)
    assert run.code == 0, run.stderr


def retire(site: Site, kernel: str, days: int) -> None:
    """Write a lock in which a kernel's last release left its channels so many days ago."""
    path = site.root / "matrix.lock"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    pins = content["profiles"][PROFILE]
    pins["releases"] = [pin for pin in pins["releases"] if kernel not in {entry["release"] for entry in pin["kernels"]}]
    since = (datetime.now(UTC) - timedelta(days=days)).date().isoformat()
    pins["retired"] = [{"kernel": kernel, "arch": "x86_64", "reason": "of a test", "since": since}]
    path.write_text(json.dumps(content), encoding="utf-8")


def every_tag(site: Site, repository: str) -> set[str]:
    """Return all tags of a repository, those of records too."""
    reply = requests.get(f"http://{site.registry.address}/v2/{repository}/tags/list", timeout=30)
    return set(reply.json().get("tags") or ()) if reply.ok else set()


class Attachments:
    """A signature and two attestations of a digest, in the forms of cosign and of registries without referrers."""

    def __init__(self, site: Site, image: str) -> None:
        self.signature = f"{image.replace(':', '-')}.sig"
        self.index = image.replace(":", "-")
        self._writer = RegistryWriter(load_credentials(None))
        self._ref = ImageRef.parse(f"{site.target}/beegfs-client")
        own = {"subject": {"mediaType": MANIFEST, "digest": image, "size": 1}}
        self.attestations = [self._put("", kind, {**own, "artifactType": kind}) for kind in ("tests", "origin")]
        listed = [{"mediaType": MANIFEST, "digest": each, "size": 1} for each in self.attestations]
        content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        self._writer.put_manifest(self._ref.with_tag(self.index), json.dumps(content).encode(), INDEX)
        self._put(self.signature, image, {})

    @property
    def there(self) -> list[str]:
        """The attestations that the registry has, by digest."""
        found = [self._writer.digest_of(self._ref.with_digest(each)) for each in self.attestations]
        return [each for each in found if each]

    def _put(self, tag: str, payload: str, more: dict[str, Any]) -> str:
        blobs = [payload.encode(), b"{}"]
        layer, config = (
            {"mediaType": "x/y", "digest": self._writer.put_blob(self._ref, blob), "size": len(blob)} for blob in blobs
        )
        content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], **more}
        name = self._ref.with_tag(tag) if tag else self._ref
        return self._writer.put_manifest(name, json.dumps(content).encode(), MANIFEST)


def test_a_retired_kernel_leaves_the_registry_with_everything_that_belongs_to_it(lab: Lab, new_site: SiteMaker) -> None:
    old, new = lab.kernels.older, lab.kernels.newer
    site = new_site(kernels=[old, new], retention_days=DAYS, kernel_tags=True)
    published(site)
    by_kernel = f"{site.repository}-{NEWER_CLIENT}"
    digests = {
        kernel: site.registry.digest(site.repository, image_tag(f"{NEWER_CLIENT}-{kernel}")) for kernel in (old, new)
    }
    for kernel, digest in digests.items():
        assert site.registry.digest(by_kernel, image_tag(kernel)) == digest, "the same manifest under the kernel's name"
    attached = {kernel: Attachments(site, digest) for kernel, digest in digests.items()}
    before = every_tag(site, site.repository)

    assert site.run("prune", "--apply").code == 0
    assert every_tag(site, site.repository) == before, "the kernel has a release"
    retire(site, old, DAYS)
    assert site.run("prune", "--apply").code == 0
    assert every_tag(site, site.repository) == before, "it is not old enough"

    retire(site, old, DAYS + 1)
    listed = site.run("prune", "--json")
    assert listed.code == 0, listed.stderr
    kinds = [each["kind"] for each in json.loads(listed.stdout)["removals"]]
    assert kinds == ["kernel tag", "cell", *["record"] * 5]
    assert every_tag(site, site.repository) == before, "a dry run"
    done = site.run("prune", "--apply")
    assert done.code == 0, done.stderr
    gone = {image_tag(f"{NEWER_CLIENT}-{old}"), record_tag(digests[old]), attached[old].signature, attached[old].index}
    assert every_tag(site, site.repository) == before - gone
    assert (attached[old].there, attached[new].there) == ([], attached[new].attestations)
    assert every_tag(site, by_kernel) == {image_tag(new)}
    assert list(done.verdicts) == [f"{NEWER_CLIENT}-{new}"]
    again = site.run("prune", "--json", "--apply")
    assert json.loads(again.stdout)["removals"] == []


def test_what_an_interrupted_prune_left_of_an_image_is_removed(lab: Lab, new_site: SiteMaker) -> None:
    """The image was the first to go, and nobody recorded its gates: its signature names no kernel."""
    site = new_site(kernels=[lab.kernels.newer], retention_days=DAYS)
    published(site)
    digest = site.registry.digest(site.repository, image_tag(f"{NEWER_CLIENT}-{lab.kernels.newer}"))
    kept, left = Attachments(site, digest), Attachments(site, f"sha256:{'0' * 64}")
    before = every_tag(site, site.repository)
    done = site.run("prune", "--apply")
    assert done.code == 0, done.stderr
    assert every_tag(site, site.repository) == before - {left.signature, left.index}
    assert (left.there, kept.there) == ([], kept.attestations)


def test_a_kernel_tag_that_was_removed_or_moved_is_written_again_without_a_build(lab: Lab, new_site: SiteMaker) -> None:
    site = new_site(kernels=[lab.kernels.newer], kernel_tags=True)
    published(site)
    by_kernel, tag = f"{site.repository}-{NEWER_CLIENT}", image_tag(lab.kernels.newer)
    digest = site.registry.digest(by_kernel, tag)
    site.registry.delete(by_kernel, tag)
    again = site.run("build", boot=True)
    assert again.code == 0, again.stderr
    assert set(again.verdicts.values()) == {"skipped"}
    assert site.registry.digest(by_kernel, tag) == digest
