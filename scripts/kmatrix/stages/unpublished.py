"""Queries the registry which cells of a plan need no build: published, from their present inputs, all gates passed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kmatrix.effects.registry.client import Registry
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.gate_records import find_record
from kmatrix.stages.publish import image_of
from kmatrix.stages.published import is_of_recipe, lacking_in
from kmatrix.values.errors import ProtocolError
from kmatrix.values.recipe import Recipe


def complete_cells(
    registry: Registry, target: str, recipes: Iterable[Recipe], say: Callable[[str], None]
) -> frozenset[str]:
    """Return the ids of the cells whose published image was built from their recipe and has passed every gate.

    No container engine is needed. A cell about which the registry answers something malformed is not among them: the
    job that gets it queries again, and reports it.

    Args:
        registry: has the images.
        target: registry and path.
        recipes: of the cells.
        say: is given a line for each record or answer that is not believed.

    Raises:
        UnreachableError, CredentialError: the registry cannot be queried. That is no absence.
    """

    def is_complete(recipe: Recipe) -> bool:
        try:
            ref = image_of(target, recipe.cell)
            manifest = registry.manifest(ref, recipe.cell.arch)
            record = find_record(registry, ref, manifest.digest, say) if manifest else None
        except ProtocolError as error:
            say(f"{recipe.cell.id}: whether it is published is not known: {error.message}")
            return False
        return record is not None and is_of_recipe(record, recipe) and not lacking_in(record, recipe.cell.id)

    recipes = tuple(recipes)
    answers = map_threads(is_complete, recipes)
    return frozenset(recipe.cell.id for recipe, complete in zip(recipes, answers, strict=True) if complete)
