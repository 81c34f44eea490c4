"""A cell of a made-up profile with everything that statements about its image need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from kmatrix.decide.builders import Builder
from kmatrix.decide.sbom import CellContents
from kmatrix.values.build_facts import BuildFacts, Source
from kmatrix.values.installed import Distribution, Installed, InstalledPackage
from kmatrix.values.module import ModuleFile
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe
from tests.unit.support.made_up_profile import digest, profile, recipes

NAME = "registry.example/team/beegfs-client"
DIGEST = digest("1")
BASE = ImageRef.parse(f"registry.example/base/minimal:latest@{digest('e')}")
CELL = "8.2.2-5.14.0-427.22.1.el9_4.x86_64+rt"
BUILDER = Builder(
    "https://github.com/team/images/.github/workflows/publish.yml@refs/heads/main",
    "https://github.com/team/images/actions/runs/42/attempts/1",
)
FACTS = BuildFacts(
    profile="site",
    source=Source("https://github.com/team/images", "a" * 40),
    files={"matrix.yaml": "6" * 64, "matrix.lock": "8" * 64},
    packages_root="https://packages.example/release",
    versions={"kmatrix": "0.1.0", "Docker": "28.0.4"},
    started="2026-01-01T00:00:00Z",
    finished="2026-01-01T00:01:00Z",
)
INSTALLED = Installed(
    Distribution("rhel", "9.4", "Red Hat Enterprise Linux"),
    (
        InstalledPackage("rpm", "bash", "5.1.8-9.el9", "x86_64", 0, "bash-5.1.8-9.el9.src.rpm", "Red Hat, Inc."),
        InstalledPackage("rpm", "openssl-libs", "3.0.7-27.el9", "x86_64", 1, "openssl-3.0.7-27.el9.src.rpm"),
    ),
)
MODULE = ModuleFile("9" * 64, "8.2.2", "533BB7E5866E52F63B9ACCB", "GPL v2")


def recipe_of(cell: str = CELL) -> Recipe:
    """The recipe of a cell of the made-up profile."""
    return recipes(profile())[cell]


def contents_of(recipe: Recipe, **changes: Any) -> CellContents:
    """The contents of an image of a recipe."""
    values: dict[str, Any] = {
        "base": BASE,
        "created": "2026-01-01T00:00:59.123456789Z",
        "installed": INSTALLED,
        "module": MODULE,
        "facts": FACTS,
        "version": "0.1.0",
    }
    return CellContents(recipe, **{**values, **changes})


def spdx_faults(predicate: Mapping[str, Any]) -> list[str]:
    """What the SPDX project's own library finds wrong in a document; it raises for one that it cannot parse."""
    parser: Any = JsonLikeDictParser
    document = parser().parse(json.loads(json.dumps(predicate)))
    return [message.validation_message for message in validate_full_spdx_document(document, "SPDX-2.3")]


def named(predicate: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The one package of a document with a name."""
    (found,) = [each for each in predicate["packages"] if each["name"] == name]
    return dict(found)


def related(predicate: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """The relationships of a document, with names instead of identifiers."""
    names = {each["SPDXID"]: each["name"] for each in predicate["packages"]}
    names["SPDXRef-DOCUMENT"] = "document"
    return {
        (names[each["spdxElementId"]], each["relationshipType"], names[each["relatedSpdxElement"]])
        for each in predicate["relationships"]
    }
