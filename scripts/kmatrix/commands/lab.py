"""lab up, status, down, reset, release, retract."""

from __future__ import annotations

import secrets

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import LAB, LAB_AARCH64, SelectedProfile, select_profile
from kmatrix.commands.run import alone, ensure_lab, marked_engine
from kmatrix.commands.showing import showing
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.lab import aarch64
from kmatrix.lab import up as lab_up
from kmatrix.lab.later_releases import publish_release, retract_release
from kmatrix.lab.layout import IMAGES, Layout, layout_of
from kmatrix.lab.releases import STABLE
from kmatrix.stages.progress import narrating, stepping
from kmatrix.values.errors import Exit, InputError

# The options that one action alone uses.
_OF_ACTION = {"--broken": "release", "--channel": "release", "--release": "retract", "--arch": "up"}


def lab(call: Invocation) -> Exit:
    """Run an action on the lab; `status` exits with 4 unless everything is up."""
    _refuse_without_effect(call)
    chosen = select_profile(call, LAB_AARCH64 if aarch64.ARCH in call.arches else LAB)
    with DockerEngine(secrets.token_hex(6)) as engine:
        # A lab that is up is not changed, so another run may be under way.
        if call.action == "status" or (call.action == "up" and _is_up(call, chosen, engine)):
            call.say(f"engine: {engine.in_use()}")
            return _act(call, chosen, engine)
    with alone(call), marked_engine(call) as engine:
        return _act(call, chosen, engine)


def _refuse_without_effect(call: Invocation) -> None:
    given = {"--broken": call.broken, "--channel": call.channel, "--release": call.release, "--arch": call.arches}
    for flag, value in given.items():
        if value and call.action != _OF_ACTION[flag]:
            raise InputError(
                f"lab {call.action}: {flag} has no effect",
                f"Remove it; it is an option of `nox -s lab -- {_OF_ACTION[flag]}`.",
            )


def _is_up(call: Invocation, chosen: SelectedProfile, engine: Engine) -> bool:
    own = select_profile(call, LAB)
    layout = layout_of(own.effective, call.root)
    if not lab_up.status(engine, layout, own.effective).up:
        return False
    if chosen.name == LAB:
        return True
    return all(ready for _, ready, _ in aarch64.status(engine, layout, chosen.effective))


def _act(call: Invocation, chosen: SelectedProfile, engine: Engine) -> Exit:
    layout = layout_of(chosen.effective, call.root)
    match call.action:
        case "up":
            done = ensure_lab(call, chosen, engine)
            call.conclude("lab: up" if done else "lab: everything is up; nothing to do")
            if chosen.name == LAB_AARCH64:
                call.say(f"lab: {call.next('build', LAB_AARCH64)} builds the cells of both architectures")
        case "down":
            done = lab_up.down(engine, layout)
            call.say("lab: stopped; its content is kept" if done else "lab: nothing was running")
        case "reset":
            lab_up.reset(engine, layout)
            images = f"every image named {IMAGES}/... or {layout.registry}/..."
            call.say(f"lab: removed its servers, their content, its files, and {images} (other checkouts' too)")
        case "release":
            ensure_lab(call, chosen, engine)
            _release(call, layout, engine)
        case "retract":
            gone = retract_release(engine, layout, call.release)
            call.say(f"lab: {gone.version} is no longer in {', '.join(gone.channels)}; the registry keeps its images")
        case _:
            found = lab_up.status(engine, layout, chosen.effective)
            _list_parts(found.parts)
            if not found.up:
                call.say("`nox -s lab -- up` creates and starts the missing parts.")
                return Exit.UNREACHABLE
            if aarch64.built(layout):
                # Nothing but its own profile needs it, so what is missing of it is no fault of the lab.
                _list_parts(aarch64.status(engine, layout, select_profile(call, LAB_AARCH64).effective))
    return Exit.OK


def _list_parts(parts: tuple[tuple[str, bool, str], ...]) -> None:
    for name, ready, word in parts:
        print(f"{'ok' if ready else 'missing':8} {name}: {word}")


def _release(call: Invocation, layout: Layout, engine: Engine) -> None:
    """Publish a release, and print its version."""
    channel = call.channel or STABLE
    with showing(call) as progress, stepping(progress, "lab"):
        made = publish_release(engine, layout, narrating(progress, "lab"), call.broken, channel)
    kernel = f"its toolkit has {made.kernel}, its nodes run {made.node_kernel}" if made.broken else made.kernel
    call.say(f"lab: published {made.version} in {channel}: {kernel}")
    print(made.version)
