"""watch: discover, build what is new, and update the bundles that it belongs in, once; cron and CronJobs run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from kmatrix.commands import build, bundle
from kmatrix.commands.github import show_discovery
from kmatrix.commands.guard import print_error
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import known_pins, pins_for, resolve_pins
from kmatrix.commands.profile import LABS, SelectedProfile, select_profile
from kmatrix.commands.run import alone, ensure_lab, marked_engine
from kmatrix.commands.unsigned import note_unsigned
from kmatrix.decide.lock_news import discovery_exit
from kmatrix.decide.open_releases import without_silenced
from kmatrix.decide.plan import make_plan
from kmatrix.decide.watch import (
    bundles_line,
    cells_line,
    clients_to_bundle,
    published_bundles,
    published_now,
    releases_line,
    watch_exit,
)
from kmatrix.effects.disk.bundles import read_bundles
from kmatrix.effects.disk.results import read_results
from kmatrix.effects.engine import Engine
from kmatrix.stages.run import exit_code
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit, InputError, KmatrixError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import required_target

T = TypeVar("T")


@dataclass
class _Watch:
    """A watch under way: the codes of its steps, and the message of the step that could not be done."""

    call: Invocation
    chosen: SelectedProfile
    target: str
    engine: Engine
    codes: set[Exit] = field(default_factory=set)
    fault: str = ""


def watch(call: Invocation) -> Exit:
    """Discover, build the cells that are not published, and update the bundles that they belong in.

    A step that a service prevents is reported; the steps that can be done without it are done.

    Raises:
        KmatrixError: the watch cannot begin, or there are no pins to build from.
    """
    chosen = select_profile(call)
    target = required_target(chosen.name, chosen.effective)
    with alone(call), marked_engine(call) as engine:
        run = _Watch(call, chosen, target, engine)
        if chosen.name in LABS:
            ensure_lab(call, chosen, engine)
        note_unsigned(call, chosen)
        before = known_pins(call, chosen)
        pins = _discover(run, before)
        lines = [releases_line(before, pins, run.fault)]
        run.fault = ""
        ran = _attempt(run, lambda: build.build_job(build.job_for(call, chosen, target, engine, pins)))
        if ran and ran.error:
            _note_or_raise(run, ran.error)
        results = ran.results if ran else ()
        earlier = ran.before if ran else {}
        lines.append(cells_line(results, earlier, run.fault))
        known = read_bundles(call.bundles_path, chosen.name)
        bundles = _bundle(run, pins, earlier, known) if ran and not ran.error else []
        lines.append(bundles_line(bundles, known, run.fault))
        run.codes |= {exit_code([*(each.verdict for each in results), *(each.verdict for each in bundles)])}
        for line in lines:
            call.conclude(f"watch: {line}")
        return watch_exit(run.codes, bool(published_now(results, earlier) or published_bundles(bundles, known)))


def _discover(run: _Watch, before: ProfileLock | None) -> ProfileLock:
    """Return the profile's pins, resolved now; those of the lock if a service prevents that.

    An earlier watch that was interrupted may have left cells unbuilt.

    Raises:
        KmatrixError: a service prevents it, and the lock has no pins that are up to date.
    """
    call, chosen = run.call, run.chosen
    try:
        pins = resolve_pins(call, chosen)
    except InputError:
        raise
    except KmatrixError as error:
        try:
            pins = pins_for(call, chosen)
        except InputError:
            raise error from None
        _note(run, error)
        call.warn(f"watch: goes on with the releases that {chosen.effective.lock} has")
        return pins
    show_discovery(call, chosen, before, pins)
    found = make_plan(chosen.name, chosen.effective, pins)
    run.codes.add(discovery_exit(without_silenced(pins, found.open)))
    return pins


def _bundle(
    run: _Watch, pins: ProfileLock, before: Mapping[str, CellResult], known: Mapping[str, BundleResult]
) -> list[BundleResult]:
    """Update the bundles that do not have exactly their client's published cells; others are not looked at.

    Args:
        run: the watch.
        pins: the profile's.
        before: the results that were known before the watch, by cell.
        known: the bundles that were known before it, by client.
    """
    call, chosen = run.call, run.chosen
    cells = make_plan(chosen.name, chosen.effective, pins, call.only).cells
    clients = clients_to_bundle(cells, read_results(call.results_path, chosen.name), before, known)
    if not clients:
        return []

    def work() -> bundle.Ran:
        with bundle.job_for(call, chosen, run.target, run.engine, pins, clients) as job:
            return bundle.bundle_job(call, job)

    ran = _attempt(run, work)
    if ran and ran.error:
        _note_or_raise(run, ran.error)
    return list(ran.results) if ran else []


def _attempt(run: _Watch, work: Callable[[], T]) -> T | None:
    """Do a step; an error of a service or a program is noted, and None returned.

    Raises:
        InputError: a file or option is malformed, so that no later step can be done either.
    """
    try:
        return work()
    except KmatrixError as error:
        _note_or_raise(run, error)
        return None


def _note_or_raise(run: _Watch, error: KmatrixError) -> None:
    if isinstance(error, InputError):
        raise error
    _note(run, error)


def _note(run: _Watch, error: KmatrixError) -> None:
    print_error(run.call.console, error)
    run.codes.add(error.exit_code)
    run.fault = error.message
