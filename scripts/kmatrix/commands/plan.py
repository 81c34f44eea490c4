"""discover, plan and render: from matrix.yaml to the cells and their Dockerfiles."""

from __future__ import annotations

import json
from collections import Counter

from kmatrix.commands.fan_out import jobs_document, unpublished
from kmatrix.commands.github import show_discovery
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import discovered, pins_for, replace_pins
from kmatrix.commands.profile import LABS, recipes_for, select_profile
from kmatrix.commands.run import alone, ensure_lab, marked_engine
from kmatrix.decide.fan_out import in_shard
from kmatrix.decide.lock_news import discovery_exit, mismatches, news_of
from kmatrix.decide.open_releases import open_releases_of, without_silenced
from kmatrix.decide.plan import make_plan, plan_json
from kmatrix.effects.disk.results import read_results
from kmatrix.stages import tables
from kmatrix.stages.dockerfiles import check_rendered, foreign_note, write_rendered
from kmatrix.values.command_lines import command
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.recipe import Recipe


def discover(call: Invocation) -> Exit:
    """Resolve a profile into its lock."""
    chosen = select_profile(call)
    with alone(call):
        if chosen.name in LABS:
            with marked_engine(call) as engine:
                ensure_lab(call, chosen, engine)
        if call.check:
            known, pins, _ = discovered(call, chosen)
            show_discovery(call, chosen, known, pins)
            for line in news_of(known, pins):
                call.say(f"discover: {line}")
            current = known == pins
            call.conclude(f"discover: {chosen.effective.lock} is {'up to date' if current else 'not up to date'}")
            return Exit.OK if current else Exit.FAILED
        before, pins = replace_pins(call, chosen)
    show_discovery(call, chosen, before, pins)
    pins = without_silenced(pins, open_releases_of(chosen.name, chosen.effective, pins)[0])
    for line in mismatches(pins):
        call.warn(f"discover: {line}")
    if pins.unresolved:
        count = f"{len(pins.unresolved)} release{'s are' if len(pins.unresolved) > 1 else ' is'} unresolved"
        call.warn(f"discover: {count}; {call.next('plan', chosen.name)} shows why; the next discovery tries again")
    return discovery_exit(pins)


def plan(call: Invocation) -> Exit:
    """Show every candidate cell, in or out, and why."""
    if call.runners and not call.format:
        raise InputError(
            "plan: --runner has no effect without --format",
            "Add --format github, gitlab or tekton, or remove --runner.",
        )
    chosen = select_profile(call)
    pins = pins_for(call, chosen)
    found = make_plan(chosen.name, chosen.effective, pins, call.only)
    # As `build` divides it, whatever is published.
    if call.shard is not None:
        found = in_shard(found, call.shard)
    if call.unpublished:
        found = unpublished(call, chosen, pins, found)
    if call.format:
        print(jobs_document(call, chosen, found), end="")
    elif call.json:
        print(json.dumps(plan_json(found, read_results(call.results_path, chosen.name)), indent=1))
    else:
        tables.print_plan(found)
        count = Counter(row.state for row in found.rows)
        is_open = f", {count['open']} open" if count["open"] else ""
        call.say(f"{count['in']} cells in, {count['out']} out{is_open}")
    for each in found.open:
        call.say(str(each))
    for channel in pins.empty_channels:
        call.say(f"{channel.name} for {channel.arch} gives no release: correct it, unless it is yet to come")
    gone = {str(pin.version): pin.gone for pin in pins.releases if pin.gone}
    for release, since in gone.items():
        removes = f"{command('discover', chosen.name, '--forget', release)} removes it"
        call.say(f"{release} has been gone from the graph since {since}; kept ({removes})")
    for client in (pin for pin in pins.clients if pin.gone):
        where = f"{client.version} for {client.stream} {client.arch}"
        call.say(f"client {where} has been gone from the package root since {client.gone}; its pins are kept")
    return Exit.OK


def render(call: Invocation) -> Exit:
    """Write the Dockerfiles of the plan, offline; with --check only compare."""
    chosen = select_profile(call)
    pins = pins_for(call, chosen)
    recipes = recipes_for(call, chosen, pins, make_plan(chosen.name, chosen.effective, pins, call.only))
    if not call.check:
        with alone(call):
            changed = write_rendered(call.root, chosen.name, recipes, complete=not call.only)
        call.say(f"dockerfiles/{chosen.name}: {len(recipes)} Dockerfiles, {changed} changed")
        _say_foreign(call, chosen.name, recipes)
        return Exit.OK
    stale = check_rendered(call.root, chosen.name, recipes, complete=not call.only)
    if stale:
        raise InputError(
            f"{len(stale)} paths under dockerfiles/{chosen.name} differ from matrix, lock and template:\n  "
            + "\n  ".join(stale),
            f"Run {call.next('render', chosen.name)} and commit the result.",
        )
    call.say(f"dockerfiles/{chosen.name}: up to date")
    _say_foreign(call, chosen.name, recipes)
    return Exit.OK


def _say_foreign(call: Invocation, profile_name: str, recipes: list[Recipe]) -> None:
    if note := foreign_note(call.root, profile_name, recipes):
        call.say(note)
