"""The statements about a published image beside the result of its gates: how it was built, and what is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmatrix.decide.builders import builder_of
from kmatrix.decide.bundle import Composed, Wanted
from kmatrix.decide.bundle_sbom import BundlePart, bundle_sbom
from kmatrix.decide.formats.elf import MalformedElfError
from kmatrix.decide.module_file import module_file
from kmatrix.decide.provenance import bundle_provenance, cell_provenance
from kmatrix.decide.render import TEMPLATE
from kmatrix.decide.sbom import CellContents, sbom
from kmatrix.effects.clock import utc_now
from kmatrix.effects.disk.files import file_digest
from kmatrix.effects.engine.inspect import read_cell_image
from kmatrix.effects.engine.installed_packages import read_installed
from kmatrix.effects.installed_version import installed_version
from kmatrix.effects.registry.client import labels_of
from kmatrix.stages.patience import patiently
from kmatrix.stages.run_context import CellContext, RunContext
from kmatrix.values import labels
from kmatrix.values.attestation import Statement
from kmatrix.values.build_facts import BuildFacts, RunFacts, Source
from kmatrix.values.errors import ToolError
from kmatrix.values.installed import Installed
from kmatrix.values.module import ModuleFile
from kmatrix.values.names import ImageRef

_AGAIN = "Something else removes images of this registry or engine: end it, and run the same command again."


def cell_statements(cell: CellContext, ref: ImageRef, digest: str) -> tuple[Statement, ...]:
    """Return the provenance and the bill of materials of a cell's image.

    Args:
        cell: the cell, whose image the container engine has.
        ref: a name in the image's repository.
        digest: of the image, which the registry has by now.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry did not answer for the image.
        ToolError: the container engine cannot read the image.
        InputError: a file of the checkout cannot be read.
        InterruptedRunError: the run was told to stop.
    """
    run, recipe = cell.run, cell.recipe
    pinned = ref.with_tag("").with_digest(digest)
    manifest = run.registry.manifest(pinned, recipe.cell.arch)
    if manifest is None:
        raise ToolError(f"{pinned}: the registry reports that there is no such image, though it was just put", _AGAIN)
    config = run.registry.config(manifest)
    base = run.options.profile.base.with_digest(recipe.base.digest)
    facts = _facts(cell, labels_of(config))
    created, installed = str(config.get("created", "")), _installed(cell, config)
    contents = CellContents(recipe, base, created, installed, _module(cell), facts, installed_version())
    builder = builder_of(os.environ, run.engine.run_id)
    return (
        cell_provenance(ref.repository, digest, recipe, base, facts, builder),
        sbom(ref.repository, digest, contents),
    )


def bundle_statements(
    run: RunContext,
    wanted: Wanted,
    bundles: Sequence[Composed],
    ref: ImageRef,
    digest: str,
    began: str,
    sbom_of: Callable[[str], Mapping[str, Any] | None],
) -> tuple[Statement, ...]:
    """Return the provenance and the bill of materials of a bundle.

    Args:
        run: that composed it.
        wanted: the planned bundle.
        bundles: the one of an architecture that `digest` is about, or all that its list names.
        ref: a name in the bundle's repository.
        digest: of the manifest, or of the list.
        began: when the run began with it (UTC, ISO 8601).
        sbom_of: returns the predicate of the bill of materials of a cell's image by its digest, if there is one that
            can be believed.
    """
    images = [image for bundle in bundles for image in wanted.of(bundle.arch)]
    found = {image.digest: sbom_of(image.digest) for image in images}
    sboms = {each: content for each, content in found.items() if content is not None}
    parts = [BundlePart(bundle, wanted.of(bundle.arch), sboms) for bundle in bundles]
    source = Source(run.options.source, run.options.revision)
    facts = BuildFacts(
        run.options.profile_name, source, versions=_run_facts(run).versions, started=began, finished=utc_now()
    )
    client, tool = str(wanted.client), f"kmatrix-{installed_version()}"
    builder = builder_of(os.environ, run.engine.run_id)
    return (
        bundle_provenance(ref.repository, digest, client, images, facts, builder),
        bundle_sbom(ref.repository, digest, client, parts, tool),
    )


def _facts(cell: CellContext, of_image: Mapping[str, str]) -> BuildFacts:
    run = cell.run
    of_run, root = _run_facts(run), run.options.profile.packages
    # The image says which revision it was built from; an earlier run may have been at another one.
    return BuildFacts(
        profile=run.options.profile_name,
        source=Source(of_image.get(labels.SOURCE, ""), of_image.get(labels.REVISION, "")),
        files=of_run.files if cell.built else {},
        packages_root=root if "://" in root else "",
        versions=of_run.versions,
        started=cell.built[0] if cell.built else "",
        finished=cell.built[1] if cell.built else "",
    )


def _run_facts(run: RunContext) -> RunFacts:
    def read() -> RunFacts:
        paths = ("matrix.yaml", run.options.profile.lock, TEMPLATE)
        files = {path: file_digest(run.options.root / path).removeprefix("sha256:") for path in paths}
        engine = run.engine.in_use()
        return RunFacts(files, {"kmatrix": installed_version(), engine.name: engine.version})

    return run.facts.get("", read)


def _installed(cell: CellContext, config: Mapping[str, Any]) -> Installed:
    """Return the packages of the cell's image, read once for all images with the same layers below the module.

    Read from the image itself, not from its base, as a package manager may install other versions on another day.
    """
    run = cell.run
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    below = "\n".join(map(str, diff_ids[:-1])) if isinstance(diff_ids, list) else ""
    return run.installed.get(
        below or cell.recipe.cell.id, lambda: patiently(lambda: read_installed(run.engine, cell.image_id), run.engine)
    )


def _module(cell: CellContext) -> ModuleFile:
    if cell.module_file is not None:
        return cell.module_file
    engine, kernel = cell.run.engine, cell.recipe.cell.kernel
    facts = patiently(lambda: read_cell_image(engine, cell.image_id, kernel), engine)
    try:
        return module_file(facts.ko or b"")
    except MalformedElfError as error:
        raise ToolError(
            f"the module in {cell.image_id} cannot be read: {error.message}",
            f"Run {cell.run.options.next('build', '--force', '--only', cell.recipe.cell.id)}.",
        ) from error
