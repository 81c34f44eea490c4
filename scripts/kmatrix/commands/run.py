"""A run of its own in this checkout: alone, with a container engine, and on the lab where that is its profile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import fresh_lab_pins, pins_for
from kmatrix.commands.profile import LAB, LAB_AARCH64, LABS, SelectedProfile, select_profile
from kmatrix.commands.showing import showing
from kmatrix.effects.disk.files import remove_unfinished
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.lab.emulation import require_emulation
from kmatrix.effects.runs import clear_ended_runs, marked_run, only_run
from kmatrix.effects.vm.boot_files import boot_folder, remove_boot_files
from kmatrix.lab import aarch64
from kmatrix.lab import up as lab_up
from kmatrix.lab.layout import layout_of
from kmatrix.stages.progress import narrating, stepping
from kmatrix.values.errors import InputError, KmatrixError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import required_target
from kmatrix.values.overrides import option

GRAPH = option("graph")


def ensure_lab(call: Invocation, chosen: SelectedProfile, engine: Engine) -> bool:
    """Bring the lab up as far as a profile needs it; returns whether something had to be created or started.

    Raises:
        InputError: the base of both architectures would replace that of profile lab.
        NoEmulationError: the profile is the one of both architectures, and aarch64 cannot be emulated.
        KmatrixError: a step failed.
    """
    own = chosen if chosen.name == LAB else select_profile(call, LAB)
    layout = layout_of(own.effective, call.root)

    if chosen.name == LAB_AARCH64 and chosen.effective.base == own.effective.base:
        raise InputError(
            f"profile {LAB_AARCH64} has {own.effective.base} as its base, the one of profile {LAB}, which is of x86_64",
            "Leave out --base and KMATRIX_BASE with this profile; give the lab other ports in matrix.yaml.",
        )
    # Before the lab is created, which takes minutes.
    if chosen.name == LAB_AARCH64 and not aarch64.built(layout):
        require_emulation(aarch64.ARCH)
    with showing(call) as progress:
        say = narrating(progress, "lab")
        with stepping(progress, "lab"):
            done = lab_up.up(engine, layout, own.effective, say)
            if chosen.name == LAB_AARCH64:
                done = aarch64.up(engine, layout, own.effective.base, chosen.effective, say) or done
    return done


@contextmanager
def alone(call: Invocation) -> Iterator[None]:
    """Hold the checkout alone while writing to it: results, bundles, locks, Dockerfiles, the lab.

    A command does not need it if it only reads (`plan`, `report`, `render --check`, `lab status`), writes files of its
    own alone (`boot`), or atomically replaces a folder that no other command reads (`manifests`).

    Raises:
        InputError: another run is under way, or the place cannot be written.
    """
    build = call.root / "build"
    with only_run(build / "run.lock", call.command):
        for path in (call.results_path, call.results_path.with_suffix(".xml"), call.bundles_path):
            remove_unfinished(path)
        yield


@contextmanager
def marked_engine(call: Invocation) -> Iterator[Engine]:
    """Give a run its engine, and mark the run while it lives; removes leftovers of ended runs, in engine and on disk.

    Raises:
        InputError: the place of marks cannot be written.
        UnreachableError: no container engine answers.
    """
    runs = call.root / "build" / "runs"
    builds = call.root / "build" / "builds"
    with marked_run(runs, call.command) as run_id, DockerEngine(run_id, builds) as engine:
        call.say(f"engine: {engine.in_use()}")

        def clear(ended: str) -> None:
            engine.remove_leftovers(ended)
            remove_boot_files(boot_folder(call.root), ended)

        clear_ended_runs(runs, clear)
        yield engine


def tidy(call: Invocation, engine: Engine) -> None:
    """Remove a run's containers and names; an engine that went away must not hide the outcome of the run."""
    try:
        engine.remove_leftovers()
    except KmatrixError as error:
        call.conclude(f"could not clean up; the next run will: {error}")


@contextmanager
def opened_run(call: Invocation) -> Iterator[tuple[SelectedProfile, str, Engine, ProfileLock]]:
    """Begin a run on the target: profile, target, an engine of its own, and pins; brings the lab up for its profile.

    Raises:
        InputError: there is no target or no profile, an option has no effect, there are no pins, or another run is
            under way in this checkout.
    """
    chosen = select_profile(call)
    if chosen.name not in LABS and GRAPH in call.typed:
        raise InputError(
            f"{call.command}: {GRAPH} has no effect with profile {chosen.name}, whose releases are pinned in its lock",
            f"Remove it; {call.next('discover', chosen.name)} resolves the releases of that graph.",
        )
    target = required_target(chosen.name, chosen.effective)
    with alone(call), marked_engine(call) as engine:
        if chosen.name in LABS:
            ensure_lab(call, chosen, engine)
            pins = fresh_lab_pins(call, chosen)
        else:
            pins = pins_for(call, chosen)
        yield chosen, target, engine, pins
