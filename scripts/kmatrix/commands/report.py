"""report: show the latest result of every known cell of a profile, and write the pages that show all of it."""

from __future__ import annotations

from pathlib import Path

from kmatrix.commands.github import show_on_github
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import known_pins
from kmatrix.commands.profile import SelectedProfile, select_profile
from kmatrix.decide.plan import make_plan
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.open_releases import with_open_releases
from kmatrix.decide.report.paths import INDEX
from kmatrix.effects.clock import utc_now
from kmatrix.effects.disk.results import read_releases, read_results, results_text
from kmatrix.effects.installed_version import installed_version
from kmatrix.effects.net.static_server import static_server
from kmatrix.stages import tables
from kmatrix.stages.columns import wide_console
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.report import write_report
from kmatrix.stages.run import exit_code
from kmatrix.values.errors import Exit, InputError, KmatrixError
from kmatrix.values.release_result import ReleaseResult


def report(call: Invocation) -> Exit:
    """Show the latest result of every cell of the profile, whichever run it is of, and write `build/report`.

    Raises:
        InputError: there are no results, the report cannot be written, or the port cannot be served on.
    """
    if call.port is not None and not call.serve:
        raise InputError("report: --port has no effect without --serve", "Add --serve, or leave --port out.")
    chosen = select_profile(call)
    results = tuple(read_results(call.results_path, chosen.name).values())
    releases = _releases(call, chosen)
    if not results and not releases:
        raise InputError(
            f"there are no results of profile {chosen.name}", f"Run {call.next('build', chosen.name)} first."
        )
    code = exit_code(result.verdict for result in results)
    if call.json:
        print(results_text(call.results_path, chosen.name), end="")
        return code
    gates, signing = gates_of_profile(chosen.effective), chosen.effective.image_signing
    made = Report(
        profile=chosen.name,
        target=chosen.effective.target or "",
        made=utc_now(),
        version=installed_version(),
        gates=gates,
        cells=results,
        releases=releases,
        public_keys=tuple(signing.public_keys) if signing else (),
        places=call.places,
    )
    folder = write_report(call.root, made, call.say)
    console = wide_console()
    build = call.places.get("build", ())
    tables.print_results(console, results, chosen.name, gates, "report", build)
    tables.print_releases(console, releases)
    show_on_github(call, chosen.name, results, releases, "report", build)
    if lacking := tables.left_out(results, gates):
        call.say(f"warning: {lacking}; {call.next('build', chosen.name)} runs every gate")
    call.say(f"report: {folder / INDEX}")
    return _serve(call, folder) if call.serve else code


def _releases(call: Invocation, chosen: SelectedProfile) -> tuple[ReleaseResult, ...]:
    """Return the releases that results have, and those of the lock that are unresolved and in no result.

    The lock need not be up to date: it says which releases discovery last saw. One that cannot be used is named, and
    the report has the results alone.

    Raises:
        InputError: the results cannot be read.
    """
    known = read_releases(call.results_path, chosen.name)
    try:
        pins = known_pins(call, chosen)
        if pins is None:
            return known
        return with_open_releases(known, make_plan(chosen.name, chosen.effective, pins), pins)
    except KmatrixError as error:
        call.say(f"warning: releases that only the lock has are not shown: {error.message}. {error.hint}")
        return known


def _serve(call: Invocation, folder: Path) -> Exit:
    with static_server(folder, call.port) as server:
        call.say(f"Serving the report at {server.address} until Ctrl-C.")
        server.serve_until_interrupted()
    call.say("Stopped serving the report.")
    return Exit.OK
