"""The bill of materials of a cell: valid SPDX, complete, and the same bytes for the same image."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from kmatrix.decide.sbom import sbom
from kmatrix.decide.spdx import document, element, element_id, to_seconds
from kmatrix.values.attestation import SPDX
from kmatrix.values.build_facts import Source
from kmatrix.values.installed import Distribution, Installed, InstalledPackage
from kmatrix.values.recipe import Recipe
from tests.unit.support.attested_cell import (
    CELL,
    DIGEST,
    FACTS,
    INSTALLED,
    NAME,
    contents_of,
    named,
    recipe_of,
    related,
    spdx_faults,
)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_of()


def test_the_document_is_valid_by_the_spdx_projects_own_library(recipe: Recipe) -> None:
    """spdx/tools-python, src/spdx_tools/spdx/validation."""
    for changed in (recipe, replace(recipe, certificate=b"der")):
        assert spdx_faults(sbom(NAME, DIGEST, contents_of(changed)).predicate) == []
    least = contents_of(
        recipe, installed=Installed(Distribution(), ()), facts=replace(FACTS, source=Source(), packages_root="")
    )
    assert spdx_faults(sbom(NAME, DIGEST, least).predicate) == []


def test_a_document_that_is_not_valid_is_found_out(recipe: Recipe) -> None:
    predicate = json.loads(json.dumps(sbom(NAME, DIGEST, contents_of(recipe)).predicate))
    predicate["relationships"][0]["relatedSpdxElement"] = "SPDXRef-none"
    assert spdx_faults(predicate)


def test_the_document_is_about_the_image(recipe: Recipe) -> None:
    statement = sbom(NAME, DIGEST, contents_of(recipe))
    assert (statement.predicate_type, statement.name, statement.digest) == (SPDX, NAME, DIGEST)
    image, *_ = statement.predicate["packages"]
    assert (image["name"], image["versionInfo"], image["primaryPackagePurpose"]) == (NAME, CELL, "CONTAINER")
    assert image["checksums"] == [{"algorithm": "SHA256", "checksumValue": "1" * 64}]
    assert statement.predicate["creationInfo"] == {
        "created": "2026-01-01T00:00:59Z",
        "creators": ["Tool: kmatrix-0.1.0"],
    }
    assert statement.predicate["documentNamespace"].endswith(f"/{NAME}/sha256-{'1' * 64}")


def test_every_part_is_related_to_the_image(recipe: Recipe) -> None:
    predicate = sbom(NAME, DIGEST, contents_of(recipe)).predicate
    assert related(predicate) == {
        ("document", "DESCRIBES", NAME),
        (NAME, "DESCENDANT_OF", "registry.example/base/minimal"),
        (NAME, "CONTAINS", "bash"),
        (NAME, "CONTAINS", "openssl-libs"),
        (NAME, "CONTAINS", "beegfs-client"),
        (NAME, "CONTAINS", "beegfs-tools"),
        (NAME, "CONTAINS", "kmatrix"),
        (NAME, "CONTAINS", "beegfs"),
        ("registry.example/toolkit", "BUILD_TOOL_OF", "beegfs"),
        ("beegfs", "GENERATED_FROM", "beegfs-client"),
    }
    count = len(related(predicate))
    assert len(predicate["packages"]) == count - 1, "the sources are the same package as the userland's"


def test_packages_have_what_scanners_compare(recipe: Recipe) -> None:
    predicate = sbom(NAME, DIGEST, contents_of(recipe)).predicate
    openssl = named(predicate, "openssl-libs")
    assert openssl["versionInfo"] == "1:3.0.7-27.el9"
    assert openssl["supplier"] == "Organization: Red Hat Enterprise Linux"
    (reference,) = openssl["externalRefs"]
    assert reference["referenceLocator"].startswith("pkg:rpm/rhel/openssl-libs@3.0.7-27.el9?arch=x86_64&")
    assert named(predicate, "bash")["supplier"] == "Organization: Red Hat, Inc."
    client = named(predicate, "beegfs-client")
    assert client["versionInfo"] == "20:8.2.2-el9"
    assert client["checksums"] == [{"algorithm": "SHA256", "checksumValue": "5" * 64}]
    assert client["downloadLocation"].startswith("https://packages.example/release/beegfs_8.2/dists/rhel9/")


def test_the_module_is_told_apart_from_any_other(recipe: Recipe) -> None:
    module = named(sbom(NAME, DIGEST, contents_of(recipe)).predicate, "beegfs")
    assert module["versionInfo"] == "8.2.2"
    assert module["checksums"] == [{"algorithm": "SHA256", "checksumValue": "9" * 64}]
    assert module["sourceInfo"] == "srcversion 533BB7E5866E52F63B9ACCB"
    assert module["packageFileName"] == f"/opt/lib/modules/{recipe.cell.kernel}/extra/beegfs.ko"
    assert "GPL v2" in module["licenseComments"]


def test_a_module_that_is_signed_has_its_certificate(recipe: Recipe) -> None:
    predicate = sbom(NAME, DIGEST, contents_of(replace(recipe, certificate=b"der"))).predicate
    name = "certificate of the module's signature"
    checksum = hashlib.sha256(b"der").hexdigest()
    assert named(predicate, name)["checksums"] == [{"algorithm": "SHA256", "checksumValue": checksum}]
    assert {(NAME, "CONTAINS", name), (name, "METAFILE_OF", "beegfs")} <= related(predicate)


def test_sources_of_another_rhel_major_are_a_package_of_their_own() -> None:
    """The userland is of the base's major, the module of its kernel's."""
    predicate = sbom(NAME, DIGEST, contents_of(recipe_of("8.2.2-6.12.0-211.28.1.el10_2.x86_64"))).predicate
    assert {each["versionInfo"] for each in predicate["packages"] if each["name"] == "beegfs-client"} == {
        "20:8.2.2-el9",
        "20:8.2.2-el10",
    }


def test_the_same_image_gives_the_same_bytes(recipe: Recipe) -> None:
    first = json.dumps(sbom(NAME, DIGEST, contents_of(recipe)).predicate)
    turned = replace(INSTALLED, packages=INSTALLED.packages[::-1])
    assert json.dumps(sbom(NAME, DIGEST, contents_of(recipe, installed=turned)).predicate) == first


def test_no_credential_is_stated(recipe: Recipe) -> None:
    source = Source("https://user:secret@git.example/team/images", "a" * 40)
    facts = replace(FACTS, source=source, packages_root="https://user:secret@packages.example/release")
    predicate = sbom(NAME, DIGEST, contents_of(recipe, facts=facts)).predicate
    assert "secret" not in json.dumps(predicate)


def test_identifiers_of_names_that_look_alike_differ() -> None:
    """SPDX 2.3, 7.2: letters, digits, `.` and `-` alone."""
    ids = {element_id("deb", name, "1") for name in ("libstdc++6", "libstdc--6", "libstdc-6")}
    assert len(ids) == 3
    assert element_id("deb", "a" * 500, "1") != element_id("deb", "a" * 501, "1")
    packages = [InstalledPackage("deb", f"x{sign}y", "1:2~3", "all") for sign in "+_ "]
    recipe = recipe_of()
    predicate = sbom(NAME, DIGEST, contents_of(recipe, installed=Installed(Distribution(), tuple(packages)))).predicate
    assert spdx_faults(predicate) == []


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-01-01T00:00:59.123456789Z", "2026-01-01T00:00:59Z"),
        ("2026-01-01T00:00:59Z", "2026-01-01T00:00:59Z"),
        ("", "1970-01-01T00:00:00Z"),
        ("yesterday", "1970-01-01T00:00:00Z"),
    ],
)
def test_an_images_time_is_given_to_the_second(time: str, expected: str) -> None:
    assert to_seconds(time) == expected


def test_an_element_that_is_found_twice_is_stated_once() -> None:
    one = element("SPDXRef-Image", "x")
    made = document(NAME, DIGEST, "", "t-1", [one, one], [("SPDXRef-Image", "CONTAINS", "SPDXRef-Image")] * 2)
    assert (len(made["packages"]), len(made["relationships"])) == (1, 2)
