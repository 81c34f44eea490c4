"""The containers and images of a run's builds, noted on disk: a killed run cannot remove them, the next one can."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kmatrix.effects.disk.files import cannot_write

_LINE = re.compile(r"(container|image) ([0-9a-f]{12,64})")


@dataclass(frozen=True)
class Noted:
    """The ids of containers and images that a run noted, in the order in which its builds made them."""

    containers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


class BuildNotes:
    """The notes of one run; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Begin without notes.

        Args:
            path: the file, of this run's own; it is created with the first note.
        """
        self._path = path
        self._lock = threading.Lock()

    def note(self, kind: str, name: str) -> None:
        """Note a `container` or an `image` of a build.

        Raises:
            InputError: the file cannot be written.
        """
        with self._lock:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{kind} {name}\n")
            except OSError as error:
                raise cannot_write(self._path, error) from error

    def forget(self) -> None:
        """Remove the notes, once everything that they name is removed."""
        with suppress(OSError):
            self._path.unlink()


def read_notes(path: Path) -> Noted:
    """Return the notes of a run that is over; none where it left no notes."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Noted()
    # The last line may be cut.
    found = [match for line in text.splitlines() if (match := _LINE.fullmatch(line))]
    return Noted(*(tuple(match[2] for match in found if match[1] == kind) for kind in ("container", "image")))
