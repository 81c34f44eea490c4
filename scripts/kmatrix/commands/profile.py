"""The start of every command: its profile, the pins and recipes of that, and a run of its own in this checkout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from kmatrix.commands.invocation import Invocation
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.plan import Plan
from kmatrix.decide.render import make_recipe
from kmatrix.effects.disk.discoveries import DiscoveryTimes
from kmatrix.effects.disk.files import read_text, remove_unfinished, write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.build_context import read_image_source
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.registry.answers import Answers
from kmatrix.effects.registry.cached import CachedRegistry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.runs import clear_ended_runs, marked_run, only_run
from kmatrix.effects.vm.boot_files import boot_folder, remove_boot_files
from kmatrix.lab import up as lab_up
from kmatrix.lab.layout import layout_of
from kmatrix.stages.discover import discover, expected_fingerprint
from kmatrix.values.errors import InputError, KmatrixError, Problem
from kmatrix.values.lock import Lock, MergeConflictError, ProfileLock, inputs_digest, pins_of, read_lock, write_lock
from kmatrix.values.matrix import Profile, required_target
from kmatrix.values.overrides import option, override
from kmatrix.values.recipe import ImageSource, Recipe

LAB = "lab"
GRAPH = option("graph")


@dataclass(frozen=True)
class SelectedProfile:
    """A profile: its name, as matrix.yaml has it, and as it is in effect with overrides."""

    name: str
    as_written: Profile
    effective: Profile


def select_profile(call: Invocation, name: str | None = None) -> SelectedProfile:
    """Return the profile that a command acts on.

    Raises:
        InputError: matrix.yaml or an override is wrong, or there is no such profile.
    """
    matrix = read_matrix(read_text(call.root / "matrix.yaml", "matrix file"))
    wanted = name or call.profile or matrix.default_profile
    as_written = matrix.profile(wanted)
    return SelectedProfile(wanted, as_written, override(as_written, call.overrides))


def ensure_lab(call: Invocation, chosen: SelectedProfile, engine: Engine) -> bool:
    """Bring the lab up; returns whether something had to be created or started."""
    layout = layout_of(chosen.effective, call.root)
    return lab_up.up(engine, layout, chosen.effective, lambda text: call.say(f"lab: {text}"))


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
        call.say(f"could not clean up; the next run will: {error}")


@contextmanager
def opened_run(call: Invocation) -> Iterator[tuple[SelectedProfile, str, Engine, ProfileLock]]:
    """Begin a run on the target: profile, target, an engine of its own, and pins; brings the lab up for its profile.

    Raises:
        InputError: there is no target or no profile, an option has no effect, there are no pins, or another run is
            under way in this checkout.
    """
    chosen = select_profile(call)
    if chosen.name != LAB and GRAPH in call.typed:
        raise InputError(
            f"{call.command}: {GRAPH} has no effect with profile {chosen.name}, whose releases are pinned in its lock",
            f"Remove it; {call.next('discover', chosen.name)} resolves the releases of that graph.",
        )
    target = required_target(chosen.name, chosen.effective)
    with alone(call), marked_engine(call) as engine:
        if chosen.name == LAB:
            ensure_lab(call, chosen, engine)
            pins = fresh_lab_pins(call, chosen)
        else:
            pins = pins_for(call, chosen)
        yield chosen, target, engine, pins


def pins_for(call: Invocation, chosen: SelectedProfile) -> ProfileLock:
    """Return the profile's pins from its lock.

    Raises:
        InputError: there are none, or they are out of date.
    """
    return pins_of(_lock(call, chosen), chosen.name, chosen.as_written)


def known_pins(call: Invocation, chosen: SelectedProfile) -> ProfileLock | None:
    """Return the profile's pins as the lock has them, up to date or not; None without any.

    Raises:
        InputError: the lock cannot be read.
    """
    return _lock(call, chosen).profiles.get(chosen.name)


def fresh_lab_pins(call: Invocation, chosen: SelectedProfile) -> ProfileLock:
    """Return the lab's pins, resolved again if the lab or its profile is newer than the lock."""
    path = call.root / chosen.effective.lock
    pins = known_pins(call, chosen)
    state = layout_of(chosen.effective, call.root).state
    if pins is None or pins.inputs != inputs_digest(chosen.as_written) or state.stat().st_mtime > path.stat().st_mtime:
        return resolve_pins(call, chosen)
    return pins


