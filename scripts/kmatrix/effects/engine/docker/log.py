"""The lines that Docker's classic builder prints (moby: builder/dockerfile), told from those of the steps' programs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kmatrix.values.engine import FailedStep

# Shells, and the engine for a step's own program, report 128 and the signal's number for a killed program.
SIGNALS = range(129, 129 + 64)
_STEP = re.compile(r"Step \d+/\d+ : (.*)")
_RUNNING = re.compile(r"\s*---> Running in ([0-9a-f]{12})")
_CREATED = re.compile(r"\s*---> ([0-9a-f]{12})\s*$")
_OWN = re.compile(r"\s*---> |Removing intermediate container |The command '")
_ENDED = re.compile(r"(?:The command '(?P<command>.*)' )?returned a non-zero code: (?P<status>\d+)", re.DOTALL)


class BuildLog:
    """Follows the log of one build, line by line.

    Attributes:
        container: the container that the last line began, else empty.
        image: the image that the last line reported as made, or found in the cache, else empty; a base is none.
    """

    def __init__(self) -> None:
        self.container = ""
        self.image = ""
        self._base = False
        self._output: list[str] = []

    def add(self, line: str) -> None:
        """Take the next line."""
        self.container = self.image = ""
        if step := _STEP.match(line):
            self._base = step[1].startswith("FROM ")
            self._output.clear()
        elif match := _RUNNING.match(line):
            self.container = match[1]
        elif match := _CREATED.match(line):
            self.image = "" if self._base else match[1]
        elif not _OWN.match(line):
            self._output.append(line)

    @property
    def output(self) -> tuple[str, ...]:
        """The lines that the programs of the last step wrote."""
        return tuple(self._output)


def failed_step(error: str, output: tuple[str, ...] = ()) -> FailedStep | None:
    """Return the step that ended a build with an exit code, killed or not; None if the builder met something else.

    Args:
        error: the message that the builder ended with.
        output: the lines that the step's programs wrote.
    """
    ended = _ENDED.search(error)
    return FailedStep(ended["command"] or "", int(ended["status"]), output) if ended else None


def steps_done(log: Iterable[str]) -> tuple[str, ...]:
    """Return the instructions of a build's log that were carried out, in order: not those that the cache answered."""
    done: list[str] = []
    step = ""
    for line in log:
        if match := _STEP.fullmatch(line.strip()):
            step = match[1]
        elif _RUNNING.match(line) and step:
            done.append(step)
            step = ""
    return tuple(done)
