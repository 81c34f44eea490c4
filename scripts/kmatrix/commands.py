"""The commands, each a few steps over the stages."""

from __future__ import annotations

import json
import secrets
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from kmatrix.decide.plan import Plan, make_plan, plan_json
from kmatrix.decide.read_matrix import read_matrix
from kmatrix.decide.render import make_recipe
from kmatrix.effects.context import read_image_source
from kmatrix.effects.credentials import load_credentials
from kmatrix.effects.engine import Engine
from kmatrix.effects.files import read_text, write_atomically
from kmatrix.effects.registry import Registry
from kmatrix.effects.results import read_results, write_results
from kmatrix.lab import up as lab_up
from kmatrix.lab.layout import layout_of
from kmatrix.stages import tables
from kmatrix.stages.cellrun import Options, Workshop
from kmatrix.stages.discover import discover
from kmatrix.stages.progress import LiveProgress, PlainProgress
from kmatrix.stages.run import default_jobs, exit_code, run_cells, split_published
from kmatrix.stages.tree import check_rendered, write_rendered
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.lock import Lock, ProfileLock, inputs_digest, pins_of, read_lock, write_lock
from kmatrix.values.matrix import Profile, required_target
from kmatrix.values.overrides import Overrides, override
from kmatrix.values.recipe import ImageSource, Recipe

LAB = "lab"
EXPLAIN = "`nox -s report` shows this table again; build/results.json has all of it."


