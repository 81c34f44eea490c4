"""The attestation of how an image was built: SLSA provenance v1.

The form is that of slsa-framework/slsa, docs/spec/v1.0/provenance.md; docs/attestations.md describes this project's two
build types, their parameters and their dependencies. Nothing in it is a path of this machine, or an address with a
credential in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from kmatrix.decide.builders import UNKNOWN, Builder
from kmatrix.decide.bundle import CellImage
from kmatrix.decide.formats.nevra import package_of
from kmatrix.decide.formats.purl import image_purl, package_purl
from kmatrix.values.attestation import PROVENANCE, Statement
from kmatrix.values.build_facts import BuildFacts
from kmatrix.values.names import ImageRef
from kmatrix.values.project import PROJECT
from kmatrix.values.recipe import KEY_FILE, PackageFile, Recipe
from kmatrix.values.redaction import redacted

CELL_BUILD = f"{PROJECT}/builds/cell/v1"
BUNDLE_BUILD = f"{PROJECT}/builds/bundle/v1"


def cell_provenance(
    name: str, digest: str, recipe: Recipe, base: ImageRef, facts: BuildFacts, builder: Builder
) -> Statement:
    """Return the provenance of a cell's image.

    Args:
        name: repository of the image.
        digest: of the image.
        recipe: that it was built from.
        base: the base image, pinned, by the name that matrix.yaml has for it.
        facts: of the build.
        builder: that ran it; it is not named if the facts do not tell when the build began.
    """
    cell = recipe.cell
    parameters = {
        "profile": facts.profile,
        "client": str(cell.client),
        "kernel": cell.kernel,
        "arch": cell.arch,
        "releases": list(cell.releases),
    }
    dependencies = [
        *_repository(facts),
        *({"name": path, "digest": {"sha256": sha256}} for path, sha256 in sorted(facts.files.items())),
        _content(f"dockerfiles/{facts.profile}/{cell.id}/Dockerfile", recipe.dockerfile.encode()),
        *(_content(f"images/beegfs-client/{path}", content) for path, content in sorted(recipe.files.items())),
        _image("base", base),
        _image("driver-toolkit", cell.toolkit),
        *(_package(package, recipe, facts) for package in recipe.packages),
        {
            "name": KEY_FILE,
            "digest": {"sha256": recipe.key.sha256},
            "annotations": {"fingerprint": recipe.key.fingerprint},
            **_location(recipe, recipe.key.location, facts),
        },
    ]
    if recipe.certificate:
        dependencies.append(_content("module-certificate", recipe.certificate))
    return _statement(name, digest, CELL_BUILD, parameters, {"cellKey": recipe.cell_key}, dependencies, facts, builder)


def bundle_provenance(
    name: str, digest: str, client: str, images: Iterable[CellImage], facts: BuildFacts, builder: Builder
) -> Statement:
    """Return the provenance of a bundle: the images of the cells that it was composed from.

    Args:
        name: repository of the bundle and of its cells.
        digest: of the bundle: a manifest, or a list of them.
        client: its version.
        images: its cells, oldest kernel first.
        facts: of the run that composed it.
        builder: that ran it.
    """
    images = tuple(images)
    parameters = {
        "profile": facts.profile,
        "client": client,
        "kernels": [image.cell.kernel for image in images],
        "arches": sorted({image.cell.arch for image in images}),
    }
    repository = ImageRef.parse(name)
    cells = [_image(f"cell {image.cell.id}", repository.with_digest(image.digest)) for image in images]
    return _statement(name, digest, BUNDLE_BUILD, parameters, {}, [*_repository(facts), *cells], facts, builder)


def _statement(
    name: str,
    digest: str,
    build_type: str,
    external: Mapping[str, Any],
    internal: Mapping[str, Any],
    dependencies: list[dict[str, Any]],
    facts: BuildFacts,
    builder: Builder,
) -> Statement:
    run: dict[str, Any] = {
        "builder": {"id": builder.id, "version": dict(sorted(facts.versions.items()))},
        "metadata": {"invocationId": builder.invocation, "startedOn": facts.started, "finishedOn": facts.finished},
    }
    if not facts.started:
        # Another run built it, perhaps elsewhere: the one that publishes it must not vouch for that.
        run = {"builder": {"id": UNKNOWN}}
    definition = {
        "buildType": build_type,
        "externalParameters": dict(external),
        **({"internalParameters": dict(internal)} if internal else {}),
        "resolvedDependencies": dependencies,
    }
    return Statement(PROVENANCE, name, digest, {"buildDefinition": definition, "runDetails": run})


def _repository(facts: BuildFacts) -> list[dict[str, Any]]:
    uri, revision = facts.source.uri, facts.source.revision
    if not uri and not revision:
        return []
    digest = {"digest": {"gitCommit": revision}} if revision else {}
    return [{"name": "repository", **({"uri": uri} if uri else {}), **digest}]


def _content(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}


def _image(name: str, ref: ImageRef) -> dict[str, Any]:
    return {"name": name, "uri": image_purl(ref), "digest": {"sha256": ref.digest.removeprefix("sha256:")}}


def _package(package: PackageFile, recipe: Recipe, facts: BuildFacts) -> dict[str, Any]:
    return {
        "name": package.file,
        "uri": package_purl(package_of(package.pin)),
        "digest": {"sha256": package.pin.sha256},
        **_location(recipe, package.pin.location, facts),
    }


def _location(recipe: Recipe, location: str, facts: BuildFacts) -> dict[str, str]:
    if not facts.packages_root:
        return {}
    return {"downloadLocation": redacted(f"{facts.packages_root}/{recipe.repository}/{location}")}
