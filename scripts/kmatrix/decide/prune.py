"""Decide which images a registry may lose: of retired kernels alone, and none that anything else names or needs.

A delete is one of a digest and takes every tag of it (OCI distribution specification, "Deleting Manifests"). So a
digest stays if any tag that stays names it, by itself or in a list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kmatrix.decide.needed_images import Needs
from kmatrix.decide.prunable_kernels import KernelAges
from kmatrix.decide.repository import GATES, Image, Kind, Repository, is_client, kind_of, subject_of
from kmatrix.values import labels
from kmatrix.values.names import Arch


@dataclass(frozen=True)
class Removal:
    """A digest to be deleted, with every tag that goes with it; `since` is the day that retention counts from."""

    repository: str
    digest: str
    tags: tuple[str, ...]
    kind: Kind
    reason: str
    client: str = ""
    kernel: str = ""
    since: str = ""


@dataclass(frozen=True)
class Stay:
    """A tag that stays, and why."""

    repository: str
    tag: str
    digest: str
    kind: Kind
    reason: str


@dataclass(frozen=True)
class Pruning:
    """The decision: removals in the order in which they are safe, and every tag that stays.

    An interruption leaves at most records, signatures and attestations without their image, which the next run finds:
    records by the cell that they name, the others because their image is gone. No image that has a tag is ever without
    them.
    """

    removals: tuple[Removal, ...]
    stays: tuple[Stay, ...]

    @property
    def unknown(self) -> tuple[Stay, ...]:
        """The tags that are not this project's."""
        return tuple(stay for stay in self.stays if stay.kind == "unknown")


def decide_removals(repository: Repository, ages: KernelAges, needs: Needs) -> Pruning:
    """Decide for every tag of a repository.

    Args:
        repository: its content.
        ages: which kernels' images may be removed.
        needs: those of the bundles.
    """
    kinds = {tag: kind_of(repository, tag) for tag in repository.tags}
    why = {tag: _why_stays(kind, images, ages, needs) for tag, (kind, images) in kinds.items() if kind != "record"}
    kept = {tag: reason for tag, reason in why.items() if reason}
    protected = repository.closure([*(repository.tags[tag] for tag in kept), *needs.digests])
    for tag in why:
        if tag not in kept and repository.tags[tag] in protected:
            kept[tag] = _naming(repository, kept, needs, repository.tags[tag])
    gone = [tag for tag in why if tag not in kept]
    doomed = {repository.tags[tag]: kinds[tag] for tag in sorted(gone, key=lambda tag: kinds[tag][0] != "module image")}
    tagged = repository.names()
    for digest in [*doomed]:
        for child in repository.lists.get(digest, ()):
            image = repository.images.get(child)
            alone = child not in tagged and child not in protected and child not in doomed
            if image is not None and alone and image.cell and not _why_stays("cell", (image,), ages, needs):
                doomed[child] = ("cell", (image,))
    for subject, name in repository.records.items():
        cell = _cell_of(name, ages)
        if cell is not None and subject not in protected and not _needed(subject, cell, needs):
            doomed.setdefault(subject, ("cell", (_image_of(subject, cell),)))
    for digest in _attached_to(repository).difference(tagged, protected, doomed):
        image = repository.images.get(digest)
        if image is not None and image.cell and not _why_stays("cell", (image,), ages, needs):
            doomed[digest] = ("cell", (image,))
    while held := doomed.keys() & repository.closure(_attached_to_others(repository, doomed)):
        for digest in held:
            del doomed[digest]
            kept.update(dict.fromkeys(tagged.get(digest, ()), "a tag attached to an image that stays names it"))
    kept = {tag: reason for tag, reason in kept.items() if kinds[tag][0] != "record"}
    removals = [
        _removal(repository, digest, tagged.get(digest, ()), kind, images, ages)
        for digest, (kind, images) in doomed.items()
    ]
    stays = [
        Stay(repository.name, tag, repository.tags[tag], kinds[tag][0], reason) for tag, reason in sorted(kept.items())
    ]
    records, kept_records = _records(repository, doomed, protected)
    return Pruning((*removals, *records), (*stays, *kept_records))


def _attached_to_others(repository: Repository, doomed: Collection[str]) -> list[str]:
    """Return the digests that tags attached to other images than those name."""
    return [digest for tag, digest in repository.tags.items() if (of := subject_of(tag)) and of not in doomed]


def _attached_to(repository: Repository) -> set[str]:
    """Return the digests that tags are attached to, such as a cell's that another image replaced under its tag."""
    return {subject for tag in repository.tags if (subject := subject_of(tag))}


