"""The boots of a bundle: with each of its kernels, out of the registry, before it has a tag."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from kmatrix.decide.bundle import Composed, Wanted
from kmatrix.effects.disk.logs import open_log
from kmatrix.stages.boot import boot_image
from kmatrix.stages.concurrency import run_side_by_side
from kmatrix.stages.held_images import SharedImages, hold_image
from kmatrix.stages.progress import stepping
from kmatrix.stages.run_context import RunContext, reason_of
from kmatrix.stages.subject import Subject, subject_of
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Cell, Finding
from kmatrix.values.errors import InterruptedRunError
from kmatrix.values.gate_record import TestedKernel
from kmatrix.values.matrix import mirrored
from kmatrix.values.module import module_path
from kmatrix.values.names import ImageRef


@dataclass(frozen=True)
class BundleBoots:
    """The boots of a bundle of one architecture.

    `findings` has one for each kernel without a pass, and `errored` is whether none of these failed: all are without a
    verdict. `kernels` are those that answered, oldest first.
    """

    findings: tuple[Finding, ...]
    errored: bool
    kernels: tuple[TestedKernel, ...]


def boot_bundle(run: RunContext, wanted: Wanted, bundle: Composed, ref: ImageRef) -> BundleBoots:
    """Boot the bundle of one architecture with each of its kernels whose toolkit is known.

    Raises:
        InterruptedRunError, KeyboardInterrupt: the run was told to stop.
        UnreachableError, CredentialError, ProtocolError, ToolError: the bundle cannot be put or pulled.
    """
    image = put_untagged(run, ref, bundle)
    cells = [image.cell for image in wanted.of(bundle.arch) if image.bootable]
    reports: dict[Cell, BootReport] = {}

    def boot(cell: Cell, toolkits: SharedImages) -> tuple[Cell, BootReport]:
        return cell, _boot(run, toolkits, image.pinned, cell)

    hold_image(run, image)
    try:
        with SharedImages(run, [_toolkit(run, cell) for cell in cells]) as toolkits:
            calls = [partial(boot, cell, toolkits) for cell in cells]
            run_side_by_side(calls, run.options.jobs, lambda booted: reports.update([booted]), run.stop)
    finally:
        run.engine.let_go(image.pinned)
    bad = [(cell, reports[cell]) for cell in cells if reports[cell].verdict != "passed"]
    bad.sort(key=lambda each: each[1].verdict != "failed")
    findings = tuple(Finding("boot", report.code, f"{cell.kernel}: {report.message}") for cell, report in bad)
    kernels = tuple(kernel for cell in cells if (kernel := reports[cell].kernel))
    return BundleBoots(findings, all(report.verdict == "errored" for _, report in bad), kernels)


def put_untagged(run: RunContext, ref: ImageRef, bundle: Composed) -> ImageRef:
    """Put a bundle into the registry without a tag, and return its reference by digest.

    Raises:
        UnreachableError, CredentialError, ProtocolError: it was not written.
    """
    run.registry.put_blob(ref, bundle.config.content)
    untagged = ref.with_tag("")
    return untagged.with_digest(
        run.registry.put_manifest(untagged, bundle.manifest.content, bundle.manifest.media_type)
    )


def _boot(run: RunContext, toolkits: SharedImages, image: str, cell: Cell) -> BootReport:
    name = f"{cell.client}: boot {cell.kernel}"
    run.progress.say(name)
    try:
        with stepping(run.progress, name), toolkits.held(_toolkit(run, cell)) as toolkit:
            return _boot_with(run, toolkit, image, cell)
    except InterruptedRunError:
        raise
    except Exception as error:
        return BootReport("errored", "no-verdict", reason_of(run, error))


def _boot_with(run: RunContext, toolkit: str, image: str, cell: Cell) -> BootReport:
    with run.engine.container(image) as container:
        ko = run.engine.read_file(container, module_path(cell.kernel))
    subject = subject_of(f"bundle-{cell.id}", image, cell, toolkit, ko)
    if not isinstance(subject, Subject):
        return subject
    with open_log(run.logs / f"bundle-{cell.id}.serial.log") as log:

        def line(text: str) -> None:
            log.line(text)
            run.progress.output(cell.id, text)

        report = boot_image(run.engine, run.machines, subject, run.boot_folder, run.options.boot_seconds, line)
        if report.verdict == "passed":
            log.check()
    # A mirror is this site's business; others know the toolkit by its name in the release.
    kernel = replace(report.kernel, toolkit=cell.toolkit.pinned) if report.kernel else None
    return replace(report, kernel=kernel)


def _toolkit(run: RunContext, cell: Cell) -> ImageRef:
    return mirrored(cell.toolkit, run.options.profile.mirrors)
