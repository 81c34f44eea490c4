"""Every error a person can meet: each says what happened, what to do next, and its exit code.

They are caught in one place, `kmatrix.commands.guard`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from kmatrix.values.redaction import redacted
from kmatrix.values.text import plain, plain_line


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ERRORED = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


class KmatrixError(Exception):
    """An error meant for people.

    Args:
        message: what happened, with the file, key or service concerned.
        hint: what to do next.

    Whatever an address in them holds beside its server and its path is taken out: errors go to terminals, to logs
    and into results.
    """

    exit_code: Exit = Exit.ERRORED

    def __init__(self, message: str, hint: str) -> None:
        # A message may quote services, programs and files.
        self.message = redacted(plain(message))
        self.hint = redacted(plain(hint))
        super().__init__(self.message)


@dataclass(frozen=True)
class Problem:
    """One fault of an input file: where it is, what was expected, what to do."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class InputError(KmatrixError):
    """A file, an option or an environment variable is not as it must be (exit code 2)."""

    exit_code = Exit.USAGE

    def __init__(self, message: str, hint: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, hint)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join([self.message, *(redacted(f"  {problem}") for problem in self.problems)])


class UnreachableError(KmatrixError):
    """A needed service could not be asked (exit code 4); says nothing about what it holds.

    Args:
        service: what it is, for people.
        address: where it was looked for.
        cause: what went wrong, in the words of whoever tried.
        hint: what to do next, where more is known than that it does not answer.
    """

    exit_code = Exit.UNREACHABLE

    def __init__(self, service: str, address: str, cause: str, hint: str = "") -> None:
        super().__init__(
            f"the {service} at {address} could not be asked: {cause}",
            hint or f"Check that this machine reaches the {service}, then run the same again.",
        )
        self.service = service


class CredentialError(KmatrixError):
    """A service refuses the credential, or there is none (exit code 4); never retried."""

    exit_code = Exit.UNREACHABLE


class NotReadableError(CredentialError):
    """A repository does not exist, or its credential may not read it: the registry does not say which (exit code 4)."""


class ProtocolError(KmatrixError):
    """A service answered, but not in the form its protocol asks for."""


class ToolError(KmatrixError):
    """A program or the engine failed in a way that says nothing about a cell."""


class BuildError(KmatrixError):
    """An image could not be built from its Dockerfile: the product is bad, not the machine.

    Args:
        message: one line, the reason.
        excerpt: the lines of the build's log that matter.
        hint: what to do next, where more is known than that the build's log tells it.
    """

    exit_code = Exit.FAILED

    def __init__(self, message: str, excerpt: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(
            message, hint or "Read the build's log, and correct the Dockerfile, the package or the sources it names."
        )
        self.excerpt = tuple(redacted(plain_line(line)) for line in excerpt)


class InterruptedRunError(Exception):
    """The run was told to stop while this step was under way."""
