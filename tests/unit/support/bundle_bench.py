"""A registry, and bundles on their way to it whose boots end as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker.auth
import pytest

from kmatrix.decide.bundle import CellImage, Wanted
from kmatrix.decide.gate_record import record_tag
from kmatrix.decide.image_documents import Document
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import bundle_boots
from kmatrix.stages import subject as subject_stage
from kmatrix.stages.bundle import make_bundle
from kmatrix.stages.run_context import Options, RunContext
from kmatrix.values.boot import BootOptions, BootReport
from kmatrix.values.bundle import BundleResult
from kmatrix.values.engine import EngineImage, RegistryLogin
from kmatrix.values.gate_record import DEFAULT_GATES
from kmatrix.values.names import Arch, ImageRef, without_arch
from tests.unit.support.cell_images import CLIENT, config_of, digest, image
from tests.unit.support.gate_records import BOTH, put_record, record_of
from tests.unit.support.saying import Saying
from tests.unit.support.stand_in_engine import StandInEngine
from tests.unit.support.writable_registry import Writable, writable_registry

PASSED = BootReport("passed", "booted", "loaded twice")


class PullingEngine(StandInEngine):
    """An engine that has every file and records its pulls."""

    def __init__(self) -> None:
        super().__init__()
        self.pulled: list[str] = []
        self.held: set[str] = set()
        self.lost: list[str] = []
        self.known: set[str] = set()
        self.told = threading.Event()

    def stop(self) -> None:
        super().stop()
        self.told.set()

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
    run: RunContext
    engine: PullingEngine
    reports: dict[str, BootReport | BaseException | Callable[[], BootReport]] = field(default_factory=dict)
    booted: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """The printed messages."""
        return "\n".join(self.lines)

    def image(self, kernel: str, arch: Arch = "x86_64") -> CellImage:
        """Return a published cell whose toolkit the registry has."""
        made = image(kernel, arch=arch)
        name = f"{self.server.web.address}/toolkit"
        content = {
            "config": {"digest": digest("c")},
            "layers": [{"digest": digest("l"), "mediaType": "x", "size": 999}],
        }
        registry = RegistryWriter(self.run.credentials)
        toolkit = registry.put_manifest(ImageRef.parse(name), json.dumps(content).encode(), "x")
        return self.publish(replace(made, cell=replace(made.cell, toolkit=ImageRef.parse(f"{name}@{toolkit}"))))

    def publish(self, made: CellImage, gates: Iterable[str] = BOTH) -> CellImage:
        """Put a cell's configuration and manifest into the registry, and the record of its gates if there are any."""
        path = f"/v2/{self.server.repository}"
        config = json.loads(made.manifest.content)["config"]["digest"]
        self.server.blobs[f"{path}/blobs/{config}"] = config_of(made)
        self.server.manifests[f"{path}/manifests/{made.digest}"] = (made.manifest.media_type, made.manifest.content)
        if gates := tuple(gates):
            put_record(self.server, self.server.repository, record_of(made.digest, made.cell.id, gates=gates))
        return made

    def make(self, *images: CellImage, missing: tuple[str, ...] = (), **more: Any) -> Any:
        self.server.web.requests.clear()
        return make_bundle(self.run, Wanted(CLIENT, images, missing, **more))

    @property
    def written(self) -> list[str]:
        """Return the names under which manifests were put, in order."""
        return [each.rpartition("/")[2] for each in self.server.sent() if each.startswith("PUT /manifests/")]

    def forget_record(self, digest: str) -> None:
        """Have the registry lose the record of an image."""
        del self.server.manifests[f"/v2/{self.server.repository}/manifests/{record_tag(digest)}"]

    def document(self, digest: str) -> Document:
        """Return the manifest or the list with a digest, as the registry has it."""
        return Document(*self.server.manifests[f"/v2/{self.server.repository}/manifests/{digest}"])

    def names(self, tag: str) -> str | None:
        """The digest that a tag names."""
        return self.run.registry.digest_of(self.ref(tag))

    def ref(self, tag: str) -> ImageRef:
        """A tag of the bundles' repository."""
        return ImageRef.parse(f"{self.run.options.target}/beegfs-client:{tag}")


@contextmanager
def bundle_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Run a registry, and have nothing booted for real."""
    engine, lines = PullingEngine(), list[str]()
    credentials = Credentials({}, "no-file", docker.auth.AuthConfig({}))
    with writable_registry("site/beegfs-client") as server:
        profile = cast("Any", SimpleNamespace(mirrors={}, gates=DEFAULT_GATES))
        options = Options(tmp_path, "lab", profile, f"{server.web.address}/site", jobs=2, boot=BootOptions())
        run = RunContext(
            engine=engine,
            registry=RegistryWriter(credentials),
            credentials=credentials,
            options=options,
            progress=Saying(lines.append),
            machines=cast("Any", SimpleNamespace(stop=lambda: None)),
        )
        made = Bench(server, run, engine, lines=lines)

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
            return report if isinstance(report, BootReport) else report()

        monkeypatch.setattr(bundle_boots, "boot_image", boot)
        module = SimpleNamespace(first=lambda _: "srcversion", depends=("ib_core",))
        monkeypatch.setattr(subject_stage, "read_module", lambda _: module)
        yield made


def tag(made: CellImage) -> str:
    return f"8.98.1-{without_arch(made.cell.kernel, made.cell.arch)}"


def made_of(bench: Bench, *images: CellImage) -> BundleResult:
    result: BundleResult = bench.make(*images)
    assert result.verdict in ("passed", "skipped"), result.reason
    return result
