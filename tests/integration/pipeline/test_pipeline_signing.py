"""A project that signs its images: what it publishes first, and after its image key was changed."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from kmatrix.decide.gate_record import record_tag
from kmatrix.effects.signing.key_files import IMAGE_KEY, IMAGE_PUBLIC_KEY
from tests.integration.support.lab import Lab
from tests.integration.support.project.signing_keys import FOLDER, IMAGES, write_signing_keys
from tests.integration.support.project.site import NEWER_CLIENT, Run, Site, SiteMaker

OLD, NEW = f"{FOLDER}/{IMAGE_PUBLIC_KEY}", f"rotated/{FOLDER}/{IMAGE_PUBLIC_KEY}"
NOTE = "now signed with the image key"


@pytest.fixture(scope="module")
def site(lab: Lab, module_sites: SiteMaker) -> Site:
    """A project of one cell whose images are signed, and named by their kernel too."""
    made: Site = module_sites(clients=[NEWER_CLIENT], kernels=[lab.kernels.newer], signed=[IMAGES], kernel_tags=True)
    return made


def signatures(site: Site, repository: str, digest: str) -> int:
    """Return how many signatures an image has in a repository."""
    manifest: dict[str, Any] = site.registry.manifest(repository, f"{digest.replace(':', '-')}.sig")
    return len(manifest["layers"])


def with_keys(site: Site, key: str, *public: str) -> Run:
    """Build with an image key, and with these public keys."""
    site.change_profile(image_signing={"key": f"file:{key}", "public_keys": list(public)})
    return site.run("build")


def test_a_changed_key_signs_what_is_published_and_builds_nothing(site: Site, lab: Lab) -> None:
    cell = f"{NEWER_CLIENT}-{lab.kernels.newer}"
    by_kernel = f"{site.repository}-{NEWER_CLIENT}"
    first = site.run("build")
    assert (first.code, first.verdicts) == (0, {cell: "passed"}), first.stderr
    assert "sign" in first.cell(cell)["stages"]
    assert first.stderr.count("note: modules are not signed") == 1
    digest = first.cell(cell)["digest"]
    with pytest.raises(requests.HTTPError, match="404"):
        site.registry.manifest(site.repository, record_tag(digest))
    assert signatures(site, site.repository, digest) == signatures(site, by_kernel, digest) == 1

    again = site.run("build")
    assert (again.code, again.verdicts, again.builds) == (0, {cell: "skipped"}, 0), again.stderr
    assert NOTE not in again.cell(cell)["reason"]

    write_signing_keys(site.root / "rotated", [IMAGES])
    rotated = with_keys(site, f"rotated/{FOLDER}/{IMAGE_KEY}", OLD, NEW)
    assert (rotated.code, rotated.verdicts, rotated.builds) == (0, {cell: "skipped"}, 0), rotated.stderr
    assert rotated.cell(cell)["reason"].endswith(NOTE)
    assert rotated.cell(cell)["digest"] == digest
    assert signatures(site, site.repository, digest) == signatures(site, by_kernel, digest) == 2

    # Everything is signed by the new key, so the old one may leave the list.
    later = with_keys(site, f"rotated/{FOLDER}/{IMAGE_KEY}", NEW)
    assert (later.code, later.verdicts, later.builds) == (0, {cell: "skipped"}, 0), later.stderr
    assert NOTE not in later.cell(cell)["reason"]


def test_what_no_listed_key_has_signed_is_built_again(site: Site, lab: Lab) -> None:
    cell = f"{NEWER_CLIENT}-{lab.kernels.newer}"
    write_signing_keys(site.root / "other", [IMAGES])
    other = with_keys(site, f"other/{FOLDER}/{IMAGE_KEY}", f"other/{FOLDER}/{IMAGE_PUBLIC_KEY}")
    assert (other.code, other.verdicts) == (0, {cell: "passed"}), other.stderr


def test_without_the_private_key_nothing_is_built(site: Site) -> None:
    refused = with_keys(site, "nowhere.key", OLD)
    assert refused.code == 2
    assert "nowhere.key" in refused.stderr
    assert "builds:" not in refused.stderr
    assert site.run("plan", "--unpublished").code == 0
