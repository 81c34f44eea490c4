"""Define the errors that a user can meet: each has a message, a next step and an exit code.

    Exception
    ├── KmatrixError              3  errored, unless a subclass says otherwise
    │   ├── InputError            2  a file, option or environment variable is malformed
    │   ├── UnreachableError      4  a service could not be reached
    │   ├── CredentialError       4  a service refused the credential, or there is none
    │   │   └── NotReadableError  4  a registry lets this account push, but not read
    │   ├── ProtocolError         3  a service replied, but not in its protocol
    │   ├── ToolError             3  a program or the container engine failed
    │   └── BuildError            1  the product is bad
    └── InterruptedRunError     130  the run was told to stop

Subclasses with the same exit codes, for callers that tell them apart, stand beside their effects: those of ToolError
in `kmatrix.effects.engine.errors`, that of CredentialError in `kmatrix.effects.registry.auth`.

`kmatrix.commands.guard` catches them in one place. In a cell they become its verdict: BuildError failed, all others
errored.
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
    NOTHING_NEW = 5
    INTERRUPTED = 130


class KmatrixError(Exception):
    """An error with a message and a next step for the user.

    Args:
        message: the fault, with the file, key or service concerned.
        hint: the next step, in a sentence.

    Both are stripped of all parts of addresses but server and path: errors go to terminals, to logs and into results.
    """

    exit_code: Exit = Exit.ERRORED

    def __init__(self, message: str, hint: str) -> None:
        # A message may quote services, programs and files.
        self.message = redacted(plain(message))
        self.hint = redacted(plain(hint))
        super().__init__(self.message)


@dataclass(frozen=True)
class Problem:
    """One fault of an input file: its place, and a message with the expected form."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class InputError(KmatrixError):
    """A file, an option or an environment variable is malformed (exit code 2)."""

    exit_code = Exit.USAGE

    def __init__(self, message: str, hint: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, hint)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join([self.message, *(redacted(f"  {problem}") for problem in self.problems)])


class UnreachableError(KmatrixError):
    """A needed service could not be reached (exit code 4); nothing follows about its content.

    Args:
        service: its human-readable name.
        address: the address that was tried.
        cause: the message of the failed attempt.
        hint: the next step, if more is known than that the service does not answer.
    """

    exit_code = Exit.UNREACHABLE

    def __init__(self, service: str, address: str, cause: str, hint: str = "") -> None:
        super().__init__(
            f"the {service} at {address} could not be queried: {cause}",
            hint or f"Check that this machine reaches the {service}, then run the same again.",
        )
        self.service = service


class CredentialError(KmatrixError):
    """A service refuses the credential, or there is none (exit code 4); never retried."""

    exit_code = Exit.UNREACHABLE


class NotReadableError(CredentialError):
    """A repository does not exist, or its credential may not read it: the registry does not say which (exit code 4)."""


class ProtocolError(KmatrixError):
    """A service replied, but not in the form that its protocol demands."""


class ToolError(KmatrixError):
    """A program or the container engine failed in a manner that says nothing about a cell."""


class BuildError(KmatrixError):
    """An image could not be built from its Dockerfile: the product is bad, not the machine.

    Args:
        message: the reason, in one line.
        excerpt: the lines of the build's log that name the cause.
        hint: the next step, if more is known than the build's log has.
    """

    exit_code = Exit.FAILED

    def __init__(self, message: str, excerpt: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(
            message, hint or "Read the build's log, and correct the Dockerfile, the package or the sources it names."
        )
        self.excerpt = tuple(redacted(plain_line(line)) for line in excerpt)


class InterruptedRunError(Exception):
    """The run was told to stop while this step was under way (exit code 130)."""
