"""The pins of an earlier run, as `discover` falls back on them where an answer lacks something."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import Arch, ClientVersion, ReleaseVersion
from kmatrix.values.pins import ClientPin, ReleasePin, UnavailablePin, UnresolvedPin


@dataclass(frozen=True)
class EarlierPins:
    """The pins of an earlier run, and how far they may be used.

    Attributes:
        profile_name: for messages.
        pins: the profile's pins in the lock; None without a lock.
        reusable: whether they were resolved from the same inputs; others may lack something.
        forget: releases and kernels to be removed from the lock.
        today: the day, as 2026-03-31.
        now: the time of this discovery, UTC, as 2026-03-31T03:17:05Z.
        last: the time of the last one; None if it is not known.
    """

    profile_name: str
    pins: ProfileLock | None
    reusable: bool
    forget: Collection[str]
    today: str
    now: str
    last: str | None

    def release(self, version: ReleaseVersion, arch: Arch) -> tuple[ReleasePin, ...]:
        """Return the pins of a release: one for each of its toolkits."""
        pins = self.pins.releases if self.pins else ()
        return tuple(pin for pin in pins if (pin.version, pin.arch) == (version, arch))

    def unresolved(self, version: ReleaseVersion, arch: Arch) -> UnresolvedPin | None:
        """Return the entry of a release that was unresolved, or None."""
        pins = self.pins.unresolved if self.pins else ()
        return next((pin for pin in pins if (pin.version, pin.arch) == (version, arch)), None)

    def client(self, client: ClientVersion, stream: str, arch: Arch) -> ClientPin | None:
        """Return the pin of a client's packages, or None."""
        pins = self.pins.clients if self.pins else ()
        return next((pin for pin in pins if (pin.version, pin.stream, pin.arch) == (client, stream, arch)), None)

    def packages(
        self, clients: Collection[ClientVersion], key: str
    ) -> tuple[tuple[ClientPin, ...], tuple[UnavailablePin, ...]]:
        """Return the packages of some clients that a key signed, and those that were not available."""
        if self.pins is None:
            return (), ()
        return (
            tuple(pin for pin in self.pins.clients if pin.version in clients and pin.key.fingerprint == key),
            tuple(pin for pin in self.pins.unavailable if pin.client in clients),
        )
