"""What the cells of one run share, and one cell under way: engine, registry, options, its log and its times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kmatrix.decide.bundle import Layer
from kmatrix.effects.disk.logs import Log
from kmatrix.effects.engine import Engine
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.vm.qemu import Accel, Machines
from kmatrix.stages.concurrency import Once
from kmatrix.stages.progress import Progress
from kmatrix.values.cells import CellResult, Finding, Verdict
from kmatrix.values.errors import InterruptedRunError
from kmatrix.values.matrix import Profile
from kmatrix.values.module import KernelFacts
from kmatrix.values.names import Arch, ImageRef
from kmatrix.values.recipe import Recipe
from kmatrix.values.redaction import redacted


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
class RunContext:
    """What the cells of a run share.

    `published` has one published cell image of the same inputs for each architecture; `blobs` are the layers that the
    registry is known to have, by the digest of their archive.
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


class CellContext:
    """One cell under way: its stages' times and its log."""

    def __init__(self, run: RunContext, recipe: Recipe, log: Log) -> None:
        self.run = run
        self.recipe = recipe
        self.log = log
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and show it.

        Raises:
            InterruptedRunError: the run was told to stop.
            ToolError: the log lacks lines: a cell that nobody can follow goes no further, and is not published.
        """
        if self.run.engine.stopping:
            raise InterruptedRunError
        self.log.check()
        self.run.progress.stage(self.recipe.cell.id, name)
        start = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = round(time.monotonic() - start, 3)

    def line(self, text: str) -> None:
        """Add a line to the log; one that cannot be written ends the cell at its next stage."""
        self.log.line(redacted(text))


def cell_result(
    recipe: Recipe,
    verdict: Verdict,
    reason: str,
    image: str = "",
    digest: str = "",
    findings: tuple[Finding, ...] = (),
    next_step: str = "",
) -> CellResult:
    """The result of a recipe's cell."""
    cell = recipe.cell
    return CellResult(
        cell=cell.id,
        client=str(cell.client),
        kernel=cell.kernel,
        releases=cell.releases,
        verdict=verdict,
        reason=redacted(reason),
        next_step=redacted(next_step),
        image=image,
        digest=digest,
        findings=tuple(replace(finding, message=redacted(finding.message)) for finding in findings),
    )
