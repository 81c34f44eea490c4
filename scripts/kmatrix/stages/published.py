"""Queries the registry about a cell's published image, and about the gates that it has passed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kmatrix.effects.registry.client import labels_of
from kmatrix.stages.gate_records import find_record
from kmatrix.stages.publish import image_of, note_layers
from kmatrix.stages.run_context import RunContext
from kmatrix.values import labels
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.engine import EngineImage
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import GateRecord, RecordedImage
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe


@dataclass(frozen=True)
class PublishedImage:
    """The image that a cell's tag names.

    `ref` has tag and digest; `labelled_key` is the cell key that the image itself claims, which anybody who may push
    can copy; `record` is this project's record for exactly that digest, where the registry has one.
    """

    ref: ImageRef
    labelled_key: str
    record: GateRecord | None


def published_image(run: RunContext, recipe: Recipe) -> PublishedImage | None:
    """Return the image that a cell's tag names, or None where the registry says that there is no such tag.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried.
    """
    ref = image_of(run.options.target, recipe.cell)
    manifest = run.registry.manifest(ref, recipe.cell.arch)
    if manifest is None:
        return None
    config = run.registry.config(manifest)
    note_layers(run, manifest, config)
    record = find_record(run.registry, ref, manifest.digest, run.progress.say)
    return PublishedImage(ref.with_digest(manifest.digest), labels_of(config).get(labels.CELL_KEY, ""), record)


def recorded_image(run: RunContext, recipe: Recipe) -> RecordedImage | None:
    """Return a cell's published image if this project's record says that it was built from the recipe, else None.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried.
    """
    found = published_image(run, recipe)
    if found is None or found.record is None or not is_of_recipe(found.record, recipe):
        return None
    return RecordedImage(found.ref, found.record)


def is_of_recipe(record: GateRecord, recipe: Recipe) -> bool:
    """Whether a record is about an image of this cell, built from the recipe's inputs."""
    return (record.name, record.cell_key) == (recipe.cell.id, recipe.cell_key)


def with_published(result: CellResult, published: RecordedImage) -> CellResult:
    """Add to a result the published image, and the gates that its record has and this run did not run."""
    gates: dict[str, Verdict] = dict.fromkeys(published.record.gates, "passed")
    times = {name: passed.at for name, passed in published.record.gates.items()}
    return replace(
        result,
        image=str(published.ref.with_tag(published.ref.tag)),
        digest=published.ref.digest,
        gates={**gates, **result.gates},
        gates_at={**times, **result.gates_at},
    )


def id_in_engine(run: RunContext, image: ImageRef) -> str:
    """Return the container engine's id of an image that it pulled.

    Raises:
        ToolError: it does not have the image any more.
    """
    found = run.engine.image(image.pinned)
    if found is None:
        raise ToolError(
            f"the container engine pulled {image.pinned} and does not have it",
            "Something else removes images; run the command again.",
        )
    return found.id


def key_in_engine(image: EngineImage) -> str:
    """Return the cell key that an image of the container engine claims, or an empty text."""
    return image.labels.get(labels.CELL_KEY, "")


def build_command(run: RunContext, recipe: Recipe) -> str:
    """Return the command that builds a cell."""
    return run.options.next("build", "--only", recipe.cell.id)
