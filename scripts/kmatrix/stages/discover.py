"""discover: resolve releases, kernels and packages into the pins that the lock keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path

from kmatrix.decide.retention import refuse_useless_forgets, retired
from kmatrix.effects.disk.files import read_text
from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.effects.registry.client import Registry
from kmatrix.stages.discover_packages import pin_clients
from kmatrix.stages.discover_releases import pin_releases
from kmatrix.stages.earlier_pins import EarlierPins
from kmatrix.stages.progress import Progress, QuietProgress, stepping
from kmatrix.values.errors import CredentialError, InputError, ProtocolError, UnreachableError
from kmatrix.values.lock import ProfileLock, inputs_digest
from kmatrix.values.matrix import Profile, mirrored
from kmatrix.values.names import ImageRef, fingerprint

Say = Callable[[str], None]


def discover(
    profile_name: str,
    as_written: Profile,
    profile: Profile,
    registry: Registry,
    root: Path,
    known: ProfileLock | None,
    say: Say,
    forget: Collection[str] = (),
    now: datetime | None = None,
    last: str | None = None,
    progress: Progress | None = None,
    warn: Say | None = None,
) -> ProfileLock:
    """Resolve everything a profile needs into pins.

    Pins that the lock has and an answer lacks stay, marked as gone: a release leaves by `from`, `newest`, the channels
    or the arches of matrix.yaml, or when a person names it to be forgotten.

    Args:
        profile_name: for messages.
        as_written: the profile as matrix.yaml has it; its digest decides whether the lock is up to date.
        profile: the same with overrides.
        registry: payloads and toolkits are read from it.
        root: the project's folder, for a local package root and a fingerprint file.
        known: the pins of an earlier run; a payload that was read then is not read again.
        say: is given a line of progress.
        forget: releases gone from the graph that are to leave the lock, or kernels that no release has.
        now: the time, with a zone; by default that of the machine's clock.
        last: the time of the last discovery, as 2026-03-31T03:17:05Z; None if it is not known.
        progress: is told how many releases and package sets are left; None if nobody looks.
        warn: is given a line about a fault that the pins outlive; `say` by default.

    Returns:
        the pins. A release that could not be read is in `unresolved`.

    Raises:
        UnreachableError, CredentialError: the update graph, the base's registry or the package root could not be
            queried.
        ProtocolError, InputError: one of them answered wrongly, or a setting is wrong.
    """
    now = (now or datetime.now(UTC)).astimezone(UTC)
    today = now.date().isoformat()
    wanted_key = expected_fingerprint(profile, root)
    reusable = bool(known and known.inputs == inputs_digest(as_written))
    before = EarlierPins(profile_name, known, reusable, forget, today, now.strftime("%Y-%m-%dT%H:%M:%SZ"), last)
    progress, warn = progress or QuietProgress(), warn or say
    if known is None:
        say("there is no earlier lock: the graph's answer is taken as it is")
    found = pin_releases(profile_name, profile, registry, before, say, warn, progress)
    releases = found.releases
    kernels = refuse_useless_forgets(forget, known, releases, found.unresolved)
    count = len({(pin.version, pin.arch) for pin in releases})
    say(f"{count} releases with {len({k.release for r in releases for k in r.kernels})} kernels")
    base = _base(profile, registry, known, warn)
    packages = PackageRoot(profile.packages, root)
    with stepping(progress, "discover", "packages"):
        clients, unavailable = pin_clients(profile_name, profile, packages, releases, wanted_key, before, say)
    say(f"{len(clients)} package sets, {len(unavailable)} not available")
    return ProfileLock(
        inputs=inputs_digest(as_written),
        base=base,
        releases=releases,
        unresolved=found.unresolved,
        updates=found.updates,
        empty_channels=found.empty_channels,
        clients=clients,
        unavailable=unavailable,
        retired=retired(known, releases, profile, forget, kernels, today),
    ).in_order()


def _base(profile: Profile, registry: Registry, known: ProfileLock | None, warn: Say) -> ImageRef:
    """Return the base by digest: that of the lock if its registry does not answer, or answers wrongly."""
    try:
        found = registry.resolve(mirrored(profile.base, profile.mirrors))
    except (UnreachableError, CredentialError, ProtocolError) as error:
        if known is None or known.base.repository != profile.base.repository:
            raise
        warn(f"the base stays as pinned: {error.message}")
        return known.base
    return profile.base.with_digest(found.digest)


def expected_fingerprint(profile: Profile, root: Path) -> str:
    """Return the fingerprint of the key that must have signed every package.

    Raises:
        InputError: the file that should hold it cannot be read, or holds none.
    """
    if profile.key_file is None:
        return profile.key_fingerprint
    text = read_text(root / profile.key_file, "fingerprint file", "For the lab, `nox -s lab -- up` creates it.")
    try:
        return fingerprint(text.strip())
    except ValueError as error:
        raise InputError(
            f"fingerprint file {profile.key_file}: {error}",
            "Write the key's fingerprint there: 40 hexadecimal digits and nothing else.",
        ) from error
