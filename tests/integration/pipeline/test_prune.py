"""Retention against a real registry: images of a kernel without a release leave it, with their records and tags."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from kmatrix.decide.gate_record import record_tag
from kmatrix.values.names import image_tag
from tests.integration.support.lab import Lab
from tests.integration.support.project.granted_boots import boots_taken_for_granted
from tests.integration.support.project.site import NEWER_CLIENT, PROFILE, Site, SiteMaker

DAYS = 30


def published(site: Site) -> None:
    """Publish every cell as one that passed each gate; that the cells' own gates boot them is tested elsewhere."""
    with boots_taken_for_granted():
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
    assert kinds == ["kernel tag", "cell", "record"]
    assert every_tag(site, site.repository) == before, "a dry run"
    done = site.run("prune", "--apply")
    assert done.code == 0, done.stderr
    gone = {image_tag(f"{NEWER_CLIENT}-{old}"), record_tag(digests[old])}
    assert every_tag(site, site.repository) == before - gone
    assert every_tag(site, by_kernel) == {image_tag(new)}
    assert list(done.verdicts) == [f"{NEWER_CLIENT}-{new}"]
    again = site.run("prune", "--json", "--apply")
    assert json.loads(again.stdout)["removals"] == []


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
