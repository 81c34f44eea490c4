"""Repositories put together at random: no decision removes an image that a tag, a bundle or another list needs."""

from __future__ import annotations

import random

import pytest

from kmatrix.decide.needed_images import needs_of
from kmatrix.decide.prunable_kernels import KernelAges
from kmatrix.decide.prune import decide_removals, with_referrers
from kmatrix.decide.repository import Image, Repository
from kmatrix.values import labels
from kmatrix.values.names import Arch, image_tag, without_arch

CLIENTS = ("8.98.1", "7.98.1")
ARCHES: tuple[Arch, ...] = ("x86_64", "aarch64")
KERNELS = {arch: [f"5.14.0-96.{number}.el9_4.{arch}" for number in range(4)] for arch in ARCHES}
AGES = KernelAges({(arch, kernel): "2026-01-01" for arch in ARCHES for kernel in KERNELS[arch][:2]}, {})


class Made:
    """A repository, digests that must stay, and manifests that name others as their subject."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0
        self.tags: dict[str, str] = {}
        self.lists: dict[str, tuple[str, ...]] = {}
        self.images: dict[str, Image] = {}
        self.records: dict[str, str] = {}
        for _ in range(self.random.randint(2, 9)):
            self.cell()
        self.cells = list(self.images)
        for make in (self.bundle, self.listing, self.attach):
            for _ in range(self.random.randint(0, 4)):
                make()
        chosen = [each for each in self.images if self.random.random() < 0.1]
        self.named = dict.fromkeys(chosen, "manifests name it")
        self.repository = Repository("registry.example/team/x", self.tags, self.lists, self.images, self.records)

    def digest(self) -> str:
        self.number += 1
        return f"sha256:{self.number:064x}"

    def one(self, odds: float) -> bool:
        return self.random.random() < odds

    def cell(self) -> None:
        client, arch = self.random.choice(CLIENTS), self.random.choice(ARCHES)
        kernel, digest = self.random.choice(KERNELS[arch]), self.digest()
        named = {labels.CLIENT: client, labels.KERNEL: kernel, labels.ARCH: arch}
        self.images[digest] = Image(digest, named, ("base", f"module {digest}"))
        if self.one(0.7):
            self.tags[f"{client}-{kernel}"] = digest
        if self.one(0.2):
            self.tags[self.random.choice(["theirs", self.module_tag(digest)])] = digest
        if self.one(0.3) and digest not in self.tags.values():
            self.records[digest] = f"{client}-{kernel}"

    def module_tag(self, digest: str) -> str:
        cell = self.images[digest].cell
        assert cell
        return image_tag(f"{cell[0]}-{without_arch(cell[2], cell[1])}")

    def bundle(self) -> None:
        client, arch, digest = self.random.choice(CLIENTS), self.random.choice(ARCHES), self.digest()
        of_it = [each for each in self.cells if (cell := self.images[each].cell) and cell[:2] == (client, arch)]
        chosen = self.random.sample(of_it, min(len(of_it), 2))
        kernels = [self.images[each].labels[labels.KERNEL] for each in chosen] or KERNELS[arch][:1]
        named = {labels.CLIENT: client, labels.KERNELS: labels.kernels_label(kernels), labels.ARCH: arch}
        layers = ("base", *(self.images[each].layers[-1] for each in chosen if self.one(0.8)))
        origins = tuple(each for each in chosen if self.one(0.8))
        self.images[digest] = Image(digest, named, layers, origins)
        self.tags[self.random.choice([client, client, "their-bundle"])] = digest

    def listing(self) -> None:
        digest = self.digest()
        self.lists[digest] = tuple(self.random.sample(self.cells, min(len(self.cells), self.random.randint(1, 3))))
        own = self.module_tag(self.random.choice(self.lists[digest]))
        self.tags[self.random.choice([own, own, "their-list"])] = digest

    def attach(self) -> None:
        subject = self.random.choice([*self.images, self.digest()])
        digest = self.random.choice([*self.images, *self.tags.values()]) if self.one(0.2) else self.digest()
        self.tags[subject.replace(":", "-") + self.random.choice([".gates", ".sig", ""])] = digest
        if digest not in self.images and digest not in self.lists and self.one(0.3):
            self.lists[digest] = (self.random.choice([*self.images, self.digest()]),)


@pytest.mark.parametrize("start", range(0, 2000, 500))
def test_no_image_is_removed_that_anything_needs(start: int) -> None:
    removals = 0
    for seed in range(start, start + 500):
        made = Made(seed)
        repository, needs = made.repository, needs_of(made.repository, made.named)
        decided = decide_removals(repository, AGES, needs)
        referrers = {each.digest: [made.random.choice([*made.images, made.digest()])] for each in decided.removals}
        decided = with_referrers(decided, repository, referrers)
        gone = {each.digest for each in decided.removals}
        removals += len(gone)
        for stay in decided.stays:
            assert not repository.closure([stay.digest]) & gone, (seed, stay)
        lost = {tag for tag, digest in repository.tags.items() if digest in gone}
        assert lost == {tag for each in decided.removals for tag in each.tags}, seed
        assert {stay.tag for stay in decided.stays} == repository.tags.keys() - lost, seed
        assert not repository.closure(needs.digests) & gone, seed
        for image in (repository.images[digest] for digest in gone & repository.images.keys()):
            assert image.cell, (seed, image)
            assert image.cell[1:] in AGES.removable, (seed, image)
            assert image.cell not in needs.cells, (seed, image)
            assert image.layers[-1] not in needs.layers, (seed, image)
    assert removals > 500, "most of them lose something"