@dataclass(frozen=True)
class Invocation:
    """What the command line asked for; paths are absolute."""

    root: Path
    console: Console
    profile: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    authfile: Path | None = None
    only: tuple[str, ...] = ()
    jobs: int | None = None
    action: str = ""
    json: bool = False
    force: bool = False
    push: bool = True
    check: bool = False

    def say(self, text: str) -> None:
        """A line for people."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Chosen:
    """A profile: its name, as matrix.yaml states it, and with overrides."""

    name: str
    stated: Profile
    profile: Profile


def build(call: Invocation) -> Exit:
    """Plan, render, build, check and push whatever is not published yet."""
    chosen = _chosen(call)
    target = required_target(chosen.name, chosen.profile)
    engine = Engine(secrets.token_hex(6))
    if chosen.name == LAB:
        _ensure_lab(call, chosen, engine)
    pins = _pins(call, chosen, refresh=chosen.name == LAB)
    cells = make_plan(chosen.name, chosen.profile, pins, call.only)
    recipes = _recipes(call, chosen, pins, cells)
    write_rendered(call.root, chosen.name, recipes, complete=not call.only)
    jobs = call.jobs or default_jobs()
    credentials = load_credentials(call.authfile)
    results = read_results(_results_path(call), chosen.name)
    order = [row.id for row in make_plan(chosen.name, chosen.profile, pins).rows if row.cell]
    now: list[CellResult] = []

    def keep(result: CellResult) -> None:
        old = results.get(result.cell)
        if result.verdict == "skipped" and old and old.digest == result.digest:
            # What was found out when it was built is still true of what is published.
            result = replace(result, srcversion=old.srcversion, log=old.log)
        results[result.cell] = result
        now.append(result)
        progress.done(result)
        write_results(_results_path(call), chosen.name, results, order)

    shown = LiveProgress(call.console, len(recipes)) if call.console.is_terminal else None
    progress = shown or PlainProgress(call.console, len(recipes))
    options = Options(
        root=call.root,
        profile=chosen.profile,
        target=target,
        make_jobs=max(1, default_jobs() // jobs),
        rebuild=secrets.token_hex(6) if call.force else "",
        push=call.push,
        revision=_revision(call.root),
    )
    shop = Workshop(engine, Registry(credentials), credentials, options, _source(call), progress)
    with shown or nullcontext():
        left = recipes if call.force else split_published(shop, recipes, keep)
        run_cells(shop, left, jobs, keep)
    tables.print_results(call.console, now)
    call.say(f"builds: {engine.builds}, pulls: {engine.pulls}. {EXPLAIN}")
    return exit_code(now)


def lab(call: Invocation) -> Exit:
    """up, status, down or reset."""
    chosen = _chosen(replace(call, profile=LAB))
    layout = layout_of(chosen.profile, call.root)
    engine = Engine(secrets.token_hex(6))
    if call.action == "up":
        if not lab_up.up(engine, layout, chosen.profile, _lab_say(call)):
            call.say("lab: everything is up; nothing to do")
        return Exit.OK
    if call.action == "down":
        was = lab_up.down(engine, layout)
        call.say("lab: stopped; what it made is kept" if was else "lab: nothing was running")
        return Exit.OK
    if call.action == "reset":
        lab_up.reset(engine, layout)
        call.say("lab: everything it made is removed")
        return Exit.OK
    found = lab_up.status(engine, layout, chosen.profile)
    for name, ready, word in found.parts:
        print(f"{'ok     ' if ready else 'missing'}  {name}: {word}")
    if not found.up:
        call.say("`nox -s lab -- up` makes and starts what is missing")
    return Exit.OK if found.up else Exit.UNREACHABLE


def discover_command(call: Invocation) -> Exit:
    """Resolve a profile into the lock."""
    chosen = _chosen(call)
    if chosen.name == LAB:
        _ensure_lab(call, chosen, Engine(secrets.token_hex(6)))
    _discover(call, chosen)
    return Exit.OK


def plan(call: Invocation) -> Exit:
    """Show every candidate cell with why it is in or out."""
    chosen = _chosen(call)
    found = make_plan(chosen.name, chosen.profile, _pins(call, chosen), call.only)
    if call.json:
        print(json.dumps(plan_json(found), indent=1))
    else:
        tables.print_plan(found)
        call.say(f"{len(found.cells)} cells in, {len(found.rows) - len(found.cells)} out")
    return Exit.OK


def render(call: Invocation) -> Exit:
    """Write the Dockerfiles of the plan, offline."""
    chosen = _chosen(call)
    pins = _pins(call, chosen)
    cells = make_plan(chosen.name, chosen.profile, pins, call.only)
    recipes = _recipes(call, chosen, pins, cells)
    if call.check:
        stale = check_rendered(call.root, chosen.name, recipes, complete=not call.only)
        for path in stale:
            call.say(f"not up to date: {path}")
        if stale:
            raise InputError(
                f"{len(stale)} files under dockerfiles/{chosen.name} are not what the matrix and the template give",
                f"Run `nox -s render -- --profile {chosen.name}` and commit the result.",
            )
        return Exit.OK
    changed = write_rendered(call.root, chosen.name, recipes, complete=not call.only)
    call.say(f"dockerfiles/{chosen.name}: {len(recipes)} Dockerfiles, {changed} changed")
    return Exit.OK


def report(call: Invocation) -> Exit:
    """Show the results of the last run."""
    chosen = _chosen(call)
    results = list(read_results(_results_path(call), chosen.name).values())
    if not results:
        raise InputError(f"there are no results of profile {chosen.name}", "Run `nox -s build`.")
    if call.json:
        print(_results_path(call).read_text(encoding="utf-8"), end="")
    else:
        tables.print_results(Console(), results)
    return exit_code(results)


def _chosen(call: Invocation) -> Chosen:
    matrix = read_matrix(read_text(call.root / "matrix.yaml", "matrix file"))
    name = call.profile or matrix.default_profile
    stated = matrix.profile(name)
    return Chosen(name, stated, override(stated, call.overrides))


def _lab_say(call: Invocation) -> lab_up.Say:
    return lambda text: call.say(f"lab: {text}")


def _ensure_lab(call: Invocation, chosen: Chosen, engine: Engine) -> None:
    layout = layout_of(chosen.profile, call.root)
    if lab_up.up(engine, layout, chosen.profile, _lab_say(call)):
        call.say("lab: up")


def _lock(call: Invocation, chosen: Chosen) -> Lock:
    path = call.root / chosen.profile.lock
    if not path.exists():
        return Lock()
    return read_lock(read_text(path, "lock file"), chosen.profile.lock)


def _pins(call: Invocation, chosen: Chosen, refresh: bool = False) -> ProfileLock:
    lock = _lock(call, chosen)
    pins = lock.profiles.get(chosen.name)
    if refresh and (pins is None or pins.inputs != inputs_digest(chosen.stated) or _lab_moved(call, chosen)):
        return _discover(call, chosen)
    return pins_of(lock, chosen.name, chosen.stated)


def _lab_moved(call: Invocation, chosen: Chosen) -> bool:
    """Whether the lab was made anew since its lock was written."""
    made, locked = layout_of(chosen.profile, call.root).state, call.root / chosen.profile.lock
    return made.stat().st_mtime > locked.stat().st_mtime


def _discover(call: Invocation, chosen: Chosen) -> ProfileLock:
    lock = _lock(call, chosen)
    registry = Registry(load_credentials(call.authfile))
    pins = discover(
        chosen.name,
        chosen.stated,
        chosen.profile,
        registry,
        call.root,
        lock.profiles.get(chosen.name),
        lambda text: call.say(f"discover: {text}"),
    )
    write_atomically(call.root / chosen.profile.lock, write_lock(lock.with_profile(chosen.name, pins)))
    call.say(f"discover: wrote {chosen.profile.lock}")
    return pins


def _source(call: Invocation) -> ImageSource:
    return read_image_source(call.root / "images" / "beegfs-client")


def _recipes(call: Invocation, chosen: Chosen, pins: ProfileLock, found: Plan) -> list[Recipe]:
    source = _source(call)
    return [make_recipe(cell, chosen.name, chosen.profile, pins, source) for cell in found.cells]


def _results_path(call: Invocation) -> Path:
    return call.root / "build" / "results.json"


def _revision(root: Path) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
