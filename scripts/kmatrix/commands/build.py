"""build, verify and push: bring the cells of a plan to a verdict, and record each as soon as it is reached."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from kmatrix.commands.ending import Ending, cut_short
from kmatrix.commands.feature_comparison import features_of_others, planned
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile, module_signer, recipes_for
from kmatrix.commands.recorder import Job, Recorder
from kmatrix.commands.run import opened_run
from kmatrix.commands.showing import showing
from kmatrix.commands.unsigned import note_unsigned
from kmatrix.decide.cut_run import CutRun
from kmatrix.decide.fan_out import in_shard
from kmatrix.decide.plan import make_plan
from kmatrix.decide.release_times import open_results
from kmatrix.effects.disk.git import revision, source
from kmatrix.effects.disk.results import read_releases, read_results
from kmatrix.effects.engine import Engine
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.stages import tables
from kmatrix.stages.cell import push_cell, run_cell
from kmatrix.stages.dockerfiles import foreign_note, write_rendered
from kmatrix.stages.features import note_features
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.reuse import query_neighbours
from kmatrix.stages.run import default_jobs, exit_code, find_published, run_cells, split_published
from kmatrix.stages.run_context import Options, RunContext, new_run
from kmatrix.stages.verify import verify_cell
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit, KmatrixError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.recipe import Recipe


def build(call: Invocation) -> Exit:
    """Plan and render; build, check and push the cells that are not published yet."""
    with _job(call) as job:
        note_unsigned(call, job.chosen)
        return ended(build_job(job))


def build_job(job: Job) -> Ran:
    """Build the cells of a job that are not published yet; open cells and releases are named."""
    call = job.call
    write_rendered(call.root, job.chosen.name, job.recipes, complete=not call.selects)
    if note := foreign_note(call.root, job.chosen.name, job.recipes):
        call.warn(note)

    # Before anything is built.
    signer = module_signer(call, job.chosen.effective)

    def work(recorder: Recorder, run: RunContext) -> None:
        run.planned = recorder.plan.cells
        run.module_signer = signer
        _record_open(recorder, call)
        found: list[CellResult] = []
        left = job.recipes if call.force else split_published(run, job.recipes, found.append)
        # At once: each time the complete file is written.
        recorder.record(*found)
        if not call.force:
            recorder.unpublished = frozenset(recipe.cell.id for recipe in left) - run.ungated.keys()
        if left and call.selects and not call.force and job.chosen.effective.base_packages:
            find_published(run, recipes_for(call, job.chosen, job.pins, recorder.plan))
        query_neighbours(run, [recipe.cell for recipe in left])
        note_features(run, {recipe.cell.id for recipe in left} - run.ungated.keys())
        run_cells(run, run_cell, left, recorder.record)

    return _run(job, work, call.push)


def _record_open(recorder: Recorder, call: Invocation) -> None:
    """Record the cells that cannot be built, of those that this run is about, and name the releases that are open."""
    for release in recorder.plan.open:
        call.warn(str(release))
    plan = in_shard(recorder.plan, call.shard) if call.shard else recorder.plan
    rows = [row for row in plan.rows if not call.only or any(fnmatchcase(row.id, glob) for glob in call.only)]
    if recorder.plan.open:
        recorder.keep(*open_results(rows, recorder.plan.open))


def verify(call: Invocation) -> Exit:
    """Check the images of the cells again: published ones, else the container engine's. Builds and pushes nothing."""
    with _job(call) as job:

        def work(recorder: Recorder, run: RunContext) -> None:
            run.planned = recorder.plan.cells
            query_neighbours(run, [recipe.cell for recipe in job.recipes])
            note_features(run)
            run_cells(run, verify_cell, job.recipes, recorder.record)

        return ended(_run(job, work, False))


def push(call: Invocation) -> Exit:
    """Publish withheld images that passed every gate; an image that is not the tested one is refused."""
    with _job(call) as every:
        withheld = {cell: result for cell, result in _earlier(every).items() if _is_withheld(result)}
        job = replace(every, recipes=[recipe for recipe in every.recipes if recipe.cell.id in withheld])
        if not job.recipes:
            call.conclude(
                "Nothing to push: everything that passed is already published, or "
                f"{call.next('build', job.chosen.name)} has not run yet."
            )
            return Exit.OK
        note_unsigned(call, job.chosen)

        def one(run: RunContext, recipe: Recipe) -> CellResult:
            return push_cell(run, recipe, _as_tested(withheld[recipe.cell.id]))

        def work(recorder: Recorder, run: RunContext) -> None:
            run_cells(run, one, job.recipes, recorder.record)

        return ended(_run(job, work, True))


