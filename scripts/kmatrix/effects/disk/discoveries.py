"""Keeps the time of each profile's last discovery: a release that is new appeared after it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from kmatrix.effects.disk.files import write_atomically
from kmatrix.values.errors import InputError


class DiscoveryTimes:
    """A file with the time of the last discovery of each profile, in UTC.

    It is no part of the lock, whose text a discovery without news does not change. Without it a release's appearance
    has no lower bound, and nothing else is lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self, profile_name: str) -> str | None:
        """Return the time of a profile's last discovery, as 2026-03-31T03:17:05Z, or None if it is not known."""
        value = self._times().get(profile_name)
        try:
            return datetime.fromisoformat(value).strftime("%Y-%m-%dT%H:%M:%SZ") if value else None
        except ValueError:
            return None

    def note(self, profile_name: str, now: datetime) -> None:
        """Keep the time of a discovery."""
        times = {**self._times(), profile_name: now.strftime("%Y-%m-%dT%H:%M:%SZ")}
        try:
            write_atomically(self._path, json.dumps(times, indent=1, sort_keys=True) + "\n")
        except InputError:
            return

    def _times(self) -> dict[str, str]:
        try:
            times = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in times.items()} if isinstance(times, dict) else {}
