"""lab up, status, down, reset."""

from __future__ import annotations

import secrets

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import LAB, Chosen, alone, choose, ensure_lab, marked_engine
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.lab import up as lab_up
from kmatrix.lab.layout import layout_of
from kmatrix.values.errors import Exit


def lab(call: Invocation) -> Exit:
    """Do what the action says; `status` exits with 4 unless everything is up."""
    chosen = choose(call, LAB)
    with DockerEngine(secrets.token_hex(6)) as engine:
        # A lab that is up needs nothing: then a run that is under way does not matter.
        if call.action == "status" or (call.action == "up" and _is_up(call, chosen, engine)):
            call.say(f"engine: {engine.in_use()}")
            return _act(call, chosen, engine)
    with alone(call), marked_engine(call) as engine:
        return _act(call, chosen, engine)


def _is_up(call: Invocation, chosen: Chosen, engine: Engine) -> bool:
    return lab_up.status(engine, layout_of(chosen.profile, call.root), chosen.profile).up


def _act(call: Invocation, chosen: Chosen, engine: Engine) -> Exit:
    layout = layout_of(chosen.profile, call.root)
    match call.action:
        case "up":
            done = ensure_lab(call, chosen, engine)
            call.say("lab: up" if done else "lab: everything is up; nothing to do")
        case "down":
            done = lab_up.down(engine, layout)
            call.say("lab: stopped; what it made is kept" if done else "lab: nothing was running")
        case "reset":
            lab_up.reset(engine, layout)
            call.say("lab: everything it made is removed")
        case _:
            found = lab_up.status(engine, layout, chosen.profile)
            for name, ready, word in found.parts:
                print(f"{'ok' if ready else 'missing':8} {name}: {word}")
            if not found.up:
                call.say("`nox -s lab -- up` makes and starts what is missing")
                return Exit.UNREACHABLE
    return Exit.OK
