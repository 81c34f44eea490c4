"""report: show the latest result of every known cell of a profile, and write the pages that show all of it."""

from __future__ import annotations

import json
from pathlib import Path

from kmatrix.commands.github import show_on_github
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import known_pins
from kmatrix.commands.profile import SelectedProfile, select_profile
from kmatrix.decide.plan import make_plan
from kmatrix.decide.report.model import NOT_BUILT, Report
from kmatrix.decide.report.paths import INDEX
from kmatrix.decide.report.planned import Known, beside_plan
from kmatrix.effects.clock import utc_now
from kmatrix.effects.disk.results import read_known, results_text
from kmatrix.effects.installed_version import installed_version
from kmatrix.effects.net.static_server import static_server
from kmatrix.stages import tables
from kmatrix.stages.columns import wide_console
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.report import write_report
from kmatrix.stages.run import exit_code
from kmatrix.values.errors import Exit, InputError, KmatrixError


def report(call: Invocation) -> Exit:
    """Show the latest result of every cell of the profile, whichever run it is of, and write `build/report`.

    Raises:
        InputError: there are no results, the report cannot be written, or the port cannot be served on.
    """
    if call.port is not None and not call.serve:
        raise InputError("report: --port has no effect without --serve", "Add --serve, or leave --port out.")
    chosen = select_profile(call)
    if call.json:
        return _print_json(call, chosen)
    gates = gates_of_profile(chosen.effective)
    written = write_report(call.root, lambda: _read(call, chosen, gates), call.say)
    results, releases = written.report.cells, written.report.releases
    console = wide_console()
    build = call.places.get("build", ())
    tables.print_results(console, results, chosen.name, gates, "report", build)
    tables.print_releases(console, releases)
    pending = written.report.pending or ()
    show_on_github(call, chosen.name, results, releases, "report", build, pending=len(pending))
    if pending:
        every = len(results) + len(pending)
        call.say(f"{len(pending)} of {every} cells {'is' if len(pending) == 1 else 'are'} {NOT_BUILT}")
    if lacking := tables.left_out(results, gates):
        call.say(f"warning: {lacking}; {call.next('build', chosen.name)} runs every gate")
    call.say(f"report: {written.folder / INDEX}")
    return _serve(call, written.folder) if call.serve else exit_code(result.verdict for result in results)


def _print_json(call: Invocation, chosen: SelectedProfile) -> Exit:
    _known(call, chosen, gates_of_profile(chosen.effective))
    text = results_text(call.results_path, chosen.name)
    print(text, end="")
    # A run may have written since: the exit code is that of the verdicts that are printed.
    return exit_code(each["verdict"] for each in json.loads(text)["cells"])


def _read(call: Invocation, chosen: SelectedProfile, gates: tuple[str, ...]) -> Report:
    """Return what is known now.

    Raises:
        InputError: the results cannot be read, or nothing is known.
    """
    known, signing = _known(call, chosen, gates), chosen.effective.image_signing
    return Report(
        profile=chosen.name,
        target=chosen.effective.target or "",
        made=utc_now(),
        version=installed_version(),
        gates=gates,
        cells=known.cells,
        releases=known.releases,
        pending=known.pending,
        public_keys=tuple(signing.public_keys) if signing else (),
        places=call.places,
    )


def _known(call: Invocation, chosen: SelectedProfile, gates: tuple[str, ...]) -> Known:
    """Return what results and the lock know.

    The lock need not be up to date: it says what discovery last saw. One that cannot be used is named, and the report
    has the results alone.

    Raises:
        InputError: the results cannot be read, or nothing is known but that cells are planned.
    """
    cells, releases = read_known(call.results_path, chosen.name)
    known = Known(cells, releases)
    lacks = "warning: how many cells are planned is not known"
    try:
        pins = known_pins(call, chosen)
        if pins is None:
            lock, again = chosen.effective.lock, call.next("discover", chosen.name)
            call.say(
                f"{lacks}: {lock} has nothing about profile {chosen.name}. Run {again}, or copy the lock here too."
            )
        else:
            known = beside_plan(cells, releases, make_plan(chosen.name, chosen.effective, pins), pins, gates)
    except KmatrixError as error:
        call.say(f"{lacks}, and releases that only the lock has are not shown: {error.message}. {error.hint}")
    if not (cells or releases or any(release.findings for release in known.releases)):
        raise InputError(
            f"there are no results of profile {chosen.name}", f"Run {call.next('build', chosen.name)} first."
        )
    return known


def _serve(call: Invocation, folder: Path) -> Exit:
    with static_server(folder, call.port) as server:
        call.say(f"Serving the report at {server.address} until Ctrl-C.")
        server.serve_until_interrupted()
    call.say("Stopped serving the report.")
    return Exit.OK
