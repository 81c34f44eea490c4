"""One cell from its recipe to its verdict: build, check, push; shared work is shared, nothing else is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO

from kmatrix.decide.buildlog import causes, code_of
from kmatrix.decide.checks import check_module
from kmatrix.decide.kernelfacts import kernel_facts
from kmatrix.effects.context import pack_context
from kmatrix.effects.credentials import Credentials
from kmatrix.effects.engine import BuiltImage, Engine, InterruptedRunError
from kmatrix.effects.inspect import read_cell_image, read_toolkit
from kmatrix.effects.packages import PackageRoot
from kmatrix.effects.registry import Registry
from kmatrix.stages.once import Once
from kmatrix.stages.progress import Progress
from kmatrix.stages.publish import image_of, published_digest, push_image
from kmatrix.values import labels
from kmatrix.values.cells import CellResult, Finding, Verdict
from kmatrix.values.errors import BuildError, InputError, KmatrixError, ProtocolError
from kmatrix.values.matrix import Profile
from kmatrix.values.module import Expectation, KernelFacts
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import ImageSource, Recipe

_REVISION = "org.opencontainers.image.revision"
_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True)
class Options:
    """What a run was asked for.

    `rebuild` makes every cell anew (a word that differs from run to run); `make_jobs` is make's own
    number of jobs in one cell; `push` is whether what passed is published.
    """

    root: Path
    profile: Profile
    target: str
    make_jobs: int = 1
    rebuild: str = ""
    push: bool = True
    revision: str = ""


@dataclass
class Workshop:
    """What the cells of a run share."""

    engine: Engine
    registry: Registry
    credentials: Credentials
    options: Options
    source: ImageSource
    progress: Progress
    groups: Once[BuiltImage] = field(default_factory=Once)
    toolkits: Once[None] = field(default_factory=Once)
    kernels: Once[KernelFacts] = field(default_factory=Once)
    files: Once[bytes] = field(default_factory=Once)
    garbage: list[str] = field(default_factory=list)

    @property
    def logs(self) -> Path:
        """Where each cell's log goes."""
        return self.options.root / "build" / "logs"


class _Run:
    """One cell under way: its stages' times and its log."""

    def __init__(self, shop: Workshop, recipe: Recipe, log: IO[str]) -> None:
        self.shop = shop
        self.recipe = recipe
        self.log = log
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and show it."""
        if self.shop.engine.stopping:
            raise InterruptedRunError
        self.shop.progress.stage(self.recipe.cell.id, name)
        start = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = round(time.monotonic() - start, 3)

    def line(self, text: str) -> None:
        """Add a line to the log."""
        self.log.write(text + "\n")
        self.log.flush()


def already_published(shop: Workshop, recipe: Recipe) -> CellResult | None:
    """Return the cell's result if the registry has it, made from the same inputs; only the registry is asked."""
    ref = image_of(shop.options.target, recipe.cell)
    digest = published_digest(shop.registry, ref, recipe.cell, recipe.cell_key)
    if digest is None:
        return None
    return _result(recipe, "skipped", "already published, made from the same inputs", image=str(ref), digest=digest)


def run_cell(shop: Workshop, recipe: Recipe) -> CellResult:
    """Bring one cell to its verdict; whatever happens to it touches no other.

    Raises:
        InterruptedRunError: the run was told to stop; the cell has no verdict then.
    """
    path = shop.logs / f"{recipe.cell.id}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as log:
        run = _Run(shop, recipe, log)
        try:
            result = _build_check_push(run)
        except BuildError as error:
            reason = error.excerpt[0] if error.excerpt else error.message
            findings = tuple(Finding("build", code_of(line), line) for line in error.excerpt or (reason,))
            result = _result(recipe, "failed", f"build: {reason}", findings=findings)
        except KmatrixError as error:
            if shop.engine.stopping:
                raise InterruptedRunError from error
            result = _result(recipe, "errored", error.message)
            run.line(f"kmatrix: {error.message} {error.hint}".rstrip())
        for finding in result.findings:
            run.line(f"kmatrix: {finding.code}: {finding.message}")
        run.line(f"kmatrix: {result.verdict}: {result.reason}")
    return replace(result, stages=run.stages, log=str(path.relative_to(shop.options.root)))


