"""The context of a run (engine, registry, options, shared results), and that of one cell: its log and its times."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kmatrix.decide.features import CompiledFeatures
from kmatrix.decide.image_documents import Layer
from kmatrix.effects.disk.logs import Log
from kmatrix.effects.engine import Engine
from kmatrix.effects.installed_version import installed_version
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.signing.environment import take_keys
from kmatrix.effects.vm.boot_files import boot_folder
from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages.attested_records import records_for
from kmatrix.stages.concurrency import Once
from kmatrix.stages.gate_records import Records
from kmatrix.stages.progress import Progress
from kmatrix.stages.trust import Trust, load_trust
from kmatrix.values.boot import BootOptions
from kmatrix.values.build_facts import RunFacts
from kmatrix.values.cells import Cell, CellResult, Finding, Verdict
from kmatrix.values.command_lines import command
from kmatrix.values.errors import InterruptedRunError, KmatrixError
from kmatrix.values.gate_record import RecordedImage, RecordedModule, TestedKernel
from kmatrix.values.installed import Installed
from kmatrix.values.matrix import Profile
from kmatrix.values.module import KernelFacts, ModuleFile
from kmatrix.values.names import Arch, ImageRef
from kmatrix.values.recipe import Recipe
from kmatrix.values.redaction import redacted
from kmatrix.values.text import plain

# It takes 12 MB of memory, which a run without keys need not spend.
if TYPE_CHECKING:
    from kmatrix.effects.signing.module_keys import ModuleSigner


@dataclass(frozen=True)
class Options:
    """Options of a run.

    `jobs` is the number of cells, or of boots of a bundle, at a time; `make_jobs` is make's own number of jobs in one
    cell. `rebuild` is a text that differs from run to run, to build every cell again. `boot` is None for a run without
    the boot gate; `push` is whether cells that passed every gate are published. `places` are options of the command
    line that say where everything is (`--target X`), by the name of each command that accepts them.
    """

    root: Path
    profile_name: str
    profile: Profile
    target: str
    jobs: int = 1
    make_jobs: int = 1
    rebuild: str = ""
    boot: BootOptions | None = None
    push: bool = True
    revision: str = ""
    source: str = ""
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def boot_seconds(self) -> float:
        """The seconds that the init of a guest may take, also in a run without options of the boot gate."""
        return (self.boot or BootOptions()).deadline_seconds

    def next(self, name: str, *arguments: str) -> str:
        """Return a command for a next step in backquotes, which acts on the same profile and places as this run."""
        return command(name, self.profile_name, *self.places.get(name, ()), *arguments)


@dataclass
class RunContext:
    """The context that the cells, bundles or boots of a run share.

    `planned` are all cells of the profile's plan, where the run is about cells; `queried` are those that it has queried
    the registry about, by cell id, and `recorded_modules` the modules that the records of these have. `unanswered` are
    those of which it did not answer, and with which the run's cells were to be compared.

    `base_images`, `userland_builds`, `pulls`, `kernel_facts` and `package_files` are caches, and so is `sent`, of the
    layers that were pushed. `published` has one published cell image of the same inputs for each architecture;
    `ungated` are the published images of this run's cells that have not passed every gate of it, by cell id; `blobs`
    are the layers that the registry is known to have, by the digest of their archive. `known_features` are the features
    of modules that are known before this run builds any, by cell id, without those of cells that it builds again.
    `foreign_bases` are a cache too, of bases for architectures that are not this machine's, and so are `installed`, of
    the packages in images by the layers that have them, and `facts`, which attestations share.
    `module_signer` signs the modules that are built; None where they are not signed, or nothing is built. `trust` has
    the keys of images.
    """

    engine: Engine
    registry: RegistryWriter
    credentials: Credentials
    options: Options
    progress: Progress
    machines: Machines
    base_images: Once[str] = field(default_factory=Once)
    foreign_bases: Once[ImageRef] = field(default_factory=Once)
    installed: Once[Installed] = field(default_factory=Once)
    facts: Once[RunFacts] = field(default_factory=Once)
    userland_builds: Once[str] = field(default_factory=Once)
    pulls: Once[None] = field(default_factory=Once)
    kernel_facts: Once[KernelFacts] = field(default_factory=Once)
    package_files: Once[bytes] = field(default_factory=Once)
    planned: tuple[Cell, ...] = ()
    queried: dict[str, Cell] = field(default_factory=dict)
    recorded_modules: dict[str, RecordedModule] = field(default_factory=dict)
    unanswered: dict[str, Cell] = field(default_factory=dict)
    sent: Once[Layer] = field(default_factory=Once)
    blobs: dict[str, Layer] = field(default_factory=dict)
    published: dict[Arch, ImageRef] = field(default_factory=dict)
    ungated: dict[str, RecordedImage] = field(default_factory=dict)
    known_features: dict[str, CompiledFeatures] = field(default_factory=dict)
    module_signer: ModuleSigner | None = None
    trust: Trust = field(default_factory=Trust)

    @property
    def records(self) -> Records:
        """The records of the gates that published images have passed."""
        return records_for(self.trust, self.registry, self.progress.warn, lambda: self.engine.stopping)

    @property
    def logs(self) -> Path:
        """The folder of the cells' logs: another profile may have a cell of the same name."""
        return self.options.root / "build" / "logs" / self.options.profile_name

    @property
    def boot_folder(self) -> Path:
        """The folder of the boot gate."""
        return boot_folder(self.options.root)

    def stop(self) -> None:
        """End everything under way: builds, containers, virtual machines."""
        self.engine.stop()
        self.machines.stop()


