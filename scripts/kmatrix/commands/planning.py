"""discover, plan, render and report: what is to be done, and what came of it."""

from __future__ import annotations

import json

from kmatrix.commands.invocation import (
    LAB,
    Invocation,
    alone,
    choose,
    ensure_lab,
    marked_engine,
    pins_for,
    recipes_for,
    resolve_pins,
)
from kmatrix.decide.plan import make_plan, plan_json
from kmatrix.effects.results import read_results, results_text
from kmatrix.stages import tables
from kmatrix.stages.run import exit_code
from kmatrix.stages.tree import check_rendered, foreign_note, write_rendered
from kmatrix.values.commandlines import command
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.recipe import Recipe


def discover(call: Invocation) -> Exit:
    """Resolve a profile into its lock."""
    chosen = choose(call)
    with alone(call):
        if chosen.name == LAB:
            with marked_engine(call) as engine:
                ensure_lab(call, chosen, engine)
        resolve_pins(call, chosen)
    return Exit.OK


def plan(call: Invocation) -> Exit:
    """Show every candidate cell with why it is in or out."""
    chosen = choose(call)
    pins = pins_for(call, chosen)
    found = make_plan(chosen.name, chosen.profile, pins, call.only)
    if call.json:
        print(json.dumps(plan_json(found), indent=1))
    else:
        tables.print_plan(found)
        call.say(f"{len(found.cells)} cells in, {len(found.rows) - len(found.cells)} out")
    gone = {str(pin.version): pin.gone for pin in pins.releases if pin.gone}
    for release, since in gone.items():
        lets = f"{command('discover', chosen.name, '--forget', release)} lets it go"
        call.say(f"{release} has been gone from the graph since {since}; kept ({lets})")
    for client in (pin for pin in pins.clients if pin.gone):
        where = f"{client.version} for {client.line} {client.arch}"
        call.say(f"client {where} has been gone from the package root since {client.gone}; its pins are kept")
    return Exit.OK


def render(call: Invocation) -> Exit:
    """Write the Dockerfiles of the plan, offline; with --check only compare."""
    chosen = choose(call)
    pins = pins_for(call, chosen)
    recipes = recipes_for(call, chosen, pins, make_plan(chosen.name, chosen.profile, pins, call.only))
    if not call.check:
        with alone(call):
            changed = write_rendered(call.root, chosen.name, recipes, complete=not call.only)
        call.say(f"dockerfiles/{chosen.name}: {len(recipes)} Dockerfiles, {changed} changed")
        _say_foreign(call, chosen.name, recipes)
        return Exit.OK
    stale = check_rendered(call.root, chosen.name, recipes, complete=not call.only)
    if stale:
        raise InputError(
            f"{len(stale)} paths under dockerfiles/{chosen.name} are not what matrix, lock and template give:\n  "
            + "\n  ".join(stale),
            f"Run {command('render', chosen.name)} and commit the result.",
        )
    call.say(f"dockerfiles/{chosen.name}: up to date")
    _say_foreign(call, chosen.name, recipes)
    return Exit.OK


def _say_foreign(call: Invocation, profile_name: str, recipes: list[Recipe]) -> None:
    if note := foreign_note(call.root, profile_name, recipes):
        call.say(note)


def report(call: Invocation) -> Exit:
    """Show the results of the last run."""
    chosen = choose(call)
    results = list(read_results(call.results_path, chosen.name).values())
    if not results:
        raise InputError(f"there are no results of profile {chosen.name}", f"Run {command('build', chosen.name)}.")
    if call.json:
        print(results_text(call.results_path, chosen.name), end="")
    else:
        tables.print_results(tables.wide_console(), results)
    return exit_code(result.verdict for result in results)
