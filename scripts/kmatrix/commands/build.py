"""build, verify and push: bring the cells of a plan to a verdict, and keep each as soon as it is there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import Chosen, opened_run, recipes_for
from kmatrix.decide.kept_results import keep_known
from kmatrix.decide.plan import make_plan
from kmatrix.effects.disk.git import revision, source
from kmatrix.effects.disk.results import read_results, write_results
from kmatrix.effects.engine import Engine
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages import tables
from kmatrix.stages.cell import push_cell, run_cell, verify_cell
from kmatrix.stages.dockerfiles import foreign_note, write_rendered
from kmatrix.stages.progress import LiveProgress, PlainProgress, Progress
from kmatrix.stages.run import default_jobs, exit_code, find_published, run_cells, split_published
from kmatrix.stages.run_context import Options, RunContext
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit
from kmatrix.values.lock import ProfileLock
from kmatrix.values.recipe import Recipe


def build(call: Invocation) -> Exit:
    """Plan, render, build, check and push whatever is not published yet."""
    with _job(call) as job:
        write_rendered(call.root, job.chosen.name, job.recipes, complete=not call.only)
        if note := foreign_note(call.root, job.chosen.name, job.recipes):
            call.say(note)

        def work(book: _Book, run: RunContext) -> None:
            left = job.recipes if call.force else split_published(run, job.recipes, book.keep)
            book.asked = frozenset(() if call.force else (recipe.cell.id for recipe in left))
            if left and call.only and not call.force and job.chosen.profile.base_packages:
                whole = make_plan(job.chosen.name, job.chosen.profile, job.pins)
                find_published(run, recipes_for(call, job.chosen, job.pins, whole))
            run_cells(run, run_cell, left, _jobs(call), book.keep)

        return _run(job, work, call.push)


def verify(call: Invocation) -> Exit:
    """Check the images of the cells again: the published ones, else the engine's. Builds and pushes nothing."""
    with _job(call) as job:

        def work(book: _Book, run: RunContext) -> None:
            run_cells(run, verify_cell, job.recipes, _jobs(call), book.keep)

        return _run(job, work, pushes=False)


def push(call: Invocation) -> Exit:
    """Publish what passed and was kept back; an image that is not the tested one is refused."""
    # What was built without the boot gate has the key of fewer gates.
    call = replace(call, boot=None) if call.push_unbooted else call
    with _job(call) as whole:
        kept_back = {cell: result for cell, result in _earlier(whole).items() if _is_kept_back(result)}
        job = replace(whole, recipes=[recipe for recipe in whole.recipes if recipe.cell.id in kept_back])
        if not job.recipes:
            call.say("nothing is kept back: what passed is published already, or `nox -s build` was not run")
            return Exit.OK

        def one(run: RunContext, recipe: Recipe) -> CellResult:
            return push_cell(run, recipe, _as_tested(kept_back[recipe.cell.id]))

        def work(book: _Book, run: RunContext) -> None:
            run_cells(run, one, job.recipes, _jobs(call), book.keep)

        return _run(job, work, pushes=True)


def _is_kept_back(result: CellResult) -> bool:
    # A run that reached no verdict on it leaves an image that passed as it was.
    return result.verdict in ("passed", "errored") and bool(result.image and result.image_id) and not result.digest


def _as_tested(result: CellResult) -> CellResult:
    """What is kept back, as it was before runs that reached no verdict on it."""
    if result.verdict == "passed":
        return result
    return replace(
        result, verdict="passed", reason="an earlier run found every check passed", findings=(), next_step=""
    )


def _earlier(job: _Job) -> dict[str, CellResult]:
    return read_results(job.call.results_path, job.chosen.name)


@dataclass(frozen=True)
class _Job:
    call: Invocation
    chosen: Chosen
    engine: Engine
    pins: ProfileLock
    recipes: list[Recipe]
    target: str


@dataclass
class _Book:
    """The results of this run and of earlier ones, written after every cell.

    `asked` are the cells of which the registry said, before this run built them, that it has none of their inputs of
    now.
    """

    job: _Job
    progress: Progress
    known: Mapping[str, CellResult]
    order: tuple[str, ...]
    asked: frozenset[str] = frozenset()
    changed: dict[str, CellResult] = field(default_factory=dict)
    engine: Mapping[str, str] | None = None

    def keep(self, result: CellResult) -> None:
        """Take a cell's result."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        result = keep_known(result, self.known.get(result.cell), now, asked=result.cell in self.asked)
        self.changed[result.cell] = result
        write_results(self.job.call.results_path, self.job.chosen.name, self.changed, self.order, self.engine)
        self.progress.done(result)


@contextmanager
def _job(call: Invocation) -> Iterator[_Job]:
    with opened_run(call) as (chosen, target, engine, pins):
        found = make_plan(chosen.name, chosen.profile, pins, call.only)
        yield _Job(call, chosen, engine, pins, recipes_for(call, chosen, pins, found), target)


def _run(job: _Job, work: Callable[[_Book, RunContext], None], pushes: bool) -> Exit:
    call, engine = job.call, job.engine
    total = len(job.recipes)
    shown = LiveProgress(call.console, total) if call.console.is_terminal else None
    progress: Progress = shown or PlainProgress(call.console, total)
    order = tuple(cell.id for cell in make_plan(job.chosen.name, job.chosen.profile, job.pins).cells)
    book = _Book(job, progress, _earlier(job), order, engine=engine.in_use().as_dict())
    credentials = load_credentials(call.authfile)
    registry = RegistryWriter(credentials, pushes_to=job.target if pushes else "")
    options = Options(
        root=call.root,
        profile_name=job.chosen.name,
        profile=job.chosen.profile,
        target=job.target,
        make_jobs=max(1, default_jobs() // _jobs(call)),
        rebuild=secrets.token_hex(6) if call.force else "",
        boot=call.boot,
        push=call.push,
        push_unbooted=call.push_unbooted,
        revision=revision(call.root),
        source=source(call.root),
    )
    machines = Machines(call.boot.accel if call.boot else "auto")
    run = RunContext(engine, registry, credentials, options, progress, machines)
    with shown or nullcontext():
        work(book, run)
    results = list(book.changed.values())
    tables.print_results(call.console, results)
    call.say(
        f"builds: {engine.builds}, pulls: {engine.pulls}. "
        "`nox -s report` shows this table again; build/results.json has all of it."
    )
    if call.boot is None and any(result.verdict == "passed" for result in results):
        word = "and PUSHED" if call.push_unbooted else "and not pushed"
        call.say(f"warning: --no-boot: what passed was not loaded in its kernel {word}; `nox -s build` boots it")
    return exit_code(result.verdict for result in results)


def _jobs(call: Invocation) -> int:
    return call.jobs or default_jobs()