def _build_check_push(run: _Run) -> CellResult:
    shop, recipe, cell = run.shop, run.recipe, run.recipe.cell
    toolkit = recipe.toolkit.pinned
    with run.stage("prepare"):
        shop.toolkits.get(toolkit, lambda: _pull(shop, recipe.toolkit))
        context = _context(shop, recipe)
        group = shop.groups.get(recipe.group, lambda: _build_group(run, context))
    with run.stage("build"):
        built = _build(run, context)
        shop.garbage += [image for image in built.intermediates if image not in group.intermediates]
    with run.stage("check"):
        facts = shop.kernels.get(
            f"{toolkit} {cell.kernel}",
            lambda: kernel_facts(cell.kernel, read_toolkit(shop.engine, toolkit, cell.kernel)),
        )
        image = read_cell_image(shop.engine, built.id, cell.kernel, cell.tag)
        report = check_module(Expectation(cell, recipe.cell_key, shop.options.profile.rdma), image, facts)
    for note in report.notes:
        run.line(f"kmatrix: note: {note}")
    if not report.passed:
        first = report.findings[0]
        more = f" (and {len(report.findings) - 1} more findings)" if len(report.findings) > 1 else ""
        return _result(recipe, "failed", f"{first.code}: {first.message}{more}", findings=report.findings)
    ref = image_of(shop.options.target, cell)
    if not shop.options.push:
        shop.engine.tag(built.id, ref.repository, ref.tag)
        reason = "every check passed; not pushed (--no-push)"
        return _result(recipe, "passed", reason, image=str(ref), srcversion=report.srcversion)
    with run.stage("push"):
        digest = push_image(shop.engine, shop.registry, shop.credentials, built.id, ref, cell)
    reason = "every check passed"
    return _result(recipe, "passed", reason, image=str(ref), digest=digest, srcversion=report.srcversion)


def _build_group(run: _Run, context: bytes) -> BuiltImage:
    """Build the stages below the compile: packages are verified and unpacked here, once for all kernels."""
    shop = run.shop
    _pull(shop, run.recipe.base)
    # Only what the base lacks is installed from a network; verifying and unpacking need none.
    network = "default" if shop.options.profile.base_packages else "none"
    return _logged_build(run, context, target="userland", network=network)


def _pull(shop: Workshop, image: ImageRef) -> None:
    shop.engine.pull(image.pinned, shop.credentials.for_engine(image))


def _build(run: _Run, context: bytes) -> BuiltImage:
    options, recipe = run.shop.options, run.recipe
    arguments = {"MAKE_JOBS": str(options.make_jobs)}
    if options.rebuild:
        arguments["REBUILD"] = options.rebuild
    image_labels = {
        **labels.cell_labels(recipe.cell, recipe.cell_key),
        _TITLE: f"BeeGFS client {recipe.cell.client} for kernel {recipe.cell.kernel}",
        _REVISION: options.revision,
    }
    return _logged_build(run, context, buildargs=arguments, labels=image_labels)


def _logged_build(
    run: _Run,
    context: bytes,
    target: str | None = None,
    network: str = "none",
    buildargs: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
) -> BuiltImage:
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        run.line(line)

    try:
        return run.shop.engine.build(
            context, on_line=on_line, target=target, network=network, buildargs=buildargs, labels=labels
        )
    except BuildError as error:
        raise BuildError(error.message, causes(lines)) from error


def _context(shop: Workshop, recipe: Recipe) -> bytes:
    """The archive the engine gets: Dockerfile, our scripts, the key, the packages, each checked against its pin."""
    cache = shop.options.root / "build" / "packages"
    root = PackageRoot(shop.options.profile.packages, shop.options.root)
    files = dict(shop.source.files)

    def brought(location: str, sha256: str) -> bytes:
        target = cache / sha256
        root.fetch(f"{recipe.repository}/{location}", sha256, target)
        try:
            return target.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {target}: {error.strerror}") from error

    wanted = {"package-key": (recipe.key.location, recipe.key.sha256)}
    wanted |= {f"packages/{package.file}": (package.pin.location, package.pin.sha256) for package in recipe.packages}
    for name, (location, sha256) in wanted.items():
        files[name] = shop.files.get(sha256, partial(brought, location, sha256))
    if len(files) != len(shop.source.files) + len(wanted):
        raise ProtocolError("a file under images/beegfs-client/ has the name of a package file")
    return pack_context(recipe.dockerfile, files)


def _result(
    recipe: Recipe,
    verdict: Verdict,
    reason: str,
    image: str = "",
    digest: str = "",
    findings: tuple[Finding, ...] = (),
    srcversion: str = "",
) -> CellResult:
    cell = recipe.cell
    return CellResult(
        cell=cell.id,
        client=str(cell.client),
        kernel=cell.kernel,
        releases=cell.releases,
        verdict=verdict,
        reason=reason,
        image=image,
        digest=digest,
        findings=findings,
        srcversion=srcversion,
    )
