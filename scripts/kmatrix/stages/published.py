"""Queries the registry about the published images of cells, and about the gates that they have passed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from kmatrix.decide.bundle import CellImage, PublishedCells
from kmatrix.decide.image_documents import Document, Layer
from kmatrix.decide.reuse import abi_of
from kmatrix.effects.registry.client import labels_of
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.gates import gates_of_profile, named, not_passed
from kmatrix.stages.progress import counting
from kmatrix.stages.publish import image_of, note_layers
from kmatrix.stages.reuse import note_record
from kmatrix.stages.run_context import RunContext
from kmatrix.values import labels
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.engine import EngineImage
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.gate_record import GateRecord, RecordedImage, RecordedModule
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe


@dataclass(frozen=True)
class PublishedImage:
    """The image that a cell's tag names.

    `ref` has tag and digest; `labels` are the image's own; `record` is this project's record for exactly that digest,
    where the registry has one.
    """

    ref: ImageRef
    labels: Mapping[str, str]
    record: GateRecord | None

    @property
    def labelled_key(self) -> str:
        """The cell key that the image itself claims, which anybody who may push can copy."""
        return self.labels.get(labels.CELL_KEY, "")


def published_image(run: RunContext, recipe: Recipe) -> PublishedImage | None:
    """Return the image that a cell's tag names, or None where the registry reports that there is no such tag.

    The module in its record is noted in `run.recorded_modules`.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried.
    """
    ref = image_of(run.options.target, recipe.cell)
    manifest = run.registry.manifest(ref, recipe.cell.arch)
    if manifest is None:
        note_record(run, recipe.cell, None)
        return None
    config = run.registry.config(manifest)
    note_layers(run, manifest, config)
    record = run.records.find(ref, manifest.digest)
    note_record(run, recipe.cell, record)
    return PublishedImage(ref.with_digest(manifest.digest), labels_of(config), record)


def recorded_image(run: RunContext, recipe: Recipe) -> RecordedImage | None:
    """Return a cell's published image if this project's record shows that it was built from the recipe, else None.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried.
    """
    found = published_image(run, recipe)
    if found is None or found.record is None or not is_of_recipe(found.record, recipe):
        return None
    return RecordedImage(found.ref, found.record, found.labels)


def published_cells(run: RunContext, recipes: Iterable[Recipe]) -> PublishedCells:
    """Query the registry which cells are published, and which of them passed every gate.

    Raises:
        UnreachableError, CredentialError: the registry cannot answer.
    """
    recipes = tuple(recipes)
    with counting(run.progress, "query the registry: cells", len(recipes)) as counted:
        answers = map_threads(counted(partial(_published_cell, run)), recipes)
    found = dict(zip((recipe.cell.id for recipe in recipes), answers, strict=True))
    return PublishedCells(
        [answer for answer in found.values() if isinstance(answer, CellImage)],
        {cell: answer.message for cell, answer in found.items() if isinstance(answer, ProtocolError)},
        {cell: answer for cell, answer in found.items() if isinstance(answer, str)},
    )


def _published_cell(run: RunContext, recipe: Recipe) -> CellImage | ProtocolError | str | None:
    """Return the published image of a cell if the record of exactly that image shows that it passed every gate.

    Returns:
        None if the cell is not published; the missing part of the record, with the next step; or an error, not raised,
        for an answer of the registry that does not show which image is published.
    """
    cell, registry = recipe.cell, run.registry
    try:
        ref = image_of(run.options.target, cell)
        manifest = registry.manifest(ref, cell.arch)
        if manifest is None:
            return None
        record = run.records.find(ref, manifest.digest)
        lacking = lacking_in(record, cell.id, gates_of_profile(run.options.profile))
        if record is None or lacking:
            only_gates = record is not None and is_of_recipe(record, recipe)
            again = "runs the missing gates" if only_gates else "builds it again"
            return f"its published image {lacking}; {build_command(run, recipe)} {again}"
        layers = tuple(Layer(*layer) for layer in manifest.layers)
        document = Document(manifest.media_type, manifest.content)
        current = record.cell_key == recipe.cell_key
        return CellImage(cell, document, layers, registry.config(manifest), current)
    except ProtocolError as error:
        run.progress.warn(f"{cell.id}: its image cannot be read: {error.message}")
        return error


def lacking_in(record: GateRecord | None, cell: str, wanted: Iterable[str]) -> str:
    """Return why a record does not show that a cell's image passed every gate; empty if it does.

    Args:
        record: for the image, or None if it has none that is believed.
        cell: the cell's id.
        wanted: the names of the gates.
    """
    if record is None:
        return "has no record of passed gates that this project wrote for it"
    if record.name != cell:
        return f"has the record of {record.name!r:.80} instead of its own"
    missing = not_passed(dict.fromkeys(record.gates, "passed"), wanted)
    return f"has not passed {named(missing)}" if missing else ""


def is_of_recipe(record: GateRecord, recipe: Recipe) -> bool:
    """Whether a record is about an image of this cell, built from the recipe's inputs."""
    return (record.name, record.cell_key) == (recipe.cell.id, recipe.cell_key)


def with_published(result: CellResult, published: RecordedImage) -> CellResult:
    """Add to a result the published image, and what its record has and this run did not find out."""
    gates: dict[str, Verdict] = dict.fromkeys(published.record.gates, "passed")
    times = {name: passed.at for name, passed in published.record.gates.items()}
    return replace(
        with_module(result, published.record.module),
        labels=result.labels or labels.reported_labels(published.labels),
        image=str(published.ref.with_tag(published.ref.tag)),
        digest=published.ref.digest,
        gates={**gates, **result.gates},
        gates_at={**times, **result.gates_at},
    )


def with_module(result: CellResult, module: RecordedModule | None) -> CellResult:
    """Add to a result the facts about the cell's module that it does not have yet."""
    if module is None:
        return result
    features = module.features if result.features is None else result.features
    symbols = len(module.needs) if result.symbols is None else result.symbols
    namespaces = module.namespaces if result.namespaces is None else result.namespaces
    depends = module.depends if result.depends is None else result.depends
    result = replace(result, symbols=symbols, namespaces=namespaces, depends=depends)
    return replace(result, features=features, abi=result.abi or abi_of(module))


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
