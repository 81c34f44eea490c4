"""lab up, status, down, reset."""

from __future__ import annotations

import secrets

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import LAB, SelectedProfile, alone, ensure_lab, marked_engine, select_profile
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.lab import up as lab_up
from kmatrix.lab.layout import IMAGES, layout_of
from kmatrix.values.errors import Exit


def lab(call: Invocation) -> Exit:
    """Run an action on the lab; `status` exits with 4 unless everything is up."""
    chosen = select_profile(call, LAB)
    with DockerEngine(secrets.token_hex(6)) as engine:
        # A lab that is up is not changed, so another run may be under way.
        if call.action == "status" or (call.action == "up" and _is_up(call, chosen, engine)):
            call.say(f"engine: {engine.in_use()}")
            return _act(call, chosen, engine)
    with alone(call), marked_engine(call) as engine:
        return _act(call, chosen, engine)


def _is_up(call: Invocation, chosen: SelectedProfile, engine: Engine) -> bool:
    return lab_up.status(engine, layout_of(chosen.effective, call.root), chosen.effective).up


def _act(call: Invocation, chosen: SelectedProfile, engine: Engine) -> Exit:
    layout = layout_of(chosen.effective, call.root)
    match call.action:
        case "up":
            done = ensure_lab(call, chosen, engine)
            call.say("lab: up" if done else "lab: everything is up; nothing to do")
        case "down":
            done = lab_up.down(engine, layout)
            call.say("lab: stopped; its content is kept" if done else "lab: nothing was running")
        case "reset":
            lab_up.reset(engine, layout)
            images = f"every image named {IMAGES}/... or {layout.registry}/..."
            call.say(f"lab: removed its servers, their content, its files, and {images} (other checkouts' too)")
        case _:
            found = lab_up.status(engine, layout, chosen.effective)
            for name, ready, word in found.parts:
                print(f"{'ok' if ready else 'missing':8} {name}: {word}")
            if not found.up:
                call.say("`nox -s lab -- up` creates and starts the missing parts.")
                return Exit.UNREACHABLE
    return Exit.OK
