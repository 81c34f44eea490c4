"""bundle: composes a client's published cells in the registry, boots each kernel, and only then gives it its tag."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

from kmatrix.decide.boot import Booted
from kmatrix.decide.bundle import (
    CellImage,
    Composed,
    Document,
    Layer,
    Wanted,
    compose,
    manifest_list,
)
from kmatrix.decide.formats.elf import MalformedElfError, read_module
from kmatrix.decide.module_images import module_images
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.engine import Engine
from kmatrix.effects.registry.client import Manifest
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages.boot import Subject, boot_image
from kmatrix.stages.bundle_kept import keep_kernels, put_restored
from kmatrix.stages.concurrency import DaemonPool, map_threads
from kmatrix.stages.module_images import Choice, choose_module_images, put_module_images
from kmatrix.stages.patience import held
from kmatrix.stages.publish import IMAGE, image_of
from kmatrix.stages.run_context import BootOptions
from kmatrix.values import labels
from kmatrix.values.boot import BootReport
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.cells import Cell, Finding, Verdict
from kmatrix.values.command_lines import command
from kmatrix.values.errors import InterruptedRunError, KmatrixError, ProtocolError
from kmatrix.values.matrix import Profile, mirrored
from kmatrix.values.module import IMAGE_MODULES
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe
from kmatrix.values.redaction import redacted
from kmatrix.values.text import plain

_ASKING_THREADS = 8
_ENDING_SECONDS = 15


@dataclass(frozen=True)
class Packing:
    """What the bundles of one run share; `say` is given a line for people."""

    engine: Engine
    registry: RegistryWriter
    credentials: Credentials
    machines: Machines
    root: Path
    profile_name: str
    profile: Profile
    target: str
    boot: BootOptions
    jobs: int
    say: Callable[[str], None]

    @property
    def logs(self) -> Path:
        """Where the guests' consoles are written: another profile may have a cell of the same name."""
        return self.root / "build" / "logs" / self.profile_name


def published_cells(packing: Packing, recipes: Iterable[Recipe]) -> tuple[list[CellImage], dict[str, str]]:
    """Ask the registry which cells passed every gate and are published, from the inputs of now or from others.

    Returns:
        their images, and the cells whose image cannot be read, by id, each with the reason: these may be published.

    Raises:
        UnreachableError, CredentialError: it could not tell.
    """
    recipes = tuple(recipes)
    found = map_threads(partial(_published_cell, packing), recipes, _ASKING_THREADS)
    images = [image for image in found if isinstance(image, CellImage)]
    return images, {
        recipe.cell.id: answer.message
        for recipe, answer in zip(recipes, found, strict=True)
        if isinstance(answer, ProtocolError)
    }


def make_bundle(packing: Packing, wanted: Wanted) -> BundleResult:
    """Bring one client's bundle to its verdict; whatever happens to it touches no other.

    Raises:
        InterruptedRunError, KeyboardInterrupt: the run was told to stop; the bundle has no verdict then.
    """
    wanted = replace(wanted, profile_name=packing.profile_name)
    ref = ImageRef.parse(f"{packing.target}/{IMAGE}:{wanted.client}")
    earlier = tuple(image.cell.id for image in wanted.images if not image.current)
    blank = BundleResult(str(wanted.client), str(ref), "errored", "", earlier=earlier, missing=wanted.missing)
    if len(earlier) == len(wanted.images):
        count = len(wanted.missing) + len(earlier) + len(wanted.unread)
        reason = f"none of its {count} cells is published as it would be built now"
        reason += f"; run {command('build', packing.profile_name)}"
        return _with_unread(replace(blank, reason=reason), wanted)
    try:
        return _with_unread(_make(packing, wanted, ref, blank), wanted)
    except KmatrixError as error:
        if packing.engine.stopping:
            raise InterruptedRunError from error
        return replace(blank, reason=_told(error))
    except InterruptedRunError:
        raise
    except Exception as error:
        return replace(blank, reason=_fault(packing, error))


def _told(error: KmatrixError) -> str:
    return f"{error.message}. {error.hint}".rstrip(". ")