def new_run(
    engine: Engine, credentials: Credentials, options: Options, progress: Progress, *, pushes: bool
) -> RunContext:
    """Return the context of a run; only one that `pushes` asks for credentials that may write, and for private keys.

    Raises:
        InputError: this program is not installed, so it could not name its version in a record of passed gates; or a
            key of the profile's images is missing, or git tracks the private one.
        UnreachableError: the service that keeps the image key does not sign.
    """
    installed_version()
    profile = options.profile
    trust = load_trust(profile.image_signing, options.root, take_keys(profile), signs=pushes, say=progress.warn)
    registry = RegistryWriter(credentials, pushes_to=options.target if pushes else "")
    machines = Machines(options.boot.accel if options.boot else "auto")
    return RunContext(engine, registry, credentials, options, progress, machines, trust=trust)


def raise_if_stopping(run: RunContext, cause: Exception | None = None) -> None:
    """Raise if the run was told to stop: errors after that say nothing about a cell or a bundle.

    Raises:
        InterruptedRunError: it was; `cause` is its cause.
    """
    if run.engine.stopping:
        raise InterruptedRunError from cause


def explain_error(
    run: RunContext, error: Exception, on_traceback: Callable[[str], None], place: str
) -> tuple[str, str]:
    """Return the message of an error that prevented a verdict, and the next step.

    Args:
        run: the run.
        error: of this project, or an unexpected one: a bug, which must not take the other cells or bundles with it.
        on_traceback: is given the traceback of an unexpected error.
        place: where that goes, for the next step.

    Raises:
        InterruptedRunError: the run was told to stop, so the error says nothing about the cell or bundle.
    """
    raise_if_stopping(run, error)
    if isinstance(error, InterruptedRunError):
        raise error
    if isinstance(error, KmatrixError):
        return error.message, error.hint
    on_traceback(redacted(plain("".join(traceback.format_exception(error)))))
    return redacted(f"internal error: {type(error).__name__}: {error}"), f"Report the traceback in {place} as a bug."


def reason_of(run: RunContext, error: Exception) -> str:
    """Return `explain_error` as one reason; the traceback of an unexpected error is printed.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    message, next_step = explain_error(run, error, run.progress.warn, "the output")
    return f"{message}. {next_step}".rstrip(". ")


class CellContext:
    """The context of one cell: its recipe, its log and the times of its stages.

    `module` has the facts about the module of its image, `kernels` the kernels that the module was loaded in,
    `image_id` the container engine's id of the image, `module_file` the facts about the module's file, `built` when its
    build began and ended (UTC, ISO 8601), and `reusable_from` the published cells whose modules would load in its
    kernel, as far as its stages found them out.
    """

    def __init__(self, run: RunContext, recipe: Recipe, log: Log) -> None:
        self.run = run
        self.recipe = recipe
        self.log = log
        self.stages: dict[str, float] = {}
        self.module: RecordedModule | None = None
        self.kernels: tuple[TestedKernel, ...] = ()
        self.image_id = ""
        self.module_file: ModuleFile | None = None
        self.built: tuple[str, str] | None = None
        self.reusable_from: tuple[str, ...] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and show it; the times of a stage that is entered again add up.

        Raises:
            InterruptedRunError: the run was told to stop.
            ToolError: the log lacks lines. A cell without a complete log gets no further, and is not published.
        """
        raise_if_stopping(self.run)
        self.log.check()
        self.run.progress.stage(self.recipe.cell.id, name)
        start = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = round(self.stages.get(name, 0.0) + time.monotonic() - start, 3)

    def line(self, text: str) -> None:
        """Show a line, and add it to the log; one that cannot be written there ends the cell at its next stage."""
        text = redacted(text)
        self.log.line(text)
        self.run.progress.output(self.recipe.cell.id, text)


def cell_result(
    recipe: Recipe,
    verdict: Verdict,
    reason: str,
    image: str = "",
    digest: str = "",
    findings: tuple[Finding, ...] = (),
    next_step: str = "",
) -> CellResult:
    """Return a result of a recipe's cell."""
    cell = recipe.cell
    return CellResult(
        cell=cell.id,
        client=str(cell.client),
        kernel=cell.kernel,
        arch=cell.arch,
        flavour=cell.flavour,
        stream=cell.stream,
        releases=cell.releases,
        verdict=verdict,
        reason=redacted(reason),
        next_step=redacted(next_step),
        image=image,
        digest=digest,
        findings=tuple(replace(finding, message=redacted(finding.message)) for finding in findings),
    )
