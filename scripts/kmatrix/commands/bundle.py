"""bundle: compose one image per client version from its published cells; boot every kernel before tagging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from kmatrix.commands.ending import cut_short
from kmatrix.commands.github import cut_annotations, summarise
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile, recipes_for
from kmatrix.commands.run import opened_run, tidy
from kmatrix.commands.showing import showing
from kmatrix.commands.unsigned import note_unsigned
from kmatrix.decide.bundle import wanted_bundles
from kmatrix.decide.bundle_bounds import Bounds, bounds_of
from kmatrix.decide.github_summary import bundle_summary
from kmatrix.decide.kept_results import keep_published
from kmatrix.decide.plan import make_plan
from kmatrix.decide.workflow_commands import annotations_of_bundles
from kmatrix.effects.clock import utc_now
from kmatrix.effects.disk.bundles import read_bundles, update_bundles
from kmatrix.effects.disk.git import revision, source
from kmatrix.effects.engine import Engine
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.stages.bundle import make_bundle
from kmatrix.stages.columns import Column, Row, print_table
from kmatrix.stages.progress import STYLES
from kmatrix.stages.published import published_cells
from kmatrix.stages.run import default_jobs, exit_code
from kmatrix.stages.run_context import Options, RunContext, new_run
from kmatrix.values.boot import BootOptions
from kmatrix.values.bundle import BundleResult
from kmatrix.values.errors import Exit, KmatrixError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import ClientVersion
from kmatrix.values.recipe import Recipe

_COLUMNS = (
    Column("bundle"),
    Column("verdict"),
    Column("arch", 1),
    Column("kernels", 2),
    Column("bundle MB", 4),
    Column("newest kernel's MB", 5),
    Column("toolkit MB", 6),
    Column("digest", 3),
)


def bundle(call: Invocation) -> Exit:
    """Compose, boot and publish the bundles.

    --only selects clients by their cells; the bundle of a client always has all its kernels.

    Raises:
        KmatrixError: the run cannot begin, or the registry cannot answer which cells are published.
    """
    with _job(call) as job:
        note_unsigned(call, job.chosen)
        ran = bundle_job(call, job)
    if ran.error is not None:
        raise ran.error
    return exit_code(result.verdict for result in ran.results)


@dataclass(frozen=True)
class Ran:
    """The outcome of a run: the results of its bundles; `error` ended it before its last bundle."""

    results: tuple[BundleResult, ...]
    error: KmatrixError | None = None


def bundle_job(call: Invocation, job: Job) -> Ran:
    """Compose, boot and publish the bundles of a job, and show their outcomes; an error may end that early."""
    now: list[BundleResult] = []
    name, cut = job.chosen.name, None
    error: Exception | KeyboardInterrupt | None = None
    try:
        _make_bundles(call, job, now)
    except (Exception, KeyboardInterrupt) as stop:
        # What the run reached is shown first.
        error = stop
        selected = [str(client) for client in sorted(job.selected)]
        cut = cut_short(call, name, stop, "bundle", selected, {result.client for result in now})
    if now or not cut:
        print_bundles(call.console, now, failures_only=call.quiet)
    if cut:
        call.conclude(str(cut))
    else:
        call.say("build/bundles.json has the complete results.")
    summarise(call, lambda room: bundle_summary(f"{call.command}: bundles of profile {name}", now, room, cut))
    if call.github:
        call.github.annotate(annotations_of_bundles(now, cut_annotations(call, cut)))
    if error is None or isinstance(error, KmatrixError):
        return Ran(tuple(now), error)
    raise error


def _make_bundles(call: Invocation, job: Job, now: list[BundleResult]) -> None:
    """Compose, boot and publish the bundles of a job; each outcome is written, and added to `now`, at once.

    Raises:
        UnreachableError, CredentialError: the registry cannot answer which cells are published.
    """
    path = call.bundles_path
    name = job.chosen.name
    engine = job.run.engine.in_use().as_dict()
    known = read_bundles(path, name)
    changed: dict[str, BundleResult] = {}
    planned = {recipe.cell.client for recipe in job.recipes}
    order = [str(client) for client in sorted(set(job.chosen.effective.clients) & planned)]
    for client in sorted(set(job.chosen.effective.clients) - planned):
        why = f"{call.next('plan', name)} shows why each candidate is excluded"
        call.warn(f"{client}: no bundle, because the plan has no cell of this client; {why}")
    own = [recipe for recipe in job.recipes if recipe.cell.client in job.selected]
    published = published_cells(job.run, own)
    for wanted in wanted_bundles((recipe.cell for recipe in own), published, job.bounds):
        result = make_bundle(job.run, wanted)
        now.append(result)
        time = utc_now()
        changed[result.client] = keep_published(result, known.get(result.client), time)
        update_bundles(path, name, changed, order, engine)


def print_bundles(console: Console, results: Iterable[BundleResult], failures_only: bool = False) -> None:
    """Print one row for each bundle and architecture, then the reasons, omissions and sizes of each; then the counts.

    Args:
        console: where.
        results: of the bundles.
        failures_only: leaves out the rows and sizes of those that are published, and what is as it should be.
    """
    rows: list[Row] = []
    every = list(results)
    results = [result for result in every if not failures_only or result.verdict in ("failed", "errored")]
    for result in results:
        verdict = Text(result.verdict, style=STYLES[result.verdict])
        digest = result.digest.removeprefix("sha256:")[:12] or "-"
        for image in result.images:
            sizes = [_mega(size) for size in (image.bytes, [*image.kernels.values()][-1], image.toolkit_bytes)]
            rows.append((result.client, verdict, image.arch, str(len(image.kernels)), *sizes, digest))
        if not result.images:
            rows.append((result.client, verdict, *"-----", digest))
    if rows or not failures_only:
        print_table(console, _COLUMNS, rows)
    for result in every:
        for line in _about(result, complete=not failures_only):
            console.print(Text(f"{result.client}: {line}"), soft_wrap=True)
    counts = {verdict: sum(result.verdict == verdict for result in every) for verdict in STYLES}
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    console.print(Text(f"bundles: {found or 'none'}"), soft_wrap=True)


def _about(result: BundleResult, complete: bool) -> Iterator[str]:
    """Yield what there is to say about a bundle: its fault and what it lacks; if `complete`, all of it."""
    if result.verdict in ("failed", "errored"):
        yield result.reason
        # Most reasons have the first finding already.
        yield from (f"{each.code}: {each.message}" for each in result.findings if each.message not in result.reason)
    if complete and result.earlier:
        yield f"with modules that were built earlier, from other inputs: {', '.join(result.earlier)}"
    if result.missing:
        yield f"not included, because unpublished: {', '.join(result.missing)}"
    yield from (f"not included: {cell}: {why}" for cell, why in result.lacking.items())
    if result.dropped:
        yield f"warning: the new bundle drops {', '.join(result.dropped)}"
    yield from (f"kept {kernel} from the earlier bundle: {why}" for kernel, why in result.kept.items())
    for image in result.images if complete else ():
        kernel, size = [*image.kernels.items()][-1]
        yield (
            f"{image.arch}: {image.bytes} bytes compressed, {size} of them for kernel {kernel} alone; "
            f"its toolkit has {image.toolkit_bytes}"
        )


@dataclass(frozen=True)
class Job:
    """The inputs of a run: the recipe of every cell of the plan, and the clients whose bundles it composes.

    `bounds` has for each client the bounds of its bundle.
    """

    chosen: SelectedProfile
    run: RunContext
    recipes: list[Recipe]
    selected: frozenset[ClientVersion]
    bounds: dict[ClientVersion, Bounds]


@contextmanager
def _job(call: Invocation) -> Iterator[Job]:
    with opened_run(call) as (chosen, target, engine, pins):
        selected = make_plan(chosen.name, chosen.effective, pins, call.only).cells
        clients = frozenset(cell.client for cell in selected)
        with job_for(call, chosen, target, engine, pins, clients) as job:
            yield job


@contextmanager
def job_for(
    call: Invocation,
    chosen: SelectedProfile,
    target: str,
    engine: Engine,
    pins: ProfileLock,
    clients: frozenset[ClientVersion],
) -> Iterator[Job]:
    """Begin a run over the bundles of some clients; its machines and leftovers are removed at the end."""
    plan = make_plan(chosen.name, chosen.effective, pins)
    recipes = recipes_for(call, chosen, pins, plan)
    options = Options(
        root=call.root,
        profile_name=chosen.name,
        profile=chosen.effective,
        target=target,
        jobs=call.jobs or default_jobs(),
        boot=call.boot or BootOptions(),
        revision=revision(call.root),
        source=source(call.root),
        places=call.places,
    )
    with showing(call) as progress:
        run = new_run(engine, load_credentials(call.authfile), options, progress, pushes=True)
        try:
            bounds = {client: bounds_of(client, chosen.effective, pins, plan) for client in clients}
            yield Job(chosen, run, recipes, clients, bounds)
        finally:
            run.machines.stop()
            tidy(call, engine)


def _mega(size: int) -> str:
    return f"{size / 1e6:.2f}"