def _fault(packing: Packing, error: Exception) -> str:
    """What is told of a fault of this tool, which must not take other bundles with it; people get where it was."""
    if packing.engine.stopping:
        raise InterruptedRunError from error
    packing.say(redacted(plain(traceback.format_exc())))
    return redacted(f"a fault of kmatrix itself: {type(error).__name__}: {error}")


def _with_unread(result: BundleResult, wanted: Wanted) -> BundleResult:
    """A bundle is errored, even though it is published, if the registry could not tell of a cell that belongs in it."""
    if not wanted.unread:
        return result
    findings = tuple(
        Finding("published-cells", "cell-image-unreadable", f"{cell}: {message}")
        for cell, message in wanted.unread.items()
    )
    others = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    again = command("build", wanted.profile_name, "--force", "--only", next(iter(wanted.unread)))
    hint = f"{again} makes it again, if it is broken for good"
    reason = f"{result.reason}; but {findings[0].message}{others}; {hint}"
    verdict: Verdict = "failed" if result.verdict == "failed" else "errored"
    return replace(result, verdict=verdict, reason=reason, findings=(*result.findings, *findings))


def _make(packing: Packing, wanted: Wanted, ref: ImageRef, blank: BundleResult) -> BundleResult:
    there = packing.registry.named(ref)
    bounded = keep_kernels(packing.registry, ref, wanted, there, packing.say)
    wanted = bounded.wanted
    blank = replace(blank, missing=wanted.missing, dropped=bounded.dropped, kept=bounded.kept)
    composed = [compose(wanted.client, wanted.of(arch), wanted.profile_name) for arch in wanted.arches]
    whole = manifest_list(composed)
    before = there.digest if there else None
    chosen = _choose_modules(packing, wanted, ref)
    result = replace(
        blank,
        kernels=tuple(kernel for each in composed for kernel in each.kernels),
        arches=tuple(wanted.arches),
        images=tuple(_measured(packing, wanted, each) for each in composed),
        findings=(chosen,) if isinstance(chosen, Finding) else (),
    )
    if before == whole.digest:
        modules = _put_modules(packing, wanted, chosen)
        reason = "already published, of the same cells"
        return _with_modules(replace(result, verdict="skipped", reason=reason, digest=before), modules)
    for each in composed:
        findings, errored = _boot_each(packing, wanted, each, ref)
        if findings:
            others = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            reason = f"{findings[0].code}: {findings[0].message}{others}; not published"
            verdict: Verdict = "errored" if errored else "failed"
            return replace(result, verdict=verdict, reason=reason, findings=(*findings, *result.findings))
    packing.say(f"{wanted.client}: push")
    for each in composed:
        # Boots take time, and a registry may clear away by then what has no tag.
        _put_untagged(packing, ref, each)
    modules = _put_modules(packing, wanted, chosen)
    digest = packing.registry.put_manifest(ref, whole.content, whole.media_type)
    if packing.registry.digest_of(ref) != digest:
        raise ProtocolError(
            f"{ref}: the registry has something else there than what was tested, {digest}",
            "Something else writes to this repository; give this project one of its own.",
        )
    reason = _loaded(wanted)
    return _with_modules(replace(result, verdict="passed", reason=reason, digest=digest), modules)


def _loaded(wanted: Wanted) -> str:
    booted = sum(image.bootable for image in wanted.images)
    rest = len(wanted.images) - booted
    every = "each of its " if booted > 1 and not rest else ""
    before = f"; {rest} kept from the bundle before, where {'it was' if rest == 1 else 'they were'} loaded"
    return f"loaded in {every}{booted} kernel{'s' if booted != 1 else ''}" + (before if rest else "")


def _choose_modules(packing: Packing, wanted: Wanted, ref: ImageRef) -> Choice | Finding:
    """Choose the bundle's module images; a finding says why that cannot be done, which keeps back no bundle."""
    try:
        return choose_module_images(packing.registry, ref, module_images(wanted))
    except KmatrixError as error:
        return _without_modules(packing, "module-image-unknown", error)