def resolve_pins(call: Invocation, chosen: SelectedProfile) -> ProfileLock:
    """Resolve the profile against the live services and update the lock file; the caller holds the checkout (`alone`).

    Raises:
        InputError: the lock cannot be read or written.
        UnreachableError, CredentialError, ProtocolError: a service is unreachable, refuses, or answers wrongly.
    """
    _, pins, now = discovered(call, chosen)
    # The services took minutes to answer: other profiles keep the pins that they have by now.
    path = call.root / chosen.effective.lock
    text = write_lock(_replaceable_lock(call, chosen).with_profile(chosen.name, pins))
    if path.exists() and path.read_text(encoding="utf-8") == text:
        call.say(f"discover: {chosen.effective.lock} is up to date")
        path.touch()
    else:
        write_atomically(path, text)
        call.say(f"discover: wrote {chosen.effective.lock}")
    _discovery_times(call).note(chosen.name, now, pins)
    return pins


def discovered(call: Invocation, chosen: SelectedProfile) -> tuple[ProfileLock | None, ProfileLock, datetime]:
    """Return the profile's pins as the lock has them and as the live services give them now, and the time.

    It writes no lock.

    Raises:
        InputError: the lock cannot be read.
        UnreachableError, CredentialError, ProtocolError: a service is unreachable, refuses, or answers wrongly.
    """
    lock = _replaceable_lock(call, chosen)
    answers = Answers(call.root / "build" / "cache" / "answers")
    registry = CachedRegistry(load_credentials(call.authfile), answers)
    known = lock.profiles.get(chosen.name)
    now = datetime.now(UTC)
    pins = discover(
        chosen.name,
        chosen.as_written,
        chosen.effective,
        registry,
        call.root,
        known,
        lambda text: call.say(f"discover: {text}"),
        call.forget,
        now,
        _discovery_times(call).last(chosen.name, known),
    )
    return known, pins, now


def _discovery_times(call: Invocation) -> DiscoveryTimes:
    return DiscoveryTimes(call.root / "build" / "cache" / "discoveries.json")


def image_source(call: Invocation) -> ImageSource:
    """Return the hand-written files of the client image."""
    return read_image_source(call.root / "images" / "beegfs-client")


def recipes_for(call: Invocation, chosen: SelectedProfile, pins: ProfileLock, found: Plan) -> list[Recipe]:
    """Return the recipe of every cell of a plan.

    Raises:
        InputError: the plan has no cells, or the pins were resolved with another key or base.
    """
    _refuse_other_sources(call, chosen, pins)
    source = image_source(call)
    if not found.cells:
        raise InputError(
            f"the plan of profile {chosen.name} has no cells",
            f"{call.next('plan', chosen.name)} shows why each candidate is out.",
        )
    return [make_recipe(cell, chosen.name, chosen.effective, pins, source) for cell in found.cells]


def _refuse_other_sources(call: Invocation, chosen: SelectedProfile, pins: ProfileLock) -> None:
    """Refuse an overridden key or base: pins hold only for the ones that they were resolved with."""
    wanted = expected_fingerprint(chosen.effective, call.root)
    problems = [
        Problem(chosen.effective.lock, f"client {pin.version} for {pin.stream} has the key {pin.key.fingerprint}")
        for pin in pins.clients
        if pin.key.fingerprint != wanted
    ]
    if problems:
        problems.append(Problem("key_fingerprint", f"expected is the key {wanted}"))
    if chosen.effective.base.repository != pins.base.repository:
        problems.append(
            Problem("base", f"expected is {chosen.effective.base.repository}, pinned is {pins.base.repository}")
        )
    if problems:
        raise InputError(
            f"{chosen.effective.lock} was resolved with another key or base",
            f"Run {call.next('discover', chosen.name)}; use mirrors for a mirror.",
            tuple(problems),
        )


def _lock(call: Invocation, chosen: SelectedProfile) -> Lock:
    path = call.root / chosen.effective.lock
    try:
        path.lstat()
    except FileNotFoundError:
        return Lock()
    except OSError:
        # A fault that prevents looking also prevents reading, which reports it.
        pass
    return read_lock(read_text(path, "lock file"), chosen.effective.lock)


def _replaceable_lock(call: Invocation, chosen: SelectedProfile) -> Lock:
    """Return the lock to a caller that is about to write it; the hint for an unreadable one is to replace it."""
    path = call.root / chosen.effective.lock
    if path.is_relative_to(call.root):
        remove_unfinished(path)
    try:
        return _lock(call, chosen)
    except MergeConflictError:
        # Either side has pins that no service may give again.
        raise
    except InputError as error:
        hint = f"Restore {chosen.effective.lock} from version control, or remove it: "
        hint += f"{call.next('discover', chosen.name)} then writes a new one."
        raise InputError(error.message, hint, error.problems) from error
