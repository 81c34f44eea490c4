"""What a run's builds make in the engine, noted on disk meanwhile: a killed run cannot remove it, the next one can.

An engine does not let a build label its containers, nor its images before the last one.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path

from kmatrix.effects.disk.files import cannot_write
from kmatrix.effects.engine.docker import Engine

_LINE = re.compile(r"(container|image) ([0-9a-f]{12,64})")


class BuildNotes:
    """The notes of one run; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Begin without notes.

        Args:
            path: the file, of this run's own; it is made with the first note.
        """
        self._path = path
        self._lock = threading.Lock()

    def note(self, kind: str, name: str) -> None:
        """Note a `container` or an `image` that a build made.

        Raises:
            InputError: the place cannot be written.
        """
        with self._lock:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{kind} {name}\n")
            except OSError as error:
                raise cannot_write(self._path, error) from error

    def forget(self) -> None:
        """Remove the notes: the run removed what they name."""
        with suppress(OSError):
            self._path.unlink()


def remove_noted(engine: Engine, path: Path) -> None:
    """Remove what the notes of a run that is over name, and the notes.

    Raises:
        UnreachableError: the engine went away; the notes stay.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    # The last line may be cut.
    found = [match for line in text.splitlines() if (match := _LINE.fullmatch(line))]
    for match in found:
        if match[1] == "container":
            engine.remove_container(match[2])
    for match in reversed(found):
        if match[1] == "image":
            engine.remove_step(match[2])
    with suppress(OSError):
        path.unlink()