def _is_withheld(result: CellResult) -> bool:
    # A run that reached no verdict on it leaves an image that passed as it was.
    return result.verdict in ("passed", "errored") and bool(result.image and result.image_id) and not result.digest


def _as_tested(result: CellResult) -> CellResult:
    """Return a withheld cell's result as it was before runs that reached no verdict on it."""
    if result.verdict == "passed":
        return result
    return replace(
        result, verdict="passed", reason="an earlier run found every check passed", findings=(), next_step=""
    )


def _earlier(job: Job) -> dict[str, CellResult]:
    return read_results(job.call.results_path, job.chosen.name)


@dataclass(frozen=True)
class Ran:
    """The outcome of a run.

    `results` are those of its cells, `before` what was known of cells before it; `error` ended it before its last cell.
    """

    code: Exit
    results: tuple[CellResult, ...]
    before: Mapping[str, CellResult]
    error: KmatrixError | None = None


@contextmanager
def _job(call: Invocation) -> Iterator[Job]:
    with opened_run(call) as (chosen, target, engine, pins):
        yield job_for(call, chosen, target, engine, pins)


def job_for(call: Invocation, chosen: SelectedProfile, target: str, engine: Engine, pins: ProfileLock) -> Job:
    """Return the inputs of a run over the cells that --only and --shard select.

    Raises:
        InputError: there is no plan, or it has no cells although no release is open.
    """
    found = make_plan(chosen.name, chosen.effective, pins, call.only)
    if call.shard is not None:
        found = in_shard(found, call.shard)
        call.say(f"shard {call.shard}: {len(found.cells)} cells")
    # Where every release is open, that is what there is to tell, and no fault of matrix.yaml.
    # A shard has none where there are more shards than cells.
    some = found.cells or not (found.open or call.shard)
    recipes = recipes_for(call, chosen, pins, found) if some else []
    return Job(call, chosen, engine, pins, recipes, target)


def _run(job: Job, work: Callable[[Recorder, RunContext], None], pushes: bool) -> Ran:
    call, engine = job.call, job.engine
    every = make_plan(job.chosen.name, job.chosen.effective, job.pins)
    known, earlier = _earlier(job), read_releases(call.results_path, job.chosen.name)
    options = Options(
        root=call.root,
        profile_name=job.chosen.name,
        profile=job.chosen.effective,
        target=job.target,
        jobs=_jobs(call),
        make_jobs=max(1, default_jobs() // _jobs(call)),
        rebuild=secrets.token_hex(6) if call.force else "",
        boot=call.boot,
        push=call.push,
        revision=revision(call.root),
        source=source(call.root),
        places=call.places,
    )
    cut: CutRun | None = None
    error: Exception | KeyboardInterrupt | None = None
    with showing(call, len(job.recipes), known.values()) as progress:
        recorder = Recorder(job, progress, every, known, earlier, engine=engine.in_use().as_dict())
        run = new_run(engine, load_credentials(call.authfile), options, progress, pushes=pushes)
        own = {recipe.cell.id: recipe for recipe in job.recipes}
        run.known_features.update(features_of_others(planned(every, recorder.known), own.keys()))
        try:
            work(recorder, run)
            recorder.compare_features()
        except (Exception, KeyboardInterrupt) as stop:
            # What the run reached is shown first, once the progress is no longer on the terminal.
            error = stop
            cut = cut_short(call, job.chosen.name, stop, "cell", own, recorder.changed)
    results = list(recorder.changed.values())
    gates = gates_of_profile(job.chosen.effective)
    Ending(call, job.chosen.name, gates, results, recorder.releases, cut).show()
    if cut is None:
        call.say(
            f"builds: {engine.builds}, pulls: {engine.pulls}. {call.next('report', job.chosen.name)} shows the latest "
            "result of every cell; build/results.json has all of it."
        )
    if call.boot is None and (lacking := tables.left_out(results, gates)):
        unpushed = "; images that were built are not pushed" if pushes else ""
        again = call.next(call.command, job.chosen.name)
        call.warn(f"warning: --no-boot: {lacking}{unpushed}; {again} runs every gate")
    ran = Ran(exit_code(result.verdict for result in results), tuple(results), recorder.known)
    if error is None:
        return ran
    if isinstance(error, KmatrixError):
        return replace(ran, error=error)
    raise error


def ended(ran: Ran) -> Exit:
    """Return the exit code of a run.

    Raises:
        KmatrixError: it ended the run.
    """
    if ran.error is not None:
        raise ran.error
    return ran.code


def _jobs(call: Invocation) -> int:
    return call.jobs or default_jobs()
