"""The statements about a published image against its content: what a scanner finds in it, the kernel that it booted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.signing.image_keys import load_public_keys
from kmatrix.stages.trust import Trust, verified
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT
from kmatrix.values.module import module_path
from kmatrix.values.names import ImageRef
from tests.integration.support.lab import Lab
from tests.integration.support.project.images import output_in
from tests.integration.support.project.signing_keys import IMAGES
from tests.integration.support.project.site import NEWER_CLIENT, PROFILE, Site, SiteMaker

# Package URLs of what a scanner looks for: installed packages, and kernel modules, for which it has no type.
_INSTALLED = ("pkg:deb/", "pkg:rpm/rhel/")


@dataclass(frozen=True)
class Published:
    """A published cell: its result, its image by digest, and the predicates of its attestations that verify."""

    result: Mapping[str, Any]
    ref: ImageRef
    predicates: Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def published(lab: Lab, module_sites: SiteMaker) -> Published:
    """One cell that was built, booted, signed and attested."""
    site: Site = module_sites(clients=[NEWER_CLIENT], kernels=[lab.kernels.newer], signed=[IMAGES])
    done = site.run("build", boot=True)
    assert done.code == 0, done.stderr
    result = done.cell(f"{NEWER_CLIENT}-{lab.kernels.newer}")
    ref = ImageRef.parse(f"{site.target}/beegfs-client").with_digest(result["digest"])
    signing = read_matrix((site.root / "matrix.yaml").read_text(encoding="utf-8")).profile(PROFILE).image_signing
    assert signing
    keys = load_public_keys(signing, site.root)
    registry, said = RegistryWriter(load_credentials(None)), list[str]()
    found = verified(registry, Trust(keys), ref, ref.digest, said.append)
    assert said == []
    assert sorted(each.predicate_type for each in found) == sorted([TEST_RESULT, PROVENANCE, SPDX])
    return Published(result, ref, {each.predicate_type: each.predicate for each in found})


@pytest.fixture(scope="module")
def scanned(published: Published, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The packages that syft finds in the image, which it pulls itself."""
    folder = tmp_path_factory.mktemp("syft")
    settings = {
        "SYFT_CHECK_FOR_APP_UPDATE": "false",
        "SYFT_REGISTRY_INSECURE_USE_HTTP": "true",
        "SYFT_CACHE_DIR": str(folder / "cache"),
        "TMPDIR": str(folder),
    }
    command = [str(Path(sys.executable).with_name("syft")), "scan", f"registry:{published.ref.pinned}", "-o", "json"]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["artifacts"]
    return found


def _stated(published: Published) -> dict[str, dict[str, Any]]:
    """The packages of the bill of materials by package URL."""
    found = {}
    for each in published.predicates[SPDX]["packages"]:
        (reference,) = each.get("externalRefs") or [{"referenceLocator": each["name"]}]
        found[unquote(reference["referenceLocator"])] = each
    return found


def test_every_package_that_a_scanner_finds_is_stated_and_the_other_way_round(
    published: Published, scanned: list[dict[str, Any]]
) -> None:
    found = {unquote(each["purl"]) for each in scanned if each["type"] in ("deb", "rpm")}
    stated = {locator for locator in _stated(published) if locator.startswith(_INSTALLED)}
    assert found == stated
    assert len(stated) > 20, "the base has packages"


def test_a_scanner_finds_nothing_else_but_the_module(published: Published, scanned: list[dict[str, Any]]) -> None:
    others = [each for each in scanned if each["type"] not in ("deb", "rpm")]
    assert [(each["type"], each["name"], each["version"]) for each in others] == [
        ("linux-kernel-module", "beegfs", NEWER_CLIENT)
    ]
    (module,) = [each for each in published.predicates[SPDX]["packages"] if each["name"] == "beegfs"]
    assert module["versionInfo"] == NEWER_CLIENT
    assert module["packageFileName"] == module_path(published.result["kernel"])
    assert module["sourceInfo"] == f"srcversion {published.result['srcversion']}"


def test_the_test_result_names_the_kernel_file_of_the_toolkit(published: Published, lab: Lab) -> None:
    predicate = published.predicates[TEST_RESULT]
    assert predicate["result"] == "PASSED"
    assert predicate["passedTests"] == ["boot", "mount", "static"]
    (kernel,) = [each for each in predicate["configuration"] if each["name"] == "vmlinuz"]
    assert kernel["annotations"]["release"] == published.result["kernel"] == lab.kernels.newer
    toolkit = kernel["annotations"]["toolkit"]
    assert toolkit in lab.toolkits.values()
    printed = output_in(toolkit, "sha256sum", f"/lib/modules/{lab.kernels.newer}/vmlinuz")
    assert kernel["digest"] == {"sha256": printed.split()[0]}
    assert published.result["vmlinuz"] == f"sha256:{printed.split()[0]}"


def test_the_provenance_names_the_inputs_and_no_place_of_this_machine(published: Published, lab: Lab) -> None:
    predicate = published.predicates[PROVENANCE]
    parameters = predicate["buildDefinition"]["externalParameters"]
    assert (parameters["client"], parameters["kernel"]) == (NEWER_CLIENT, lab.kernels.newer)
    named = {each["name"] for each in predicate["buildDefinition"]["resolvedDependencies"]}
    assert {"matrix.yaml", "matrix.lock", "base", "driver-toolkit", "package-key"} <= named
    text = json.dumps(published.predicates)
    assert str(Path.home()) not in text
    assert str(lab.root) not in text
    assert predicate["runDetails"]["metadata"]["startedOn"] <= predicate["runDetails"]["metadata"]["finishedOn"]
