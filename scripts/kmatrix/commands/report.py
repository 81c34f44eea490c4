"""report: show the latest result of every known cell of a profile, and the releases that are new or lack cells."""

from __future__ import annotations

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import select_profile
from kmatrix.effects.disk.results import read_releases, read_results, results_text
from kmatrix.stages import tables
from kmatrix.stages.gates import gates_of_profile
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
        console = tables.wide_console()
        gates = gates_of_profile(chosen.effective)
        tables.print_results(console, results, chosen.name, gates, "build", call.places.get("build", ()))
        tables.print_releases(console, releases)
        if lacking := tables.left_out(results, gates):
            call.say(f"warning: {lacking}; {call.next('build', chosen.name)} runs every gate")
    return exit_code(result.verdict for result in results)
