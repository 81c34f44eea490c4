"""report: show the latest result of every known cell of a profile."""

from __future__ import annotations

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import select_profile
from kmatrix.effects.disk.results import read_results, results_text
from kmatrix.stages import tables
from kmatrix.stages.run import exit_code
from kmatrix.values.errors import Exit, InputError


def report(call: Invocation) -> Exit:
    """Show the latest result of every cell of the profile, whichever run it is of."""
    chosen = select_profile(call)
    results = list(read_results(call.results_path, chosen.name).values())
    if not results:
        raise InputError(
            f"there are no results of profile {chosen.name}", f"Run {call.next('build', chosen.name)} first."
        )
    if call.json:
        print(results_text(call.results_path, chosen.name), end="")
    else:
        tables.print_results(tables.wide_console(), results, chosen.name, "build", call.places.get("build", ()))
        if lacking := tables.left_out(results):
            call.say(f"warning: {lacking}; {call.next('build', chosen.name)} runs every gate")
    return exit_code(result.verdict for result in results)
