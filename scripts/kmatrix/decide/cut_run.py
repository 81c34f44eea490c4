"""Tells what a run did not do that ended before each of its cells, or bundles, had a verdict."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kmatrix.values.errors import InterruptedRunError, KmatrixError
from kmatrix.values.redaction import redacted
from kmatrix.values.text import plain_line

_MOST_NAMES = 10


@dataclass(frozen=True)
class CutRun:
    """A run that an error or a signal ended.

    Attributes:
        noun: what it is about: `cell` or `bundle`.
        total: the number of these.
        unreached: the names of those that it brought to no verdict, in its order.
        reason: why it ended, in one line.
        resume: a clause with the command that goes on.
    """

    noun: str
    total: int
    unreached: tuple[str, ...]
    reason: str
    resume: str

    def __str__(self) -> str:
        """Return how many it did not reach, and the names of the first ones."""
        left = len(self.unreached)
        nouns = self.noun if self.total == 1 else f"{self.noun}s"
        verb = "was" if left == 1 else "were"
        if not left:
            return f"each of {self.total} {nouns} has a verdict"
        named = ", ".join(self.unreached[:_MOST_NAMES])
        more = f" and {left - _MOST_NAMES} more" if left > _MOST_NAMES else ""
        return f"{left} of {self.total} {nouns} {verb} not reached: {named}{more}"


def unreached(wanted: Collection[str], reached: Collection[str]) -> tuple[str, ...]:
    """Return the names without a verdict, in the order of those that were wanted."""
    return tuple(name for name in wanted if name not in reached)


def resume_clause(command: str, noun: str, *, goes_on: bool, finished: bool = False) -> str:
    """Return a clause about the same command, run again.

    Args:
        command: in backquotes.
        noun: what the run is about: `cell` or `bundle`.
        goes_on: whether it leaves out what has a verdict already.
        finished: whether everything has a verdict, and something was lost behind the last one.
    """
    if not goes_on:
        return f"{command} begins again with every {noun}"
    return f"{command} does what is left" if finished else f"{command} goes on with the other {noun}s"


def reason_of(error: BaseException) -> str:
    """Return in one line why an error or a signal ended a command."""
    if isinstance(error, KmatrixError):
        return error.message
    if isinstance(error, KeyboardInterrupt | InterruptedRunError):
        return "interrupted"
    return redacted(plain_line(f"internal error: {type(error).__name__}: {error}"))
