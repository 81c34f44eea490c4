"""What every command starts from: the profile, its pins and recipes, and a run of its own in this checkout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kmatrix.commands.invocation import Invocation
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.plan import Plan
from kmatrix.decide.render import make_recipe
from kmatrix.effects.disk.files import read_text, remove_unfinished, write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.build_context import read_image_source
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.runs import clear_ended_runs, marked_run, only_run
from kmatrix.effects.vm.boot_files import remove_boot_files
from kmatrix.lab import up as lab_up
from kmatrix.lab.layout import layout_of
from kmatrix.stages.discover import discover, expected_fingerprint
from kmatrix.values.command_lines import command
from kmatrix.values.errors import InputError, KmatrixError, Problem
from kmatrix.values.lock import Lock, ProfileLock, inputs_digest, pins_of, read_lock, write_lock
from kmatrix.values.matrix import Profile, required_target
from kmatrix.values.overrides import override
from kmatrix.values.recipe import ALL_GATES, STATIC_GATES, ImageSource, Recipe

LAB = "lab"


@dataclass(frozen=True)
class Chosen:
    """A profile: its name, as matrix.yaml states it, and with overrides."""

    name: str
    stated: Profile
    profile: Profile


def choose(call: Invocation, name: str | None = None) -> Chosen:
    """Return the profile a command is for.

    Raises:
        InputError: matrix.yaml or an override is wrong, or there is no such profile.
    """
    matrix = read_matrix(read_text(call.root / "matrix.yaml", "matrix file"))
    wanted = name or call.profile or matrix.default_profile
    stated = matrix.profile(wanted)
    return Chosen(wanted, stated, override(stated, call.overrides))


def ensure_lab(call: Invocation, chosen: Chosen, engine: Engine) -> bool:
    """Bring the lab up if the profile is the lab's; returns whether something had to be made or started."""
    layout = layout_of(chosen.profile, call.root)
    return lab_up.up(engine, layout, chosen.profile, lambda text: call.say(f"lab: {text}"))


@contextmanager
def alone(call: Invocation) -> Iterator[None]:
    """Be the only run that writes to this checkout: results, bundles, locks, Dockerfiles, the lab.

    A command does not need it if it only reads (`plan`, `report`, `render --check`, `lab status`), writes files of its
    own alone (`boot`), or replaces as a whole a folder that no other command reads (`manifests`).

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
    """Open an engine for a run that is marked while it lives; remove the leftovers of ended runs in it and on disk.

    Raises:
        InputError: the place of marks cannot be written.
        UnreachableError: no engine answers.
    """
    runs = call.root / "build" / "runs"
    builds = call.root / "build" / "builds"
    with marked_run(runs, call.command) as run_id, DockerEngine(run_id, builds) as engine:
        call.say(f"engine: {engine.in_use()}")

        def clear(ended: str) -> None:
            engine.remove_leftovers(ended)
            remove_boot_files(call.boot_folder, ended)

        clear_ended_runs(runs, clear)
        yield engine


def tidy(call: Invocation, engine: Engine) -> None:
    """Remove a run's containers and names; what the run came to must not be hidden by an engine that went away."""
    try:
        engine.remove_leftovers()
    except KmatrixError as error:
        call.say(f"could not clean up, the next run does: {error}")


@contextmanager
def opened_run(call: Invocation) -> Iterator[tuple[Chosen, str, Engine, ProfileLock]]:
    """Begin a run on the target: profile, target, an engine of its own, and pins; the lab is up if it is the profile.

    Raises:
        InputError: there is no target or no profile, there are no pins, or another run is under way in this checkout.
    """
    chosen = choose(call)
    target = required_target(chosen.name, chosen.profile)
    with alone(call), marked_engine(call) as engine:
        if chosen.name == LAB:
            ensure_lab(call, chosen, engine)
            pins = fresh_lab_pins(call, chosen)
        else:
            pins = pins_for(call, chosen)
        yield chosen, target, engine, pins


def pins_for(call: Invocation, chosen: Chosen) -> ProfileLock:
    """Return the profile's pins out of its lock.

    Raises:
        InputError: there are none, or they are out of date.
    """
    return pins_of(_lock(call, chosen), chosen.name, chosen.stated)


