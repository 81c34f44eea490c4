"""A registry, and bundles on their way to it whose boots end as a test says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker.auth
import pytest

from kmatrix.decide.bundle import CellImage, Wanted
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import bundle as stage
from kmatrix.stages.bundle import Packing, make_bundle
from kmatrix.stages.run_context import BootOptions
from kmatrix.values.boot import BootReport
from kmatrix.values.engine import EngineImage, RegistryLogin
from kmatrix.values.names import Arch, ImageRef
from tests.unit.support.cell_images import CLIENT, config_of, digest, image
from tests.unit.support.stand_in_engine import StandInEngine
from tests.unit.support.writable_registry import Writable, writable_registry

PASSED = BootReport("passed", "booted", "loaded twice")


class PullingEngine(StandInEngine):
    """Has every file, and notes the images that it pulls."""

    def __init__(self) -> None:
        super().__init__()
        self.pulled: list[str] = []
        self.held: set[str] = set()
        self.lost: list[str] = []
        self.known: set[str] = set()

    def image(self, name: str) -> EngineImage | None:
        return EngineImage(name) if name in self.held else None

    def hold(self, pinned: str, login: RegistryLogin | None) -> None:
        if pinned in self.held and pinned not in self.pulled:
            self.known.add(pinned)
        self.pulled.append(pinned)
        self.held.add(pinned)

    def let_go(self, pinned: str) -> None:
        if pinned not in self.known:
            self.held.discard(pinned)

    def read_file(self, container: str, path: str) -> bytes:
        return path.encode()


@dataclass
class Bench:
    """A registry, and a run whose boots end as `reports` says by kernel; all others pass."""

    server: Writable
    packing: Packing
    engine: PullingEngine
    reports: dict[str, BootReport | BaseException] = field(default_factory=dict)
    booted: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """What people were told."""
        return "\n".join(self.lines)

    def image(self, kernel: str, arch: Arch = "x86_64") -> CellImage:
        """A published cell whose toolkit the registry has."""
        made = image(kernel, arch=arch)
        name = f"{self.server.web.address}/toolkit"
        content = {
            "config": {"digest": digest("c")},
            "layers": [{"digest": digest("l"), "mediaType": "x", "size": 999}],
        }
        registry = RegistryWriter(self.packing.credentials)
        toolkit = registry.put_manifest(ImageRef.parse(name), json.dumps(content).encode(), "x")
        return self.publish(replace(made, cell=replace(made.cell, toolkit=ImageRef.parse(f"{name}@{toolkit}"))))

    def publish(self, made: CellImage) -> CellImage:
        """Have a cell's configuration and manifest in the registry."""
        path = f"/v2/{self.server.repository}"
        config = json.loads(made.manifest.content)["config"]["digest"]
        self.server.blobs[f"{path}/blobs/{config}"] = config_of(made)
        self.server.manifests[f"{path}/manifests/{made.digest}"] = (made.manifest.media_type, made.manifest.content)
        return made

    def make(self, *images: CellImage, missing: tuple[str, ...] = (), **more: Any) -> Any:
        self.server.web.requests.clear()
        return make_bundle(self.packing, Wanted(CLIENT, images, missing, **more))

    @property
    def written(self) -> list[str]:
        """The names that manifests were put under, in order."""
        return [each.rpartition("/")[2] for each in self.server.sent() if each.startswith("PUT /manifests/")]

    def names(self, tag: str) -> str | None:
        """The digest of what a tag names."""
        return self.packing.registry.digest_of(self.ref(tag))

    def ref(self, tag: str) -> ImageRef:
        """A tag of the bundles' repository."""
        return ImageRef.parse(f"{self.packing.target}/beegfs-client:{tag}")


@contextmanager
def bundle_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Run a registry, and have nothing booted for real."""
    engine, lines = PullingEngine(), list[str]()
    credentials = Credentials({}, "no-file", docker.auth.AuthConfig({}))
    with writable_registry("site/beegfs-client") as server:
        packing = Packing(
            engine=engine,
            registry=RegistryWriter(credentials),
            credentials=credentials,
            machines=cast("Any", SimpleNamespace(stop=lambda: None)),
            root=tmp_path,
            profile_name="lab",
            profile=cast("Any", SimpleNamespace(mirrors={})),
            target=f"{server.web.address}/site",
            boot=BootOptions(),
            jobs=2,
            say=lines.append,
        )
        made = Bench(server, packing, engine, lines=lines)

        def boot(*arguments: Any) -> BootReport:
            kernel: str = arguments[2].module.kernel
            made.booted.append(kernel)
            assert arguments[2].image in engine.held, "it is booted from what was pulled by digest"
            if arguments[2].toolkit not in engine.held:
                engine.lost.append(arguments[2].toolkit)
            assert str(CLIENT) not in made.written, "it was booted after it had its tag"
            report = made.reports.get(kernel, PASSED)
            if isinstance(report, BaseException):
                raise report
            return report

        monkeypatch.setattr(stage, "boot_image", boot)
        module = SimpleNamespace(first=lambda _: "srcversion", depends=("ib_core",))
        monkeypatch.setattr(stage, "read_module", lambda _: module)
        yield made
