"""report: show the latest result of every known cell of a profile, and the releases that are new or lack cells."""

from __future__ import annotations

from kmatrix.commands.github import show_on_github
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import select_profile
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.paths import INDEX
from kmatrix.effects.clock import utc_now
from kmatrix.effects.disk.results import read_releases, read_results, results_text
from kmatrix.effects.installed_version import installed_version
from kmatrix.stages import tables
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.report import write_report
from kmatrix.stages.run import exit_code
from kmatrix.values.errors import Exit, InputError


def report(call: Invocation) -> Exit:
    """Show the latest result of every cell of the profile, whichever run it is of."""
    chosen = select_profile(call)
    results = list(read_results(call.results_path, chosen.name).values())
    releases = read_releases(call.results_path, chosen.name)
    if not results and not releases:
        raise InputError(
            f"there are no results of profile {chosen.name}", f"Run {call.next('build', chosen.name)} first."
        )
    if call.json:
        print(results_text(call.results_path, chosen.name), end="")
    else:
        signing = chosen.effective.image_signing
        made = Report(
            profile=chosen.name,
            target=chosen.effective.target or "",
            made=utc_now(),
            version=installed_version(),
            gates=gates_of_profile(chosen.effective),
            cells=tuple(results),
            releases=releases,
            public_keys=tuple(signing.public_keys) if signing else (),
            places=call.places,
        )
        folder = write_report(call.root, made, call.say)
        console = tables.wide_console()
        gates = gates_of_profile(chosen.effective)
        build = call.places.get("build", ())
        tables.print_results(console, results, chosen.name, gates, "build", build)
        tables.print_releases(console, releases)
        show_on_github(call, chosen.name, results, releases, "build", build)
        if lacking := tables.left_out(results, gates):
            call.say(f"warning: {lacking}; {call.next('build', chosen.name)} runs every gate")
        call.say(f"report: {folder / INDEX}")
    return exit_code(result.verdict for result in results)
