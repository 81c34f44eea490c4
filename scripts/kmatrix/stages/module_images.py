"""The module images of a bundle in the registry: what each tag names, whether that stays, and what is put instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from kmatrix.decide.module_images import Holding, ModuleImage, may_stay
from kmatrix.effects.registry.client import Named
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages.concurrency import map_threads
from kmatrix.values import labels
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import Arch, ImageRef


@dataclass(frozen=True)
class Chosen:
    """A module image and its name in the registry; `digest` is the one that is there and stays, or the new one's."""

    image: ModuleImage
    ref: ImageRef
    digest: str

    @property
    def stays(self) -> bool:
        """Whether the tag names another image than would be made now, which does as well."""
        return self.digest != self.image.manifest.digest


# What the tags will name, and those of it that have to be put there.
Choice = tuple[tuple[Chosen, ...], tuple[Chosen, ...]]


def choose_module_images(registry: RegistryWriter, repository: ImageRef, images: Iterable[ModuleImage]) -> Choice:
    """Ask the registry what the tags of module images name now; nothing is written.

    Returns:
        what the tags will name, and those of it that have to be put there.

    Raises:
        UnreachableError, CredentialError, ProtocolError: of one it could not be told. Then no digest is chosen for it,
            as a new one would have KMM exchange modules for a fault of the registry.
    """
    found = map_threads(partial(_choose, registry, repository), images)
    return tuple(chosen for chosen, _ in found), tuple(chosen for chosen, there in found if not there)


def put_module_images(registry: RegistryWriter, chosen: Iterable[Chosen]) -> None:
    """Put module images under their tags.

    Raises:
        UnreachableError, CredentialError, ProtocolError: a tag was not written, or names something else afterwards.
    """
    for each in chosen:
        document = each.image.manifest
        registry.put_manifest(each.ref, document.content, document.media_type)
        if registry.digest_of(each.ref) != document.digest:
            raise ProtocolError(
                f"{each.ref}: the registry has something else there than what was put there, {document.digest}",
                "Something else writes to this repository; give this project one of its own.",
            )


def _choose(registry: RegistryWriter, repository: ImageRef, image: ModuleImage) -> tuple[Chosen, bool]:
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
                f"{ref}: the registry says that {now} is not there, though the tag names it",
                "Run it again; a registry that is cleared up at this moment says so for a while.",
            )
        there = _holdings(registry, named)
    except ProtocolError as error:
        raise ProtocolError(
            error.message,
            f"Should it be broken for good, remove {ref} from the registry and run again. Kernel Module Management "
            "then gets a new digest, and exchanges this kernel's module on all its nodes once.",
        ) from error
    return (Chosen(image, ref, now), True) if may_stay(image, there) else (wanted, False)


def _holdings(registry: RegistryWriter, named: Named) -> dict[Arch, Holding]:
    found = {}
    for arch, manifest in named.manifests.items():
        told = registry.labels(manifest)
        module = manifest.layers[-1][0] if manifest.layers else ""
        found[arch] = Holding(told.get(labels.VERSION, ""), told.get(labels.KERNEL, ""), module)
    return found
