"""Queries the registry which cells of a plan need no build: published, from their present inputs, all gates passed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.gate_records import Records
from kmatrix.stages.kernel_tag import kernel_image_of
from kmatrix.stages.progress import Progress, counting
from kmatrix.stages.publish import image_of
from kmatrix.stages.published import is_of_recipe, lacking_in
from kmatrix.values.errors import ProtocolError
from kmatrix.values.gate_record import RecordedImage
from kmatrix.values.recipe import Recipe


def complete_cells(
    registry: RegistryWriter,
    records: Records,
    target: str,
    recipes: Iterable[Recipe],
    gates: Sequence[str],
    kernel_tags: bool,
    progress: Progress,
) -> dict[str, RecordedImage]:
    """Return the published images, by cell id, that were built from their recipe and have passed every gate.

    No container engine is needed. A cell about which the registry answers something malformed is not among them: the
    job that gets it queries again, and reports it.

    Args:
        registry: has the images.
        records: those of the images' gates.
        target: registry and path.
        recipes: of the cells.
        gates: the names of the gates that an image must have passed.
        kernel_tags: whether an image must have its kernel tag too; `build` writes it.
        progress: is given a line for each answer that is not believed.

    Raises:
        UnreachableError, CredentialError: the registry cannot be queried. That is no absence.
    """

    def complete(recipe: Recipe) -> RecordedImage | None:
        try:
            ref = image_of(target, recipe.cell)
            manifest = registry.manifest(ref, recipe.cell.arch)
            record = records.find(ref, manifest.digest) if manifest else None
            if manifest is None or record is None or not is_of_recipe(record, recipe):
                return None
            if lacking_in(record, recipe.cell.id, gates):
                return None
            if kernel_tags and registry.digest_of(kernel_image_of(target, recipe.cell)) != manifest.digest:
                return None
        except ProtocolError as error:
            progress.warn(f"{recipe.cell.id}: whether it is published is not known: {error.message}")
            return None
        return RecordedImage(ref.with_digest(manifest.digest), record)

    recipes = tuple(recipes)
    with counting(progress, "query the registry: cells", len(recipes)) as counted:
        answers = map_threads(counted(complete), recipes)
    return {recipe.cell.id: image for recipe, image in zip(recipes, answers, strict=True) if image}
