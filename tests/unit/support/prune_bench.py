"""A target with cells, bundles, images by kernel and records, as this project publishes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from kmatrix.decide.gate_record import record_image, record_tag
from kmatrix.decide.prunable_kernels import KernelAges
from kmatrix.decide.prune import Pruning, Removal
from kmatrix.effects.registry.remover import RegistryRemover
from kmatrix.stages.prune import decide_pruning, remove
from kmatrix.values import labels
from kmatrix.values.names import Arch, image_tag, without_arch
from tests.unit.support.fake_registry import INDEX, digest
from tests.unit.support.gate_records import BOTH, record_of
from tests.unit.support.image_registry import NO_CREDENTIALS, ImageRegistry

MAIN = "team/beegfs-client"
CLIENT, OTHER = "8.98.1", "7.98.1"
OLD, NEW = "5.14.0-96.1.el9_4.x86_64", "5.14.0-96.2.el9_4.x86_64"
OLD_ARM, NEW_ARM = "5.14.0-96.1.el9_4.aarch64", "5.14.0-96.2.el9_4.aarch64"
SINCE = "2026-01-01"
AGES = KernelAges(
    {("x86_64", OLD): SINCE, ("aarch64", OLD_ARM): SINCE},
    {("x86_64", NEW): "release 4.96.2 has it", ("aarch64", NEW_ARM): "release 4.96.2 has it"},
)


@dataclass
class Target:
    """A registry that is published to, and what `prune` does with it."""

    server: ImageRegistry
    said: list[str] = field(default_factory=list)

    def record(self, image: str, name: str, repository: str = MAIN) -> None:
        """Have the record that an image passed every gate."""
        record = record_image(record_of(image, name, "sha256:key", BOTH))
        for blob in (record.layer, record.config):
            self.server.repository(repository).blobs[digest(blob)] = blob
        self.server.put(repository, record_tag(image), record.manifest.content)

    def cell(self, kernel: str, client: str = CLIENT, arch: Arch = "x86_64", tag: str | None = None) -> str:
        """Publish a cell with its record; returns its digest."""
        named = {labels.CLIENT: client, labels.KERNEL: kernel, labels.ARCH: arch}
        name = f"{client}-{kernel}"
        layers = (f"base {client}".encode(), f"module {name}".encode())
        found = self.server.image(MAIN, image_tag(name) if tag is None else tag, _config(named, arch), layers)
        self.record(found, name)
        return found

    def bundle(self, *kernels: str, client: str = CLIENT, arch: Arch = "x86_64", origins: Iterable[str] = ()) -> str:
        """Publish a bundle of kernels; returns its digest."""
        named = {labels.CLIENT: client, labels.KERNELS: labels.kernels_label(kernels), labels.ARCH: arch}
        layers = (f"base {client}".encode(), *(f"module {client}-{kernel}".encode() for kernel in kernels))
        history = [{"created_by": f"kmatrix bundle: module layer of x ({origin})"} for origin in origins]
        found = self.server.image(MAIN, client, {**_config(named, arch), "history": history}, layers)
        self.record(found, client)
        return found

    def module_image(self, *images: str, kernel: str = OLD, client: str = CLIENT) -> str:
        """Publish a kernel's image for all architectures: a list, or the one cell's own manifest."""
        tag = image_tag(f"{client}-{without_arch(kernel, 'x86_64')}")
        if len(images) == 1:
            self.server.repository(MAIN).tags[tag] = images[0]
            return images[0]
        return self.listing(tag, *images)

    def listing(self, tag: str, *images: str) -> str:
        content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": each} for each in images]}
        return self.server.put(MAIN, tag, json.dumps(content).encode(), INDEX)

    def by_kernel(self, image: str, kernel: str, client: str = CLIENT) -> None:
        """Publish a cell under its kernel too."""
        own = self.server.repository(MAIN)
        name = f"{MAIN}-{client}"
        self.server.repository(name).blobs.update(own.blobs)
        self.server.put(name, image_tag(kernel), own.manifests[image][1], own.manifests[image][0])

    def tags(self, repository: str = MAIN) -> set[str]:
        """Return the tags without those of records."""
        return {tag for tag in self.server.repository(repository).tags if not tag.startswith("sha256-")}

    @property
    def records(self) -> set[str]:
        return {tag for tag in self.server.repository(MAIN).tags if tag.startswith("sha256-")}

    def decide(self, ages: KernelAges = AGES, named: dict[str, str] | None = None) -> tuple[Pruning, ...]:
        self.server.web.requests.clear()
        remover = RegistryRemover(NO_CREDENTIALS)
        target = f"{self.server.web.address}/team"
        found = decide_pruning(remover, target, (CLIENT, OTHER), ages, named or {}, self.said.append)
        assert not self.server.sent("DELETE", "PUT", "POST"), "to decide writes nothing"
        return found

    def prune(self, ages: KernelAges = AGES, named: dict[str, str] | None = None) -> list[Removal]:
        """Decide and remove; returns the removals in order."""
        removals = [each for pruning in self.decide(ages, named) for each in pruning.removals]
        remove(RegistryRemover(NO_CREDENTIALS), removals, lambda _: None)
        return removals


def _config(named: dict[str, str], arch: Arch) -> dict[str, object]:
    return {"architecture": "arm64" if arch == "aarch64" else "amd64", "os": "linux", "config": {"Labels": named}}
