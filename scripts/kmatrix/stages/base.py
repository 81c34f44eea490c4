"""The base of a cell for the cell's architecture, which need not be that of the machine that builds it."""

from __future__ import annotations

import platform

from kmatrix.effects.engine.build_context import context_on
from kmatrix.stages.held_images import pull
from kmatrix.stages.run_context import RunContext
from kmatrix.values.errors import ToolError
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe


def pull_base(run: RunContext, recipe: Recipe, context: bytes) -> bytes:
    """Pull the base of a cell, and return the context with a base of the cell's architecture.

    Of a manifest list the engine takes the image of its own architecture. For a cell of another one, which this machine
    emulates, the list's image for that is named by its own digest; the Dockerfile that people see keeps the list's.

    Raises:
        UnreachableError, CredentialError, ProtocolError, ToolError: the base cannot be had.
    """
    if recipe.cell.arch == platform.machine():
        pull(run, recipe.base)
        return context
    base = run.foreign_bases.get(recipe.cell.arch, lambda: _of_arch(run, recipe))
    pull(run, base)
    return context if base.digest == recipe.base.digest else context_on(context, base.pinned)


def _of_arch(run: RunContext, recipe: Recipe) -> ImageRef:
    found = run.registry.manifest(recipe.base, recipe.cell.arch)
    if found is None:
        raise ToolError(
            f"the registry has no {recipe.base.pinned}",
            f"Run {run.options.next('discover')}, which pins the base again.",
        )
    return recipe.base.with_digest(found.digest)
