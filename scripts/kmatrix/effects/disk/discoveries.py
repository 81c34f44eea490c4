"""Keeps the time of each profile's last discovery: a release that is new appeared after it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from kmatrix.effects.disk.files import write_atomically
from kmatrix.values.errors import InputError
from kmatrix.values.lock import ProfileLock


class DiscoveryTimes:
    """A file with the time of the last discovery of each profile, in UTC, and a digest of the releases it left.

    It is no part of the lock, whose text a discovery without news does not change. Without it a release's appearance
    has no lower bound, and nothing else is lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self, profile_name: str, pins: ProfileLock | None) -> str | None:
        """Return the time of a profile's last discovery, as 2026-03-31T03:17:05Z, or None if it is not known.

        Args:
            profile_name: the profile.
            pins: as the lock has them. If they have other releases than that discovery left, its lock was lost, as that
                of a scheduled job whose commit was refused: it may have seen releases that this lock lacks.
        """
        entry = self._times().get(profile_name)
        try:
            if pins is None or not isinstance(entry, dict) or entry.get("releases") != _releases_of(pins):
                return None
            return datetime.fromisoformat(entry["at"]).strftime("%Y-%m-%dT%H:%M:%SZ")
        except (KeyError, TypeError, ValueError):
            return None

    def note(self, profile_name: str, now: datetime, pins: ProfileLock) -> None:
        """Keep the time of a discovery; the lock has its pins by now."""
        entry = {"at": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "releases": _releases_of(pins)}
        times = {**self._times(), profile_name: entry}
        try:
            write_atomically(self._path, json.dumps(times, indent=1, sort_keys=True) + "\n")
        except InputError:
            return

    def _times(self) -> dict[str, Any]:
        try:
            times = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return times if isinstance(times, dict) else {}


def _releases_of(pins: ProfileLock) -> str:
    """Return a digest of the names of all releases, resolved or not."""
    names = {f"{pin.version} {pin.arch}" for pin in pins.releases}
    names |= {f"{pin.version} {pin.arch}" for pin in pins.unresolved}
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