def _put_modules(packing: Packing, wanted: Wanted, choice: Choice | Finding) -> dict[str, str] | Finding:
    """Put the module images that are new under their tags; returns the image of every kernel, by digest."""
    if isinstance(choice, Finding):
        return choice
    chosen, new = choice
    try:
        if new:
            put_restored(packing.registry, new[0].ref, wanted)
        put_module_images(packing.registry, new)
    except KmatrixError as error:
        return _without_modules(packing, "module-image-not-put", error)
    kept = sum(each.stays for each in chosen)
    packing.say(
        f"{wanted.client}: for Kernel Module Management: {len(chosen)} images, {len(new)} of them new"
        + (f", {kept} kept for their modules, which are the same" if kept else "")
    )
    digests = {image.cell: each.ref.with_digest(each.digest).pinned for each in chosen for image in each.image.cells}
    return {image.cell.kernel: digests[image.cell] for image in wanted.images}


def _without_modules(packing: Packing, code: str, error: KmatrixError) -> Finding:
    """What is wrong with the module images; not of a run that is told to stop, whose errors say nothing."""
    if packing.engine.stopping:
        raise error
    return Finding("module-images", code, f"{error.message} {error.hint}".rstrip())


def _with_modules(result: BundleResult, modules: dict[str, str] | Finding) -> BundleResult:
    """A published bundle with its module images; errored, though it is published, for what is wrong with these."""
    if isinstance(modules, Finding):
        reason = f"{result.reason}, but has no images for Kernel Module Management: {modules.message}"
        return replace(result, verdict="errored", reason=reason, findings=(modules,))
    return replace(result, modules=modules)


def _boot_each(packing: Packing, wanted: Wanted, bundle: Composed, ref: ImageRef) -> tuple[tuple[Finding, ...], bool]:
    """Boot a bundle with each of its kernels whose toolkit is known, out of the registry, where it has no tag yet.

    Returns:
        what is wrong with it, and whether that leaves every kernel without a verdict of failed.
    """
    pinned = _put_untagged(packing, ref, bundle)
    cells = [image.cell for image in wanted.of(bundle.arch) if image.bootable]
    toolkits = _Toolkits(packing, cells)
    held(packing.engine, packing.credentials, ImageRef.parse(pinned))
    try:
        reports = _side_by_side(packing, partial(_boot, packing, toolkits, pinned), cells)
    finally:
        toolkits.remove_rest()
        packing.engine.let_go(pinned)
    bad = [(cell, report) for cell, report in zip(cells, reports, strict=True) if report.verdict != "passed"]
    bad.sort(key=lambda each: each[1].verdict != "failed")
    findings = tuple(Finding("boot", report.code, f"{cell.kernel}: {report.message}") for cell, report in bad)
    return findings, all(report.verdict == "errored" for _, report in bad)


def _put_untagged(packing: Packing, ref: ImageRef, bundle: Composed) -> str:
    """Put a bundle where it can be pulled by its digest alone; returns that reference."""
    packing.registry.put_blob(ref, bundle.config.content)
    untagged = ref.with_tag("")
    digest = packing.registry.put_manifest(untagged, bundle.manifest.content, bundle.manifest.media_type)
    return untagged.with_digest(digest).pinned


class _Toolkits:
    """The toolkits of a bundle's cells: what the engine did not have before goes after the last boot that needs it.

    A bundle of many kernels needs as many toolkits, which no disk has the room for.
    """

    def __init__(self, packing: Packing, cells: Iterable[Cell]) -> None:
        self._packing = packing
        self._lock = Lock()
        self._waiting = Counter(self._reference(cell).pinned for cell in cells)

    @contextmanager
    def of(self, cell: Cell) -> Iterator[str]:
        """Have a cell's toolkit in the engine; once for each cell."""
        toolkit = self._reference(cell)
        try:
            held(self._packing.engine, self._packing.credentials, toolkit)
            yield toolkit.pinned
        finally:
            with self._lock:
                self._waiting[toolkit.pinned] -= 1
                last = not self._waiting[toolkit.pinned]
            if last:
                self._packing.engine.let_go(toolkit.pinned)

    def remove_rest(self) -> None:
        """Remove what a run that ended early did not come to."""
        for pinned, cells in self._waiting.items():
            if cells:
                self._packing.engine.let_go(pinned)

    def _reference(self, cell: Cell) -> ImageRef:
        return mirrored(cell.toolkit, self._packing.profile.mirrors)


