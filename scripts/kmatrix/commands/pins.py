"""The pins of a command's profile: read from its lock, or resolved against the live services."""

from __future__ import annotations

from datetime import UTC, datetime

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile
from kmatrix.commands.showing import showing
from kmatrix.effects.disk.discoveries import DiscoveryTimes
from kmatrix.effects.disk.files import read_text, remove_unfinished, write_atomically
from kmatrix.effects.registry.answers import Answers
from kmatrix.effects.registry.cached import CachedRegistry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.lab.layout import layout_of
from kmatrix.stages.discover import discover
from kmatrix.values.errors import InputError
from kmatrix.values.lock import Lock, MergeConflictError, ProfileLock, inputs_digest, pins_of, read_lock, write_lock


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
    layout = layout_of(chosen.effective, call.root)
    # The lab's parts of an architecture make the pins of its own profiles stale, and no others.
    of_arches = map(layout.state_of, chosen.effective.arches)
    states = [state for state in (layout.state, *of_arches) if state.exists()]
    newest = max(state.stat().st_mtime for state in states)
    if pins is None or pins.inputs != inputs_digest(chosen.as_written) or newest > path.stat().st_mtime:
        return resolve_pins(call, chosen)
    return pins


def resolve_pins(call: Invocation, chosen: SelectedProfile) -> ProfileLock:
    """Resolve the profile as `replace_pins` does, and return its pins.

    Raises:
        KmatrixError: see there.
    """
    return replace_pins(call, chosen)[1]


def replace_pins(call: Invocation, chosen: SelectedProfile) -> tuple[ProfileLock | None, ProfileLock]:
    """Resolve the profile against the live services and update the lock file; the caller holds the checkout (`alone`).

    Returns:
        the profile's pins as the lock had them, None without any; and as it has them now.

    Raises:
        InputError: the lock cannot be read or written.
        UnreachableError, CredentialError, ProtocolError: a service is unreachable, refuses, or answers wrongly.
    """
    before, pins, now = discovered(call, chosen)
    # The services took minutes to answer: other profiles keep the pins that they have by now.
    path = call.root / chosen.effective.lock
    text = write_lock(_replaceable_lock(call, chosen).with_profile(chosen.name, pins))
    if path.exists() and path.read_text(encoding="utf-8") == text:
        call.say(f"discover: {chosen.effective.lock} is up to date")
        # The lab's pins count as stale while its state is newer than the lock.
        path.touch()
    else:
        write_atomically(path, text)
        call.say(f"discover: wrote {chosen.effective.lock}")
    _discovery_times(call).note(chosen.name, now, pins)
    return before, pins


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
    with showing(call) as progress:
        pins = discover(
            chosen.name,
            chosen.as_written,
            chosen.effective,
            registry,
            call.root,
            known,
            lambda text: progress.say(f"discover: {text}"),
            call.forget,
            now,
            _discovery_times(call).last(chosen.name, known),
            progress,
            lambda text: progress.warn(f"discover: {text}"),
        )
    return known, pins, now


def _discovery_times(call: Invocation) -> DiscoveryTimes:
    return DiscoveryTimes(call.root / "build" / "cache" / "discoveries.json")


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
