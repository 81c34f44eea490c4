"""What the cells of one run share: engine, registry, options, and work that is done once for many."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kmatrix.decide.bundles import Layer
from kmatrix.effects.context import pack_context
from kmatrix.effects.credentials import Credentials
from kmatrix.effects.engine import Engine
from kmatrix.effects.files import cannot_read
from kmatrix.effects.packages import PackageRoot
from kmatrix.effects.qemu import Accel, Machines
from kmatrix.effects.registry_writer import RegistryWriter
from kmatrix.stages.once import Once
from kmatrix.stages.progress import Progress
from kmatrix.values.matrix import Profile
from kmatrix.values.module import KernelFacts
from kmatrix.values.names import Arch, ImageRef
from kmatrix.values.recipe import KEY_FILE, PACKAGES_FOLDER, Recipe


@dataclass(frozen=True)
class BootOptions:
    """How the boot gate boots: accelerator, and the seconds init may take from its start to its end."""

    accel: Accel = "auto"
    deadline_seconds: float = 120.0


@dataclass(frozen=True)
class Options:
    """What a run was asked for.

    `rebuild` makes every cell anew (a word that differs from run to run); `make_jobs` is make's own
    number of jobs in one cell; `boot` is None for a run without the boot gate; `push` is whether what passed
    is published, `push_unbooted` whether also what was not booted.
    """

    root: Path
    profile_name: str
    profile: Profile
    target: str
    make_jobs: int = 1
    rebuild: str = ""
    boot: BootOptions | None = None
    push: bool = True
    push_unbooted: bool = False
    revision: str = ""
    source: str = ""


@dataclass
class Workshop:
    """What the cells of a run share.

    `garbage` are the images that builds made on their way; `published` has one published cell image of the same inputs
    for each architecture; `blobs` are the layers that the registry is known to have, by the digest of their archive.
    """

    engine: Engine
    registry: RegistryWriter
    credentials: Credentials
    options: Options
    progress: Progress
    machines: Machines
    bases: Once[str] = field(default_factory=Once)
    groups: Once[str] = field(default_factory=Once)
    pulled: Once[None] = field(default_factory=Once)
    kernels: Once[KernelFacts] = field(default_factory=Once)
    files: Once[bytes] = field(default_factory=Once)
    garbage: list[str] = field(default_factory=list)
    sent: Once[Layer] = field(default_factory=Once)
    blobs: dict[str, Layer] = field(default_factory=dict)
    published: dict[Arch, ImageRef] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        """Where each cell's log goes: another profile may have a cell of the same name."""
        return self.options.root / "build" / "logs" / self.options.profile_name

    def stop(self) -> None:
        """End everything under way: builds, containers, virtual machines."""
        self.engine.stop()
        self.machines.stop()


def build_context(shop: Workshop, recipe: Recipe) -> bytes:
    """Return the archive the engine gets: Dockerfile, our scripts, key and packages, each checked against its pin.

    Raises:
        UnreachableError: the package root could not be asked.
        ProtocolError, InputError: a file is not there, or not what was pinned."""
    cache = shop.options.root / "build" / "packages"
    root = PackageRoot(shop.options.profile.packages, shop.options.root)
    files = dict(recipe.files)

    def brought(location: str, sha256: str) -> bytes:
        target = cache / sha256
        root.fetch(f"{recipe.repository}/{location}", sha256, target)
        try:
            return target.read_bytes()
        except OSError as error:
            raise cannot_read(target, "package", error) from error

    wanted = {KEY_FILE: (recipe.key.location, recipe.key.sha256)}
    for package in recipe.packages:
        wanted[f"{PACKAGES_FOLDER}/{package.file}"] = (package.pin.location, package.pin.sha256)
    for name, (location, sha256) in wanted.items():
        files[name] = shop.files.get(sha256, partial(brought, location, sha256))
    return pack_context(recipe.dockerfile, files)
