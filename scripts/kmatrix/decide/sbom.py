"""The bill of materials (SBOM) of a cell's image, made of what its build knows: an SPDX document.

It has the image and its base, the packages that are installed in it, the client's packages, the module with the toolkit
and the sources that it was built from, and the certificate of its signature. It does not look into the client's
programs: libraries that are compiled into them are for a scanner to find.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from kmatrix.decide.formats.nevra import package_of
from kmatrix.decide.formats.purl import image_purl, package_purl, purl
from kmatrix.decide.spdx import IMAGE, Element, Relationship, document, element, element_id
from kmatrix.values.attestation import SPDX, Statement
from kmatrix.values.build_facts import BuildFacts
from kmatrix.values.installed import Distribution, Installed, InstalledPackage
from kmatrix.values.module import MODULE_NAME, ModuleFile, certificate_path, module_path
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import PackageFile, Recipe
from kmatrix.values.redaction import redacted

PROGRAM_ID = "SPDXRef-kmatrix"


@dataclass(frozen=True)
class CellContents:
    """The contents of a cell's image.

    Attributes:
        recipe: that it was built from.
        base: the base image, pinned, by the name that matrix.yaml has for it.
        created: the time in the image's configuration.
        installed: the packages that are installed in it.
        module: the file of its module.
        facts: of its build.
        version: of this program, whose entry point the image has.
    """

    recipe: Recipe
    base: ImageRef
    created: str
    installed: Installed
    module: ModuleFile
    facts: BuildFacts
    version: str


def sbom(name: str, digest: str, contents: CellContents) -> Statement:
    """Return the bill of materials of a cell's image as a statement.

    Args:
        name: repository of the image.
        digest: of the image.
        contents: of the image.
    """
    recipe = contents.recipe
    cell = recipe.cell
    elements: list[Element] = [
        element(
            IMAGE,
            name,
            cell.id,
            purl=image_purl(ImageRef.parse(name).with_digest(digest), cell.arch),
            sha256=digest.removeprefix("sha256:"),
            purpose="CONTAINER",
        )
    ]
    relationships: list[Relationship] = []

    def add(made: Element, *pairs: Relationship) -> None:
        elements.append(made)
        relationships.extend(pairs)

    base = _image(contents.base)
    add(base, (IMAGE, "DESCENDANT_OF", base["SPDXID"]))
    for package in contents.installed.packages:
        made = _installed(package, contents.installed.distribution)
        add(made, (IMAGE, "CONTAINS", made["SPDXID"]))
    for file in recipe.userland:
        made = _client(file, recipe, contents.facts)
        add(made, (IMAGE, "CONTAINS", made["SPDXID"]))
    program = _program(contents)
    add(program, (IMAGE, "CONTAINS", program["SPDXID"]))
    module, toolkit, sources = _module(contents), _image(cell.toolkit), _client(recipe.source, recipe, contents.facts)
    built = module["SPDXID"]
    add(module, (IMAGE, "CONTAINS", built))
    add(toolkit, (toolkit["SPDXID"], "BUILD_TOOL_OF", built))
    add(sources, (built, "GENERATED_FROM", sources["SPDXID"]))
    if recipe.certificate:
        made = _certificate(recipe)
        add(made, (IMAGE, "CONTAINS", made["SPDXID"]), (made["SPDXID"], "METAFILE_OF", built))
    tool = f"kmatrix-{contents.version}"
    content = document(name, digest, contents.created, tool, elements, relationships)
    return Statement(SPDX, name, digest, content)


def _image(ref: ImageRef) -> Element:
    sha256 = ref.digest.removeprefix("sha256:")
    spdx_id = element_id("Image", ref.path.rpartition("/")[2], ref.pinned)
    return element(spdx_id, ref.repository, purl=image_purl(ref), sha256=sha256, purpose="CONTAINER")


def _installed(package: InstalledPackage, distribution: Distribution) -> Element:
    locator = package_purl(package, distribution)
    # Of a distribution's packages it is the supplier, whoever maintains one; an RPM names its vendor itself.
    supplier = package.vendor or distribution.name
    version = f"{package.epoch}:{package.version}" if package.epoch else package.version
    return element(
        element_id(package.kind, package.name, version, package.arch, locator),
        package.name,
        version,
        purl=locator,
        supplier=f"Organization: {supplier}" if supplier else "",
    )


def _client(file: PackageFile, recipe: Recipe, facts: BuildFacts) -> Element:
    package = package_of(file.pin)
    version = f"{package.epoch}:{package.version}" if package.epoch else package.version
    root = facts.packages_root
    return element(
        element_id("client", package.name, version, package.arch, file.pin.sha256),
        package.name,
        version,
        purl=package_purl(package),
        sha256=file.pin.sha256,
        location=redacted(f"{root}/{recipe.repository}/{file.pin.location}") if root else "",
        purpose="INSTALL",
        packageFileName=file.file,
        comment=f"signed with the key {recipe.key.fingerprint}",
    )


def _program(contents: CellContents) -> Element:
    source = contents.facts.source
    return element(
        PROGRAM_ID,
        "kmatrix",
        contents.version,
        purl=purl("generic", ("kmatrix",), contents.version),
        location=source.uri,
        purpose="APPLICATION",
        sourceInfo=f"revision {source.revision}" if source.revision else "",
        comment="the image's entry point and the files that it runs",
    )


def _module(contents: CellContents) -> Element:
    cell, module = contents.recipe.cell, contents.module
    return element(
        element_id("Module", cell.kernel, module.sha256),
        MODULE_NAME,
        module.version,
        purl=purl("generic", (MODULE_NAME,), module.version, {"kernel": cell.kernel, "arch": cell.arch}),
        sha256=module.sha256,
        purpose="FILE",
        packageFileName=module_path(cell.kernel),
        sourceInfo=f"srcversion {module.srcversion}",
        licenseComments=f"its modinfo has the license {module.licence!r}" if module.licence else "",
        comment=f"kernel module for {cell.kernel}",
    )


def _certificate(recipe: Recipe) -> Element:
    sha256 = hashlib.sha256(recipe.certificate).hexdigest()
    return element(
        element_id("Certificate", sha256),
        "certificate of the module's signature",
        sha256=sha256,
        purpose="FILE",
        packageFileName=certificate_path(recipe.cell.kernel),
    )
