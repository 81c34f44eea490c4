"""boot: the boot gate by hand, with the serial console shown live, or an interactive prompt in the guest."""

from __future__ import annotations

import secrets

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import Chosen, choose, marked_engine, pins_for, tidy
from kmatrix.decide.boot import Booted
from kmatrix.decide.bundle import kernels_of_label
from kmatrix.decide.formats.elf import MalformedElfError, read_module
from kmatrix.decide.plan import make_plan
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.inspect import read_cell_image
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages.boot import Subject, boot_image, prepare_guest, remove_guest
from kmatrix.stages.patience import held
from kmatrix.stages.publish import image_of
from kmatrix.stages.run import exit_code
from kmatrix.stages.run_context import BootOptions
from kmatrix.values import labels
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Cell
from kmatrix.values.errors import Exit, InputError, ToolError
from kmatrix.values.matrix import mirrored, required_target
from kmatrix.values.names import ImageRef


def boot(call: Invocation) -> Exit:
    """Boot one cell, or any image that has modules for kernels of the profile; judges nothing else of it."""
    chosen = choose(call)
    options = call.boot or BootOptions()
    machines = Machines(options.accel)
    with marked_engine(call) as engine:
        try:
            subjects = find_subjects(call, chosen, engine, call.subject)
            if call.shell:
                return _attach(call, engine, machines, subjects)
            reports = [_boot_one(call, engine, machines, options, subject, len(subjects) == 1) for subject in subjects]
        finally:
            machines.stop()
            tidy(call, engine)
    for subject, report in zip(subjects, reports, strict=True):
        kernel = f"{subject.module.kernel}: " if len(subjects) > 1 else ""
        print(f"{report.verdict}: {report.code}: {kernel}{report.message}")
    return exit_code(report.verdict for report in reports)


def _boot_one(
    call: Invocation, engine: Engine, machines: Machines, options: BootOptions, subject: Subject, keep: bool
) -> BootReport:
    folder = call.boot_folder
    seconds = options.deadline_seconds
    _hold_toolkit(call, engine, subject)
    try:
        return boot_image(engine, machines, subject, folder, seconds, call.say)
    finally:
        # The toolkits of all kernels of a bundle are more than a disk has room for.
        if not keep:
            engine.let_go(subject.toolkit)


def _hold_toolkit(call: Invocation, engine: Engine, subject: Subject) -> None:
    held(engine, load_credentials(call.authfile), ImageRef.parse(subject.toolkit))


def _attach(call: Invocation, engine: Engine, machines: Machines, subjects: list[Subject]) -> Exit:
    if len(subjects) > 1:
        kernels = ", ".join(subject.module.kernel for subject in subjects)
        raise InputError(f"{call.subject} has modules for {kernels}", "--shell boots one kernel: name a cell.")
    _hold_toolkit(call, engine, subjects[0])
    guest = prepare_guest(engine, subjects[0], call.boot_folder, interactive=True)
    try:
        status = machines.attach(guest)
    finally:
        remove_guest(guest)
    if status != 0:
        raise ToolError(
            f"the virtual machine ended with status {status}",
            "What QEMU said stands above; `--accel tcg` needs nothing of this machine's virtualisation.",
        )
    return Exit.OK


def find_subjects(call: Invocation, chosen: Chosen, engine: Engine, name: str) -> list[Subject]:
    """Bring a cell's or a named image into the engine, and read what its modules say of themselves.

    Returns:
        one for each kernel: a bundle has several.

    Raises:
        InputError: it is neither a cell nor an image reference, or no release of the profile runs its kernel.
        ToolError: the image is not there, or holds no module.
    """
    pins = pins_for(call, chosen)
    cells = make_plan(chosen.name, chosen.profile, pins).cells
    credentials = load_credentials(call.authfile)
    cell = next((each for each in cells if each.id == name), None)
    if cell is not None:
        ref = image_of(required_target(chosen.name, chosen.profile), cell)
    else:
        try:
            ref = ImageRef.parse(name)
        except ValueError as error:
            raise InputError(
                f"{name!r} is no cell of profile {chosen.name}, nor an image reference: {error}",
                "`nox -s plan` lists the cells.",
            ) from error
    image, place = engine.image(str(ref)), "the engine, which goes before the registry"
    if image is None:
        place = "the registry"
        pinned = Registry(credentials).resolve(ref).pinned
        held(engine, credentials, ImageRef.parse(pinned))
        image = engine.image(pinned)
    if image is None:
        raise ToolError(
            f"the engine has no image {ref}, though it just pulled it",
            "Something else removes images of this engine: end it, and run the same command again.",
        )
    call.say(f"{ref}: {image.id} from {place}")
    kernels = kernels_of_label(image.labels.get(labels.KERNELS, "")) or (image.labels.get(labels.KERNEL, ""),)
    own = [cell] if cell else [_cell_of_kernel(cells, kernel, str(ref)) for kernel in kernels]
    return [_subject(engine, image.id, each, mirrored(each.toolkit, chosen.profile.mirrors)) for each in own]


def _subject(engine: Engine, image: str, cell: Cell, toolkit: ImageRef) -> Subject:
    facts = read_cell_image(engine, image, cell.kernel)
    try:
        module = read_module(facts.ko or b"")
    except MalformedElfError as fault:
        raise ToolError(
            f"{image}: its module for {cell.kernel} cannot be read: {fault.message}",
            "The image was not made by this program, or is damaged: `nox -s build -- --force` makes it anew.",
        ) from fault
    booted = Booted(cell.kernel, module.first("version") or "", module.first("srcversion") or "")
    return Subject(f"by-hand-{secrets.token_hex(3)}", image, toolkit.pinned, cell.arch, booted, module.depends)


def _cell_of_kernel(cells: tuple[Cell, ...], kernel: str, name: str) -> Cell:
    for cell in cells:
        if cell.kernel == kernel:
            return cell
    raise InputError(
        f"{name} says it is for kernel {kernel or '(no label)'}, which no release of the profile runs",
        f"Its label {labels.KERNEL} must name a kernel of the plan; `nox -s plan` lists them.",
    )
