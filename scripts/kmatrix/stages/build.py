"""Builds the image of a cell: the base's packages, the stages that its kernels share, the cell itself."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

from kmatrix.decide.build_log import cannot_start, causes, is_the_products_fault
from kmatrix.effects.disk.files import cannot_read
from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.engine.errors import StepFailedError, foreign_program
from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.stages.held_images import hold_image
from kmatrix.stages.patience import patiently
from kmatrix.stages.run_context import CellContext, Options, RunContext
from kmatrix.values import labels
from kmatrix.values.errors import BuildError, KmatrixError, ToolError
from kmatrix.values.recipe import KEY_FILE, MODULE_STAGE, PACKAGES_FOLDER, Recipe

_WORLD = "Fix the reported problem (the cell's log has the complete output), then run the command again."


def build_context(run: RunContext, recipe: Recipe) -> bytes:
    """Return the archive the engine gets: Dockerfile, our scripts, key and packages, each checked against its pin.

    Raises:
        UnreachableError: the package root cannot be reached.
        ProtocolError, InputError: a file is missing, or differs from its pin.
    """
    cache = run.options.root / "build" / "packages"
    root = PackageRoot(run.options.profile.packages, run.options.root)
    files = dict(recipe.files)

    def brought(location: str, sha256: str) -> bytes:
        target = cache / sha256
        root.fetch(f"{recipe.repository}/{location}", sha256, target)
        try:
            return target.read_bytes()
        except OSError as error:
            raise cannot_read(target, "package", error) from error

    wanted = {KEY_FILE: (recipe.key.location, recipe.key.sha256)}
    for package in recipe.packages:
        wanted[f"{PACKAGES_FOLDER}/{package.file}"] = (package.pin.location, package.pin.sha256)
    for name, (location, sha256) in wanted.items():
        files[name] = run.package_files.get(sha256, partial(brought, location, sha256))
    return pack_context(recipe.dockerfile, files)


def build_group(cell: CellContext, context: bytes) -> str:
    """Build the stages below the compile, once for all kernels: packages are verified and unpacked here."""
    return _judged(cell, context, target="userland", name=f"group-{_word(cell.recipe.group)}")


def build_base(cell: CellContext, context: bytes) -> str:
    """Install the packages that the base lacks, once for all cells of an architecture, and return that image.

    A package manager writes different bytes each time, and nodes would pull all of them again with every new kernel: so
    the layer of a published cell is reused, if there is one.
    """
    run, published = cell.run, cell.run.published.get(cell.recipe.cell.arch)
    # Of all stages this alone needs a network.
    build = partial(_install, cell, context, no_cache=bool(run.options.rebuild))
    if published is None:
        return build()
    try:
        # Not as `pull` does, once for the run: it is given up below, and another attempt needs it again.
        hold_image(run, published)
    except KmatrixError as error:
        if run.engine.stopping:
            raise
        cell.line(f"kmatrix: the base's packages are installed again: {error.message}")
        return build()
    try:
        return build(cache_from=[published.pinned])
    finally:
        run.engine.let_go(published.pinned)


def _install(cell: CellContext, context: bytes, **options: Any) -> str:
    name = f"base-{cell.recipe.cell.arch}"
    try:
        return _logged(cell, context, target="base", network="default", name=name, **options)
    except StepFailedError as error:
        _raise_if_foreign(cell, error)
        # A package manager's refusal and a network that is out have the same exit code.
        raise ToolError(
            f"the base's packages could not be installed: {'; '.join(causes(error.step.output)) or error.message}",
            "If its package repositories were unreachable, run the command again; else see base_packages and base "
            "in matrix.yaml.",
        ) from error


def build_module(cell: CellContext, context: bytes) -> str:
    """Build a cell's image up to the compiled module, which is signed before the rest is built; return the id.

    Raises:
        BuildError: the product is bad.
        UnreachableError, ToolError: anything else kept it from being built.
    """
    arguments, name = _arguments(cell.run.options), f"{cell.recipe.cell.tag}-{MODULE_STAGE}"
    return _judged(cell, context, buildargs=arguments, name=name, target=MODULE_STAGE)


def build_cell(cell: CellContext, context: bytes) -> str:
    """Build a cell's image and return its id.

    Args:
        cell: the cell.
        context: as `build_context` returns it; that of a signed module as `signed_context` does.

    Raises:
        BuildError: the product is bad.
        UnreachableError, ToolError: anything else kept it from being built.
    """
    options, recipe = cell.run.options, cell.recipe
    image_labels = {
        **labels.cell_labels(recipe.cell, recipe.cell_key),
        labels.TITLE: f"BeeGFS client {recipe.cell.client} for kernel {recipe.cell.kernel}",
        labels.REVISION: options.revision,
        labels.SOURCE: options.source,
    }
    if recipe.certificate:
        image_labels |= labels.certificate_label(recipe.certificate)
    return _judged(cell, context, buildargs=_arguments(options), labels=image_labels, name=recipe.cell.tag)


def _arguments(options: Options) -> dict[str, str]:
    arguments = {"MAKE_JOBS": str(options.make_jobs)}
    return {**arguments, "REBUILD": options.rebuild} if options.rebuild else arguments


def _judged(cell: CellContext, context: bytes, **options: Any) -> str:
    """Build, and tell the product's faults from those of the machine and of services.

    Raises:
        BuildError: the product is bad.
        UnreachableError, ToolError: anything else.
    """
    try:
        return _logged(cell, context, **options)
    except StepFailedError as error:
        _raise_if_foreign(cell, error)
        found = causes(error.step.output)
        if is_the_products_fault(error.step):
            raise BuildError(error.message, found) from error
        raise ToolError(
            f"a step of the build failed, through no fault of the product: {'; '.join(found)}", _WORLD
        ) from error


def _raise_if_foreign(cell: CellContext, error: StepFailedError) -> None:
    """Raise the error with its next step if the engine's machine runs no programs of the cell's architecture.

    Raises:
        ToolError: it does not.
    """
    if cannot_start(error.step.output):
        raise foreign_program(cell.recipe.cell.arch, "; ".join(causes(error.step.output))) from error


def _logged(cell: CellContext, context: bytes, *, name: str, **options: Any) -> str:
    """Build, with every line in the cell's log.

    Args:
        cell: the cell.
        context: the archive.
        name: the image gets it as a name of this run's own, so that no other run's clean-up removes the image.
        options: of `Engine.build`.

    Raises:
        StepFailedError: a program of a step ended with an exit code of its own.
        UnreachableError, ToolError: anything else.
    """
    engine = cell.run.engine
    options = {"network": "none", "tag": engine.own_name(name), **options}
    return patiently(lambda: engine.build(context, on_line=cell.line, **options), engine)


def _word(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
