"""Subjects for a manual boot: one cell, or every kernel of an image that the engine or a registry has."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from kmatrix.decide.plan import make_plan
from kmatrix.effects.engine.inspect import read_cell_image
from kmatrix.stages.gates.mount import judge_templates
from kmatrix.stages.held_images import hold_image
from kmatrix.stages.publish import image_of
from kmatrix.stages.run_context import RunContext
from kmatrix.stages.subject import Subject, subject_of, with_mount
from kmatrix.values import labels
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Cell
from kmatrix.values.errors import InputError, ToolError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import mirrored, required_target
from kmatrix.values.names import ImageRef


@dataclass(frozen=True)
class ManualSubject:
    """A subject that a person named, with its setup for a mount.

    `unmountable` is the report on its configuration templates if they rule out a mount, else None.
    """

    subject: Subject
    unmountable: BootReport | None


def find_subjects(run: RunContext, pins: ProfileLock, name: str) -> list[ManualSubject]:
    """Have a cell's image or a named image in the engine, and return a subject for each of its kernels.

    A cell's image has one kernel, a bundle several.

    Args:
        run: the run.
        pins: of the profile.
        name: a cell's id, or an image reference.

    Raises:
        InputError: the name is neither, or no release of the profile runs the image's kernel.
        ToolError: there is no such image, or it has no module for a kernel that it names.
        UnreachableError, CredentialError, ProtocolError: the registry cannot answer.
    """
    options = run.options
    cells = make_plan(options.profile_name, options.profile, pins).cells
    cell = next((each for each in cells if each.id == name), None)
    ref = image_of(required_target(options.profile_name, options.profile), cell) if cell else _reference(run, name)
    image, place = run.engine.image(str(ref)), "using the local image (it takes precedence over the registry)"
    if image is None:
        place = "using the image of the registry"
        pinned = run.registry.resolve(ref)
        hold_image(run, pinned)
        image = run.engine.image(pinned.pinned)
    if image is None:
        raise ToolError(
            f"the engine has no image {ref}, though it just pulled it",
            "Something else removes images of this engine: end it, and run the same command again.",
        )
    run.progress.say(f"{ref}: {image.id}: {place}")
    kernels = labels.kernels_of_label(image.labels.get(labels.KERNELS, "")) or (image.labels.get(labels.KERNEL, ""),)
    own = [cell] if cell else [_cell_of_kernel(run, cells, kernel, str(ref)) for kernel in kernels]
    return [_subject(run, image.id, each) for each in own]


def _reference(run: RunContext, name: str) -> ImageRef:
    try:
        return ImageRef.parse(name)
    except ValueError as error:
        raise InputError(
            f"{name!r} is no cell of profile {run.options.profile_name}, nor an image reference: {error}",
            f"{run.options.next('plan')} lists the cells.",
        ) from error


def _subject(run: RunContext, image: str, cell: Cell) -> ManualSubject:
    toolkit = mirrored(cell.toolkit, run.options.profile.mirrors).pinned
    facts = read_cell_image(run.engine, image, cell.kernel)
    subject = subject_of(f"by-hand-{secrets.token_hex(3)}", image, cell, toolkit, facts.ko, any_version=True)
    if not isinstance(subject, Subject):
        raise ToolError(
            f"{image}: its module for {cell.kernel} cannot be booted: {subject.message}",
            "This image was not built by kmatrix, or is damaged: "
            f"{run.options.next('build', '--force', '--only', cell.id)} builds it again.",
        )
    # The cell has the kernel alone; the client is whatever the image has.
    major, _, _ = subject.module.version.partition(".")
    client = int(major) if major.isdecimal() else cell.client.major
    mounting = with_mount(subject, facts, client, run.options.boot_seconds)
    return ManualSubject(mounting, judge_templates(facts, client))


def _cell_of_kernel(run: RunContext, cells: tuple[Cell, ...], kernel: str, name: str) -> Cell:
    for cell in cells:
        if cell.kernel == kernel:
            return cell
    raise InputError(
        f"{name} says it is for kernel {kernel or '(no label)'}, which no release of the profile runs",
        f"Its label {labels.KERNEL} must name a kernel of the plan; {run.options.next('plan')} lists them.",
    )
