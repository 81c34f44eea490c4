"""prune: read what a target has, decide which images it may lose, and delete those."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kmatrix.decide.needed_images import needs_of
from kmatrix.decide.prunable_kernels import KernelAges
from kmatrix.decide.prune import Pruning, Removal, decide_removals, with_referrers
from kmatrix.decide.repository import GATES, Image, Repository, subject_of
from kmatrix.effects.registry.client import labels_of
from kmatrix.effects.registry.manifests import RawManifest, is_list, manifest_of
from kmatrix.effects.registry.remover import RegistryRemover
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.gate_records import find_record
from kmatrix.stages.kernel_tag import kernel_repository
from kmatrix.stages.publish import IMAGE
from kmatrix.values.errors import NotReadableError, ProtocolError
from kmatrix.values.names import ImageRef

SCHEMA = 1
_CONFIGS = ("application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
Say = Callable[[str], None]


def decide_pruning(
    remover: RegistryRemover,
    target: str,
    clients: Iterable[str],
    ages: KernelAges,
    named: Mapping[str, str],
    say: Say,
    by_kernel: bool = True,
) -> tuple[Pruning, ...]:
    """Read the repositories of a target, and decide what each may lose, in the order of deletion.

    Nothing is decided before everything was read: what could not be read might need any image.

    Args:
        remover: reads the registry.
        target: HOST/PATH of the repositories.
        clients: clients that may have a repository of images by kernel; those of cells there are added.
        ages: which kernels' images may be removed.
        named: digests that must stay, each with the reason.
        say: is given lines of progress.
        by_kernel: whether the profile asks for images by kernel; if so, a repository of them that cannot be read is
            named.

    Raises:
        UnreachableError, CredentialError, ProtocolError: something could not be read.
    """
    main = read_repository(remover, ImageRef.parse(f"{target}/{IMAGE}"), say)
    there = {image.cell[0] for image in main.images.values() if image.cell}
    repositories = []
    for client in sorted({*clients, *there}):
        try:
            repositories.append(read_repository(remover, kernel_repository(target, client), say, client))
        except NotReadableError as error:
            # Some registries answer so for one that is not there. No other decision depends on it.
            if by_kernel:
                say(f"note: {error.message}; images by kernel of client {client} stay")
    needs = needs_of(main, named)
    found = []
    # Images by kernel come first: their cells are known as long as the cells' own repository has them.
    for repository in (*repositories, main):
        pruning = decide_removals(repository, ages, needs)
        subjects = [each.digest for each in pruning.removals if each.kind != "record"]
        subjects += sorted(repository.orphans)
        ref = ImageRef.parse(repository.name)
        answers = map_threads(remover.referrers, [ref.with_digest(digest) for digest in subjects])
        found.append(with_referrers(pruning, repository, dict(zip(subjects, answers, strict=True))))
    return tuple(found)


def read_repository(remover: RegistryRemover, ref: ImageRef, say: Say, client: str = "") -> Repository:
    """Read all tags of a repository, with the labels, layers and lists behind them.

    Args:
        remover: reads the registry.
        ref: the repository.
        say: is given a line that names a record which is not believed.
        client: whose images it has by kernel; empty for the repository of cells and bundles.

    Raises:
        UnreachableError, CredentialError, ProtocolError: it could not be read completely.
    """
    tags = remover.tags(ref)
    answers = map_threads(lambda tag: remover.raw_manifest(ref.with_tag(tag)), tags)
    named = dict(zip(tags, answers, strict=True))
    digests = {tag: raw.digest if raw else "" for tag, raw in named.items()}
    raws = {raw.digest: raw for raw in named.values() if raw}
    lists = {digest: _listed(ref, raw) for digest, raw in raws.items() if is_list(raw)}
    examined = {digests[tag] for tag in tags if not subject_of(tag)} - {""}
    children = {child for digest in examined for child in lists.get(digest, ())}
    # An image that another one replaced under its tag is still there, with what is attached to it.
    subjects = {subject_of(tag) for tag in tags} - {""}
    missing = sorted((children | subjects) - raws.keys())
    found = map_threads(lambda digest: remover.raw_manifest(ref.with_digest(digest)), missing)
    raws |= {raw.digest: raw for raw in found if raw}
    lists |= {digest: _listed(ref, raws[digest]) for digest in missing if digest in raws and is_list(raws[digest])}
    single = sorted((examined | children | subjects) & raws.keys() - lists.keys())
    images = map_threads(lambda digest: _image(remover, ref, raws[digest]), single)
    # Documents may have signatures of their own.
    known = {image.digest: image for image in images if image.labels or image.digest in examined | children}
    recorded = {subject_of(tag) for tag in tags if tag.endswith(GATES)} - {""}
    lost = sorted(recorded - set(digests.values()) - children)
    records = map_threads(lambda digest: find_record(remover, ref, digest, say), lost)
    return Repository(
        ref.repository,
        digests,
        lists,
        known,
        {digest: record.name for digest, record in zip(lost, records, strict=True) if record},
        client,
        frozenset(subjects - raws.keys()),
    )


def remove(remover: RegistryRemover, removals: Iterable[Removal], done: Callable[[Removal], None]) -> None:
    """Delete digests, one after the other; `done` is called after each.

    Raises:
        UnreachableError, CredentialError, ToolError, ProtocolError: the registry refuses; the rest stays.
    """
    for removal in removals:
        remover.delete(ImageRef.parse(removal.repository).with_digest(removal.digest))
        done(removal)


def pruning_json(prunings: Iterable[Pruning], facts: Mapping[str, Any], removed: Iterable[Removal]) -> dict[str, Any]:
    """Return the decisions as JSON-able data, in order.

    Args:
        prunings: of every repository.
        facts: further members.
        removed: those that were deleted.
    """
    prunings, removed = tuple(prunings), frozenset(removed)
    return {
        "schema": SCHEMA,
        **facts,
        "removals": [
            {**vars(each), "tags": list(each.tags), "removed": each in removed}
            for pruning in prunings
            for each in pruning.removals
        ],
        "stays": [dict(vars(each)) for pruning in prunings for each in pruning.stays],
    }


def _listed(ref: ImageRef, raw: RawManifest) -> tuple[str, ...]:
    try:
        return tuple(ref.with_digest(str(entry["digest"])).digest for entry in raw.parsed["manifests"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(
            f"{ref.repository}@{raw.digest}: not a list of manifests ({error!r} is missing or wrong)",
            "Check which artifact was pushed there. Nothing was removed.",
        ) from error


def _image(remover: RegistryRemover, ref: ImageRef, raw: RawManifest) -> Image:
    """Return an image; one that no container engine runs has no labels."""
    described = raw.parsed.get("config")
    kind = described.get("mediaType") if isinstance(described, dict) else None
    if kind not in _CONFIGS or "layers" not in raw.parsed:
        return Image(raw.digest)
    manifest = manifest_of(ref.with_digest(raw.digest), raw)
    config = remover.config(manifest)
    history = config.get("history")
    entries = history if isinstance(history, list) else []
    made = [str(each.get("created_by", "")) for each in entries if isinstance(each, dict)]
    origins = tuple(digest for text in made for digest in _DIGEST.findall(text))
    texts = {str(name): str(value) for name, value in labels_of(config).items()}
    return Image(raw.digest, texts, tuple(digest for digest, _, _ in manifest.layers), origins)