def _records(
    repository: Repository, doomed: Collection[str], protected: Collection[str]
) -> tuple[list[Removal], list[Stay]]:
    """Decide for the tags that are attached to images: each goes with its image.

    A manifest that is an image itself is decided on as such, whatever it is attached to.
    """
    attached = {tag: subject for tag in repository.tags if (subject := subject_of(tag))}
    orphans = repository.orphans
    staying = {tag for tag, subject in attached.items() if subject not in doomed and subject not in orphans}
    safe = {*protected, *repository.closure(repository.tags[tag] for tag in staying)}
    known = {*repository.images, *repository.lists}
    names = repository.names()
    removals: dict[str, Removal] = {}
    stays = []
    for tag in sorted(attached):
        digest, subject = repository.tags[tag], attached[tag]
        if digest in doomed:
            continue
        if tag in staying or digest in safe or digest in repository.images or not digest:
            reason = "belongs to an image that stays" if subject in known else "its image has no tag of a retired cell"
            if tag not in staying and digest in repository.images:
                reason = "is an image itself"
            stays.append(Stay(repository.name, tag, digest, "record", reason))
            continue
        why = f"attached to {subject}{', which is gone' if subject in orphans else ''}"
        removals[digest] = Removal(repository.name, digest, names[digest], "record", why)
        for child in repository.lists.get(digest, ()):
            if child not in safe and child not in doomed and child not in repository.images:
                removals[child] = Removal(repository.name, child, names.get(child, ()), "record", why)
    return [*removals.values()], stays


def with_referrers(pruning: Pruning, repository: Repository, referrers: Mapping[str, Iterable[str]]) -> Pruning:
    """Add to a decision the manifests that name a digest to be deleted as their subject, and put it in its order.

    Images come first. Of what is attached to them, manifests without a tag come before the tags that lead to them, and
    records of gates last: what an interruption leaves can be found.

    Args:
        pruning: the decision.
        repository: what it is about.
        referrers: the registry's answers, by subject.
    """
    safe = repository.closure(stay.digest for stay in pruning.stays)
    known = {removal.digest for removal in pruning.removals}
    found = {
        each: Removal(repository.name, each, (), "record", f"attached to {subject}")
        for subject, digests in referrers.items()
        for each in digests
        if each not in known and each not in safe and each not in repository.images
    }
    removals = sorted((*pruning.removals, *found.values()), key=_turn)
    return Pruning(tuple(removals), pruning.stays)


def _turn(removal: Removal) -> int:
    if removal.kind != "record":
        return 0
    if not removal.tags:
        return 1
    return 3 if any(tag.endswith(GATES) for tag in removal.tags) else 2


def _why_stays(kind: Kind, images: tuple[Image, ...], ages: KernelAges, needs: Needs) -> str:
    """Return why a tag stays; empty if it may be removed."""
    if kind == "bundle":
        return "bundles stay"
    if kind == "unknown":
        return "not this project's"
    for image in images:
        cell = image.cell
        if cell is None:
            return "its labels name no cell"
        _, arch, kernel = cell
        if reason := ages.why_kept((arch, kernel)) or _needed(image.digest, cell, needs):
            return reason
        if image.layers and image.layers[-1] in needs.layers:
            return f"bundle {needs.layers[image.layers[-1]]} has its module"
    return ""


def _needed(digest: str, cell: tuple[str, Arch, str], needs: Needs) -> str:
    if cell in needs.cells:
        return f"bundle {needs.cells[cell]} has its kernel"
    return needs.digests.get(digest, "")


def _naming(repository: Repository, kept: Collection[str], needs: Needs, digest: str) -> str:
    for tag in kept:
        if digest in repository.closure([repository.tags[tag]]):
            return f"tag {tag} names the same image"
    return needs.digests.get(digest, "something that stays names it")


def _removal(
    repository: Repository, digest: str, tags: tuple[str, ...], kind: Kind, images: tuple[Image, ...], ages: KernelAges
) -> Removal:
    client, arch, kernel = next(image.cell for image in images if image.cell)
    since = ages.removable[arch, kernel]
    reason = f"the last release with {kernel} left its channels on {since}"
    return Removal(repository.name, digest, tags, kind, reason, client, kernel, since)


def _cell_of(name: str, ages: KernelAges) -> tuple[str, Arch, str] | None:
    """Return the cell of a removable kernel that has such an id, or None."""
    for arch, kernel in ages.removable:
        client = name.removesuffix(f"-{kernel}")
        if client != name and is_client(client):
            return client, arch, kernel
    return None


def _image_of(digest: str, cell: tuple[str, Arch, str]) -> Image:
    """Return the image of a cell whose manifest was not read."""
    client, arch, kernel = cell
    return Image(digest, {labels.CLIENT: client, labels.ARCH: arch, labels.KERNEL: kernel})
