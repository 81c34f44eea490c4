"""A gate, its outcome, and the image that it judges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from kmatrix.decide.formats.elf import read_module
from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.decide.module_file import module_file
from kmatrix.decide.reuse import recorded_module
from kmatrix.effects.disk.logs import Log, open_log
from kmatrix.effects.engine.inspect import read_cell_image, read_toolkit
from kmatrix.stages.boot import Boot, boot_guest, tested_kernel
from kmatrix.stages.guests import Guests
from kmatrix.stages.patience import patiently
from kmatrix.stages.run_context import CellContext
from kmatrix.stages.subject import Subject, subject_of, with_mount
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Finding
from kmatrix.values.gate_record import MOUNT_GATE, RecordedModule, TestedKernel
from kmatrix.values.module import ImageFacts, KernelFacts, ModuleFile


@dataclass(frozen=True)
class Outcome:
    """How an image came through one gate.

    `message` is the reason in one line, or for a pass the evidence; `next_step` a sentence on how to fix the reason;
    `serial` the path of the guest's console, relative to the project; `srcversion` the module's, where it was read.
    `warnings` did not decide the outcome; `module` has the facts about the module that are recorded with a pass, where
    the gate read them, `module_file` those about its file, `kernel` the kernel that it booted, and `labels` the labels
    of the image.
    """

    verdict: Literal["passed", "failed", "errored"]
    message: str
    findings: tuple[Finding, ...] = ()
    next_step: str = ""
    serial: str = ""
    srcversion: str = ""
    warnings: tuple[Finding, ...] = ()
    module: RecordedModule | None = None
    module_file: ModuleFile | None = None
    kernel: TestedKernel | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class ImageUnderTest:
    """The image that a cell's gates judge; whatever several gates need is read once.

    `gates` are the names of the gates that it is put through. `has_name` is whether the cell's name leads to the image,
    in the registry or in the container engine: one that was just built has a name of the run's own alone, and is
    removed with that. `guests` have the files of its boots, to be closed after the last gate.
    """

    def __init__(self, cell: CellContext, image_id: str, *, gates: Iterable[str], has_name: bool = True) -> None:
        self.cell = cell
        self.id = image_id
        self.gates = tuple(gates)
        self.has_name = has_name
        self.guests = Guests(cell.run.engine, cell.run.boot_folder)
        self._boots: dict[bool, Boot] = {}
        self._logs: dict[bool, Log] = {}

    @cached_property
    def facts(self) -> ImageFacts:
        """The image's content and labels, as far as gates judge them."""
        engine = self.cell.run.engine
        return patiently(lambda: read_cell_image(engine, self.id, self.cell.recipe.cell.kernel), engine)

    @cached_property
    def module(self) -> RecordedModule | None:
        """The facts about its module that are recorded with a pass; None if it has none.

        Raises:
            MalformedElfError: the file is no module.
        """
        if self.facts.ko is None:
            return None
        return recorded_module(read_module(self.facts.ko), self.facts.features)

    @cached_property
    def module_file(self) -> ModuleFile | None:
        """The facts about the module's file; None if there is none.

        Raises:
            MalformedElfError: the file is no module.
        """
        return None if self.facts.ko is None else module_file(self.facts.ko)

    @cached_property
    def kernel(self) -> KernelFacts:
        """The facts about the cell's kernel; read once for all cells of a run."""
        run, recipe = self.cell.run, self.cell.recipe
        kernel, toolkit = recipe.cell.kernel, recipe.toolkit.pinned
        return run.kernel_facts.get(
            f"{toolkit} {kernel}",
            lambda: kernel_facts(kernel, patiently(lambda: read_toolkit(run.engine, toolkit, kernel), run.engine)),
        )

    @cached_property
    def subject(self) -> Subject | BootReport:
        """The subject of its boots, with the setup for a mount; if there is no module to boot, the verdict."""
        recipe, facts = self.cell.recipe, self.facts
        subject = subject_of(recipe.cell.id, self.id, recipe.cell, recipe.toolkit.pinned, facts.ko)
        if isinstance(subject, BootReport):
            return subject
        return with_mount(subject, facts, recipe.cell.client.major, self.cell.run.options.boot_seconds)

    def boot(self, subject: Subject, *, mounting: bool) -> Boot:
        """Boot the image, with mounts or without; the gates share the boot of each kind.

        Raises:
            KmatrixError: no verdict could be reached.
        """
        if mounting not in self._boots:
            run = self.cell.run
            chosen = subject if mounting else replace(subject, mount=None)
            with open_log(run.logs / self.serial_name(mounting=mounting)) as log:
                boot = boot_guest(self.guests, run.machines, chosen, run.options.boot_seconds, log.line)
            self._boots[mounting], self._logs[mounting] = boot, log
        return self._boots[mounting]

    def tested_kernel(self, *, mounting: bool) -> TestedKernel | None:
        """Return the kernel that answered in such a boot; None if there was no such boot, or none answered."""
        boot = self._boots.get(mounting)
        return tested_kernel(boot, self.cell.recipe.toolkit.pinned) if boot else None

    def check_serial(self, *, mounting: bool) -> None:
        """Check that the log of a boot's serial line is complete: a pass that nobody can look up is none.

        Raises:
            ToolError: a line is missing.
        """
        self._logs[mounting].check()

    def serial_name(self, *, mounting: bool) -> str:
        """Return the name of the log of a boot's serial line; a second boot of a run does not replace the first's."""
        alone = "" if mounting or MOUNT_GATE not in self.gates else ".alone"
        return f"{self.cell.recipe.cell.id}{alone}.serial.log"

    def serial(self, *, mounting: bool) -> str:
        """Return the path of that log, relative to the project."""
        run = self.cell.run
        return str((run.logs / self.serial_name(mounting=mounting)).relative_to(run.options.root))


@dataclass(frozen=True)
class Gate:
    """A gate between a built image and the registry.

    `run` returns the outcome; an exception that it raises makes it `errored`. `boots` is whether it needs a virtual
    machine: `--no-boot` leaves out every gate that does.
    """

    name: str
    run: Callable[[ImageUnderTest], Outcome]
    boots: bool = False
