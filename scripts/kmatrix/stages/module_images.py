"""The module images of a bundle in the registry: the image that each tag names, and the images to put instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from kmatrix.decide.bundle import Wanted
from kmatrix.decide.image_documents import Document, list_of
from kmatrix.decide.module_images import Holding, ModuleImage, may_stay, module_images
from kmatrix.effects.registry.client import Named
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages.bundle_kept import put_restored
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.gate_records import OTHER_WRITER, Records
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.image_signing import complete_signatures, instances, sign_before_name
from kmatrix.stages.published import lacking_in
from kmatrix.stages.run_context import RunContext, raise_if_stopping
from kmatrix.values import labels
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import Finding
from kmatrix.values.errors import KmatrixError, ProtocolError
from kmatrix.values.names import Arch, ImageRef


@dataclass(frozen=True)
class Chosen:
    """A module image and its name in the registry; `digest` is the one that is there and stays, or the new one's."""

    image: ModuleImage
    ref: ImageRef
    digest: str

    @property
    def stays(self) -> bool:
        """Whether the tag keeps an image other than the one that would be composed now, and as good."""
        return self.digest != self.image.manifest.digest


# All images that the tags will name, and those of them that are not in the registry yet.
Choice = tuple[tuple[Chosen, ...], tuple[Chosen, ...]]


def choose_modules(run: RunContext, wanted: Wanted, ref: ImageRef) -> Choice | Finding:
    """Choose the module images of a bundle, or return a finding; the bundle is published all the same.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    try:
        gates = gates_of_profile(run.options.profile)
        return choose_module_images(run.registry, run.records, ref, module_images(wanted), gates)
    except KmatrixError as error:
        return Finding("module-images", "module-image-unknown", _message(run, error))


def put_modules(run: RunContext, wanted: Wanted, choice: Choice | Finding) -> dict[str, str] | Finding:
    """Put the module images that are new under their tags, and return the image of every kernel, by digest.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    if isinstance(choice, Finding):
        return choice
    chosen, new = choice
    try:
        if new:
            put_restored(run.registry, new[0].ref, wanted)
        put_module_images(run, new)
        for each in chosen:
            if each not in new:
                complete_signatures(run, each.ref, each.digest, partial(_listed, run, each))
    except KmatrixError as error:
        return Finding("module-images", "module-image-not-put", _message(run, error))
    kept = sum(each.stays for each in chosen)
    run.progress.say(
        f"{wanted.client}: for Kernel Module Management: {len(chosen)} images, {len(new)} of them new"
        + (f", {kept} kept because their modules are the same" if kept else "")
    )
    digests = {image.cell: each.ref.with_digest(each.digest).pinned for each in chosen for image in each.image.cells}
    return {image.cell.kernel: digests[image.cell] for image in wanted.images}


def with_modules(result: BundleResult, modules: dict[str, str] | Finding) -> BundleResult:
    """Return the result of a published bundle with its module images; a finding makes it errored."""
    if isinstance(modules, Finding):
        reason = f"{result.reason}, but has no images for Kernel Module Management: {modules.message}"
        return replace(result, verdict="errored", reason=reason, findings=(modules,))
    return replace(result, modules=modules)


def choose_module_images(
    registry: RegistryWriter,
    records: Records,
    repository: ImageRef,
    images: Iterable[ModuleImage],
    gates: Sequence[str],
) -> Choice:
    """Query which images the tags of module images name now; nothing is written.

    An image that is there stays only if this project's records show that every image it lists passed every gate: labels
    and layers alone can be copied by whoever may push.

    Returns:
        all images that the tags will name, and those of them that have to be put there.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry did not answer for one of them. Then no digest
            is chosen for it: a new one would make KMM exchange modules because of a fault of the registry.
    """
    found = map_threads(partial(_choose, registry, records, repository, gates), images)
    return tuple(chosen for chosen, _ in found), tuple(chosen for chosen, there in found if not there)


def put_module_images(run: RunContext, chosen: Iterable[Chosen]) -> None:
    """Put module images under their tags, signed before.

    Raises:
        UnreachableError, CredentialError, ProtocolError: a tag was not written, or names something else afterwards.
        ToolError: one was not signed.
        InterruptedRunError: the run was told to stop.
    """
    registry = run.registry
    for each in chosen:
        document = each.image.manifest
        sign_before_name(run, each.ref, document)
        registry.put_manifest(each.ref, document.content, document.media_type)
        if registry.digest_of(each.ref) != document.digest:
            raise ProtocolError(
                f"{each.ref}: the registry has another digest there than the one just put, {document.digest}",
                OTHER_WRITER,
            )


def _listed(run: RunContext, chosen: Chosen) -> tuple[str, ...]:
    """Return the digests of the images that a tag's image lists."""
    if not chosen.stays:
        return instances(chosen.image.manifest)
    named = run.registry.named(chosen.ref.with_digest(chosen.digest))
    return tuple(manifest.digest for manifest in named.manifests.values()) if named else ()


def _message(run: RunContext, error: KmatrixError) -> str:
    raise_if_stopping(run, error)
    return f"{error.message} {error.hint}".rstrip()


def _choose(
    registry: RegistryWriter, records: Records, repository: ImageRef, gates: Sequence[str], image: ModuleImage
) -> tuple[Chosen, bool]:
    ref = repository.with_tag(image.tag)
    wanted = Chosen(image, ref, image.manifest.digest)
    now = registry.digest_of(ref)
    if now is None or now == wanted.digest:
        return wanted, now is not None
    try:
        # By its digest, as the tag may move meanwhile.
        named = registry.named(ref.with_digest(now))
        if named is None:
            raise ProtocolError(
                f"{ref}: the registry reports that {now} is not there, though the tag names it",
                "Run it again; a registry that deletes images at this moment may report so for a while.",
            )
        there = _holdings(registry, records, named, gates)
    except ProtocolError as error:
        raise ProtocolError(
            error.message,
            f"Should it be broken for good, remove {ref} from the registry and run again. Kernel Module Management "
            "then gets a new digest, and exchanges this kernel's module on all its nodes once.",
        ) from error
    return (Chosen(image, ref, now), True) if may_stay(image, there) else (wanted, False)


def _holdings(registry: RegistryWriter, records: Records, named: Named, gates: Sequence[str]) -> dict[Arch, Holding]:
    """Return the content of a published module image; empty if this project's records do not vouch for all of it.

    Each architecture's image needs a record that it passed every gate, and a list must be, byte for byte, the list that
    this project composes of these images: it may name no other.
    """
    documents = {arch: Document(each.media_type, each.content) for arch, each in named.manifests.items()}
    if not documents or list_of(documents).digest != named.digest:
        return {}
    found = {}
    for arch, manifest in named.manifests.items():
        record = records.find(manifest.ref, manifest.digest)
        if record is None or lacking_in(record, record.name, gates):
            return {}
        module = manifest.layers[-1][0] if manifest.layers else ""
        found[arch] = Holding(record.name, registry.labels(manifest).get(labels.KERNEL, ""), module)
    return found
