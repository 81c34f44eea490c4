"""boot: the boot gate by hand, with the serial console shown live, or an interactive prompt in the guest."""

from __future__ import annotations

import secrets

from kmatrix.commands.invocation import Chosen, Invocation, choose, pins_for
from kmatrix.decide.bootcheck import Booted
from kmatrix.decide.elf import MalformedElfError, read_module
from kmatrix.decide.plan import make_plan
from kmatrix.effects.credentials import load_credentials
from kmatrix.effects.engine import Engine
from kmatrix.effects.inspect import read_cell_image
from kmatrix.effects.qemu import Machines
from kmatrix.effects.registry import Registry
from kmatrix.stages.bootgate import Subject, boot_image, prepare_guest, remove_guest
from kmatrix.stages.publish import image_of
from kmatrix.stages.workshop import BootOptions
from kmatrix.values import labels
from kmatrix.values.cells import Cell
from kmatrix.values.errors import Exit, InputError, ToolError
from kmatrix.values.matrix import mirrored, required_target
from kmatrix.values.names import ImageRef


def boot(call: Invocation) -> Exit:
    """Boot one cell, or any image that has a module for a kernel of the profile; judges nothing else of it."""
    chosen = choose(call)
    options = call.boot or BootOptions()
    machines = Machines(options.accel)
    with Engine(secrets.token_hex(6)) as engine:
        try:
            subject = find_subject(call, chosen, engine, call.subject)
            folder = call.root / "build" / "boot"
            if call.shell:
                guest = prepare_guest(engine, subject, folder, interactive=True)
                try:
                    machines.attach(guest)
                finally:
                    remove_guest(guest)
                return Exit.OK
            deadline = options.deadline_seconds
            report = boot_image(engine, machines, subject, folder, deadline, lambda line: call.say(_visible(line)))
        finally:
            machines.stop()
            engine.remove_leftovers()
    print(f"{report.verdict}: {report.code}: {report.message}")
    return {"passed": Exit.OK, "failed": Exit.FAILED, "errored": Exit.ERRORED}[report.verdict]


def find_subject(call: Invocation, chosen: Chosen, engine: Engine, name: str) -> Subject:
    """Bring a cell's or a named image and its toolkit into the engine, and read what its module says of itself.

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
        engine.pull(pinned, credentials.for_engine(ref))
        image = engine.image(pinned)
    if image is None:
        raise ToolError(f"the engine has no image {ref}")
    call.say(f"{ref}: {image['Id']} from {place}")
    found = (image.get("Config") or {}).get("Labels") or {}
    kernel = cell.kernel if cell else found.get(labels.KERNEL, "")
    cell = cell or _cell_of_kernel(cells, kernel, str(ref))
    toolkit = mirrored(cell.toolkit, chosen.profile.mirrors)
    engine.pull(toolkit.pinned, credentials.for_engine(toolkit))
    facts = read_cell_image(engine, str(image["Id"]), kernel)
    try:
        module = read_module(facts.ko or b"")
    except MalformedElfError as fault:
        raise ToolError(f"{ref}: its module cannot be read: {fault.message}") from fault
    booted = Booted(kernel, module.first("version") or "", module.first("srcversion") or "")
    return Subject(
        f"by-hand-{secrets.token_hex(3)}", str(image["Id"]), toolkit.pinned, cell.arch, booted, module.depends
    )


def _visible(line: str) -> str:
    """A line of a guest's console, which must not steer the terminal it is shown on."""
    return "".join(each if each.isprintable() or each == "\t" else f"\\x{ord(each):02x}" for each in line)


def _cell_of_kernel(cells: tuple[Cell, ...], kernel: str, name: str) -> Cell:
    for cell in cells:
        if cell.kernel == kernel:
            return cell
    raise InputError(
        f"{name} says it is for kernel {kernel or '(no label)'}, which no release of the profile runs",
        f"Its label {labels.KERNEL} must name a kernel of the plan; `nox -s plan` lists them.",
    )