def _boot(packing: Packing, toolkits: _Toolkits, image: str, cell: Cell) -> BootReport:
    packing.say(f"{cell.client}: boot {cell.kernel}")
    try:
        with toolkits.of(cell) as toolkit:
            return _boot_with(packing, toolkit, image, cell)
    except MalformedElfError as fault:
        return BootReport("failed", "module-unreadable", fault.message)
    except KmatrixError as error:
        if packing.engine.stopping:
            raise InterruptedRunError from error
        return BootReport("errored", "no-verdict", _told(error))
    except InterruptedRunError:
        raise
    except Exception as error:
        return BootReport("errored", "no-verdict", _fault(packing, error))


def _boot_with(packing: Packing, toolkit: str, image: str, cell: Cell) -> BootReport:
    path = f"{IMAGE_MODULES}/{cell.kernel}/extra/beegfs.ko"
    with packing.engine.container(image) as container:
        content = packing.engine.read_file(container, path)
    if content is None:
        return BootReport("failed", "module-missing", f"the bundle has no {path}")
    module = read_module(content)
    booted = Booted(cell.kernel, str(cell.client), module.first("srcversion") or "")
    subject = Subject(f"bundle-{cell.id}", image, toolkit, cell.arch, booted, module.depends)
    with open_log(packing.logs / f"bundle-{cell.id}.serial.log") as log:
        report = boot_image(
            packing.engine,
            packing.machines,
            subject,
            packing.root / "build" / "boot",
            packing.boot.deadline_seconds,
            log.line,
        )
        if report.verdict == "passed":
            log.check()
        return report


def _side_by_side(packing: Packing, boot: Callable[[Cell], BootReport], cells: list[Cell]) -> list[BootReport]:
    """Boot several kernels at a time; Ctrl-C ends all of them before it ends this."""
    pool: DaemonPool[BootReport] = DaemonPool(packing.jobs)
    futures = [pool.submit(partial(boot, cell)) for cell in cells]
    try:
        return [future.result() for future in futures]
    except BaseException:
        packing.engine.stop()
        packing.machines.stop()
        for future in futures:
            future.cancel()
        wait(futures, timeout=_ENDING_SECONDS)
        raise
    finally:
        pool.close()


def _published_cell(packing: Packing, recipe: Recipe) -> CellImage | ProtocolError | None:
    """Ask for the image of a cell; an error stands for an answer from which it cannot be told what is published."""
    cell, registry = recipe.cell, packing.registry
    try:
        manifest = registry.manifest(image_of(packing.target, cell), cell.arch)
        if manifest is None:
            return None
        found = registry.labels(manifest)
        current = found.get(labels.CELL_KEY) in recipe.satisfying_keys
        passed = set(found.get(labels.GATES, "").split(",")) >= set(recipe.gates)
        if not current and not (passed and found.get(labels.VERSION) == cell.id):
            return None
        layers = tuple(Layer(*layer) for layer in manifest.layers)
        document = Document(manifest.media_type, manifest.content)
        return CellImage(cell, document, layers, registry.config(manifest), current)
    except ProtocolError as error:
        packing.say(f"{cell.id}: its image cannot be read: {error.message}")
        return error


def _measured(packing: Packing, wanted: Wanted, bundle: Composed) -> BundleImage:
    toolkit_bytes = 0
    # For a comparison alone; whoever boots needs the toolkit itself.
    with suppress(KmatrixError, IndexError):
        newest = [image.cell for image in wanted.of(bundle.arch) if image.bootable][-1]
        toolkit = _manifest(packing, mirrored(newest.toolkit, packing.profile.mirrors), newest)
        toolkit_bytes = sum(size for _, _, size in toolkit.layers)
    return BundleImage(
        arch=bundle.arch,
        digest=bundle.manifest.digest,
        bytes=bundle.size,
        kernels={kernel: layer.size for kernel, layer in bundle.kernels.items()},
        toolkit_bytes=toolkit_bytes,
    )


def _manifest(packing: Packing, ref: ImageRef, cell: Cell) -> Manifest:
    found = packing.registry.manifest(ref, cell.arch)
    if found is None:
        raise ProtocolError(
            f"{ref}: the registry says there is no such image", "Was it removed just now? Run it again."
        )
    return found