def fresh_lab_pins(call: Invocation, chosen: Chosen) -> ProfileLock:
    """Return the lab's pins, resolved again if the lab or its profile is newer than the lock."""
    path = call.root / chosen.profile.lock
    pins = _lock(call, chosen).profiles.get(chosen.name)
    made = layout_of(chosen.profile, call.root).state
    if pins is None or pins.inputs != inputs_digest(chosen.stated) or made.stat().st_mtime > path.stat().st_mtime:
        return resolve_pins(call, chosen)
    return pins


def resolve_pins(call: Invocation, chosen: Chosen) -> ProfileLock:
    """Ask the world for a profile's pins and write them to its lock; the caller is `alone`.

    Raises:
        InputError: the lock cannot be read or written.
        UnreachableError, CredentialError, ProtocolError: the world could not tell.
    """
    lock = _mendable_lock(call, chosen)
    registry = Registry(load_credentials(call.authfile))
    known = lock.profiles.get(chosen.name)
    pins = discover(
        chosen.name,
        chosen.stated,
        chosen.profile,
        registry,
        call.root,
        known,
        lambda text: call.say(f"discover: {text}"),
        call.forget,
    )
    # Asking takes minutes: the pins of other profiles are those that stand there now.
    lock = _mendable_lock(call, chosen)
    write_atomically(call.root / chosen.profile.lock, write_lock(lock.with_profile(chosen.name, pins)))
    call.say(f"discover: wrote {chosen.profile.lock}")
    return pins


def image_source(call: Invocation) -> ImageSource:
    """What people wrote for the client image."""
    return read_image_source(call.root / "images" / "beegfs-client")


def recipes_for(call: Invocation, chosen: Chosen, pins: ProfileLock, found: Plan) -> list[Recipe]:
    """The recipe of every cell of a plan."""
    _refuse_other_sources(call, chosen, pins)
    source = image_source(call)
    gates = ALL_GATES if call.boot else STATIC_GATES
    if not found.cells:
        raise InputError(
            f"the plan of profile {chosen.name} has no cells",
            f"{command('plan', chosen.name)} shows why each candidate is out.",
        )
    return [make_recipe(cell, chosen.name, chosen.profile, pins, source, gates) for cell in found.cells]


def _refuse_other_sources(call: Invocation, chosen: Chosen, pins: ProfileLock) -> None:
    """Pins hold for the key and the base they were made with; overriding either asks for pins of its own."""
    wanted = expected_fingerprint(chosen.profile, call.root)
    problems = [
        Problem(chosen.profile.lock, f"client {pin.version} for {pin.line} has the key {pin.key.fingerprint}")
        for pin in pins.clients
        if pin.key.fingerprint != wanted
    ]
    if problems:
        problems.append(Problem("key_fingerprint", f"the key that is wanted is {wanted}"))
    if chosen.profile.base.repository != pins.base.repository:
        problems.append(Problem("base", f"wanted is {chosen.profile.base.repository}, pinned {pins.base.repository}"))
    if problems:
        raise InputError(
            f"{chosen.profile.lock} was made with another key or base",
            f"Run {command('discover', chosen.name)} with the same options; use mirrors for a mirror.",
            tuple(problems),
        )


def _lock(call: Invocation, chosen: Chosen) -> Lock:
    path = call.root / chosen.profile.lock
    try:
        path.lstat()
    except FileNotFoundError:
        return Lock()
    except OSError:
        # What prevents looking also prevents reading, and that reports it.
        pass
    return read_lock(read_text(path, "lock file"), chosen.profile.lock)


def _mendable_lock(call: Invocation, chosen: Chosen) -> Lock:
    """The lock, for who is about to write it."""
    path = call.root / chosen.profile.lock
    if path.is_relative_to(call.root):
        remove_unfinished(path)
    try:
        return _lock(call, chosen)
    except InputError as error:
        hint = f"Take {chosen.profile.lock} from version control, or remove it: "
        hint += f"then {command('discover', chosen.name)} makes it anew."
        raise InputError(error.message, hint, error.problems) from error
