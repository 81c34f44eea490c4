"""The bill of materials of a bundle: the union of its cells', as far as it has their layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kmatrix.decide.bundle import CellImage, compose
from kmatrix.decide.bundle_sbom import BundlePart, bundle_sbom
from kmatrix.decide.sbom import sbom
from kmatrix.decide.spdx import is_document
from kmatrix.values.attestation import SPDX
from kmatrix.values.installed import Installed, InstalledPackage
from kmatrix.values.module import ModuleFile
from kmatrix.values.names import Arch
from tests.unit.support.attested_cell import DIGEST, INSTALLED, NAME, contents_of, recipe_of, related, spdx_faults
from tests.unit.support.cell_images import CLIENT, KERNELS, digest, image, with_manifest

TOOL = "kmatrix-0.1.0"


def sbom_of(made: CellImage, *packages: str, certificate: bytes = b"") -> Mapping[str, Any]:
    """The bill of materials of a cell, whose base has these packages."""
    recipe = replace(recipe_of(), cell=made.cell, certificate=certificate)
    names = tuple(InstalledPackage("rpm", name, "1-1", "x86_64") for name in packages)
    module = ModuleFile(made.module.digest.removeprefix("sha256:"), "8.98.1", "S", "GPL")
    installed = Installed(INSTALLED.distribution, names)
    return sbom(NAME, made.digest, contents_of(recipe, installed=installed, module=module)).predicate


def predicate_of(images: list[CellImage], sboms: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    part = BundlePart(compose(CLIENT, tuple(images)), images, sboms)
    statement = bundle_sbom(NAME, DIGEST, "8.98.1", [part], TOOL)
    assert (statement.predicate_type, statement.name, statement.digest) == (SPDX, NAME, DIGEST)
    assert spdx_faults(statement.predicate) == []
    return statement.predicate


def names_of(predicate: Mapping[str, Any]) -> list[str]:
    return sorted(each["name"] for each in predicate["packages"])


def on_another_base(made: CellImage) -> CellImage:
    """The image, with layers below the module that were built on another day."""
    layers = (replace(made.layers[0], digest=digest("newer")), *made.layers[1:])
    created = {**made.config, "created": "2026-02-01T00:00:00Z"}
    return with_manifest(replace(made, layers=layers, config=created))


def test_each_module_is_there_with_its_toolkit_and_the_packages_once() -> None:
    images = [image(kernel) for kernel in KERNELS]
    predicate = predicate_of(images, {made.digest: sbom_of(made, "bash") for made in images})
    names = names_of(predicate)
    assert names.count("beegfs") == names.count("registry.example/toolkit") == len(KERNELS)
    assert [names.count(name) for name in ("bash", "beegfs-tools", "beegfs-client", NAME, "kmatrix")] == [1] * 5
    modules = [each for each in predicate["packages"] if each["name"] == "beegfs"]
    paths = {f"/opt/lib/modules/{made.cell.kernel}/extra/beegfs.ko" for made in images}
    assert {each["packageFileName"] for each in modules} == paths
    assert {(NAME, "CONTAINS", "beegfs"), ("registry.example/toolkit", "BUILD_TOOL_OF", "beegfs")} <= related(predicate)
    assert predicate["creationInfo"]["created"] == max(made.config["created"] for made in images)
    assert "comment" not in predicate["packages"][0]


def test_the_packages_are_those_of_the_layers_that_the_bundle_has() -> None:
    """Of all current cells the layers of the first that was made (decide/bundle.py)."""
    first, second, third = on_another_base(image(KERNELS[0])), image(KERNELS[1]), image(KERNELS[2])
    sboms = {first.digest: sbom_of(first, "new", certificate=b"der"), second.digest: sbom_of(second, "old")}
    predicate = predicate_of([first, second, third], {**sboms, third.digest: sbom_of(third, "old")})
    names = names_of(predicate)
    assert ("old" in names, "new" in names) == (True, False)
    assert names.count("beegfs") == 3
    assert names.count("certificate of the module's signature") == 1
    named = {pair[0] for pair in related(predicate)} | {pair[2] for pair in related(predicate)}
    assert {"beegfs", "beegfs-client"} <= named


def test_a_cell_without_a_bill_of_materials_leaves_its_module_and_a_note() -> None:
    images = [image(kernel) for kernel in KERNELS]
    known = images[:2]
    predicate = predicate_of(images, {made.digest: sbom_of(made, "bash") for made in known})
    assert names_of(predicate).count("beegfs") == 3
    assert predicate["packages"][0]["comment"] == (
        f"not complete, as there is no bill of materials of: {images[2].cell.id}"
    )


def test_a_bundle_of_which_nothing_is_known_says_so() -> None:
    images = [image(kernel) for kernel in KERNELS]
    predicate = predicate_of(images, {})
    assert names_of(predicate) == ["beegfs", "beegfs", "beegfs", NAME]
    assert predicate["packages"][0]["comment"].endswith("the packages below the modules for x86_64")


def test_a_list_has_the_contents_of_every_architecture() -> None:
    arches: tuple[Arch, ...] = ("x86_64", "aarch64")
    parts = []
    for arch in arches:
        made = image(KERNELS[0], arch=arch)
        if arch == "x86_64":
            made = with_manifest(replace(made, config={**made.config, "created": "2026-02-01T00:00:00Z"}))
        content = sbom_of(made, f"only-{arch}")
        parts.append(BundlePart(compose(CLIENT, (made,)), [made], {made.digest: content}))
    predicate = bundle_sbom(NAME, DIGEST, "8.98.1", parts, TOOL).predicate
    assert spdx_faults(predicate) == []
    assert predicate["creationInfo"]["created"] == "2026-02-01T00:00:00Z"
    assert {"only-x86_64", "only-aarch64"} <= set(names_of(predicate))
    assert names_of(predicate).count("beegfs") == 2
    assert "arch=" not in predicate["packages"][0]["externalRefs"][0]["referenceLocator"]


def test_the_same_bundle_gives_the_same_bytes() -> None:
    images = [image(kernel) for kernel in KERNELS]
    sboms = {made.digest: sbom_of(made, "bash") for made in images}
    turned = dict(reversed(sboms.items()))
    assert json.dumps(predicate_of(images, sboms)) == json.dumps(predicate_of(images, turned))


def test_a_cells_own_document_is_known_by_its_namespace_and_digest() -> None:
    made = image(KERNELS[0])
    content = sbom_of(made, "bash")
    assert is_document(content, made.digest)
    assert not is_document(content, digest("other"))


@pytest.mark.parametrize(
    "changed",
    [
        {"documentNamespace": "https://anchore.com/syft/image/team/beegfs-client-1"},
        {"documentNamespace": 1},
        {"packages": []},
        {"packages": 1},
        {"packages": ["x"]},
        {"relationships": None},
        {"relationships": [{"spdxElementId": "SPDXRef-Image"}]},
        {"relationships": [{"spdxElementId": "x", "relationshipType": "CONTAINS", "relatedSpdxElement": "y"}]},
        {"relationships": [{"spdxElementId": ["x"], "relationshipType": "CONTAINS", "relatedSpdxElement": "y"}]},
    ],
)
def test_a_document_of_another_program_is_none_to_take_over(changed: dict[str, Any]) -> None:
    made = image(KERNELS[0])
    assert not is_document({**sbom_of(made), **changed}, made.digest)
