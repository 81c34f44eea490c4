"""The errors of a container engine that its users tell apart, and how an engine's messages are understood.

Docker, BuildKit and Podman are Go programs: the messages of its libraries, and of registries, are the same in all.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from kmatrix.values.engine import FailedStep
from kmatrix.values.errors import ToolError, UnreachableError

# The messages of Go's net and net/http, of moby and of registries, in small letters.
_TRANSIENT_WORDS = (
    "connection reset",
    "connection refused",
    "connection timed out",
    "broken pipe",
    "unexpected eof",
    ": eof",
    "i/o timeout",
    "timeout awaiting response headers",
    "host is down",
    "stream error",
    "server closed idle connection",
    "context deadline exceeded",
    "client.timeout exceeded",
    "request canceled",
    "no route to host",
    "network is unreachable",
    "server misbehaving",
    "temporary failure in name resolution",
    "proxyconnect tcp",
    "http2: server sent goaway",
    "use of closed network connection",
    "cannot connect to the docker daemon",
    "error during connect",
    "toomanyrequests",
    "parsing http 429",
    "no such host",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway",
    "unexpected http status: 5",
    "status code 5",
    "received unexpected http status",
    "tls handshake timeout",
)
_CREDENTIAL_WORDS = (
    "unauthorized",
    "no basic auth credentials",
    "access denied",
    "access to the resource is denied",
    "denied: ",
    "authentication required",
    "forbidden",
)

# Somebody else removed an image that a build stands on (moby: builder/dockerfile, layer/layer_store.go).
# The last words are those of the classic builder's search for a cached step, which looks at every image on the same
# parent, while another run may remove one (moby, daemon/images/cache.go).
_TAKEN_AWAY = re.compile(
    r"unknown parent image|no such image|layer does not exist|unknown parent layer|unable to find image", re.IGNORECASE
)
ADDRESS = "DOCKER_HOST, the Docker context or the local socket"
PASSING = "Check that it runs, then run the command again; it resumes from here."


class StepFailedError(ToolError):
    """A program of a build's step ended with an exit code of its own; `step` has its output.

    The product or the machine may be to blame: `kmatrix.decide.build_log` decides that from the output.

    Args:
        message: one line, the builder's.
        step: the step.
        hint: the next step.
    """

    def __init__(
        self, message: str, step: FailedStep, hint: str = "Read the build's log, and correct the step that it names."
    ) -> None:
        super().__init__(message, hint)
        self.step = step


def foreign_program(arch: str, detail: str) -> ToolError:
    """Return the error for a container whose programs the engine's machine does not run.

    Args:
        arch: of the programs.
        detail: what the container's runtime says.
    """
    return ToolError(
        f"the machine of the container engine runs no programs of {arch}: {detail}",
        f"Run `./scripts/bootstrap --arch {arch}` there, which installs an emulator; or run this command on a machine "
        f"of {arch}.",
    )


class RegistryRefusalError(ToolError):
    """The registry refuses the engine's credential; never retried."""


class TakenAwayError(ToolError):
    """An image that a build stands on was removed meanwhile; the same build makes it again."""


class AddressInUseError(ToolError):
    """Something else listens on the address that a server was to have."""


def is_transient(message: str) -> bool:
    """Return whether a message is that of a fault that passes: of the network, of a busy or starting service."""
    lower = message.lower()
    return any(each in lower for each in _TRANSIENT_WORDS)


def was_taken_away(message: str) -> bool:
    """Return whether a builder's message is about an image that was there, and that somebody else removed."""
    return bool(_TAKEN_AWAY.search(message))


def registry_error(verb: str, name: str, error: str) -> UnreachableError | ToolError:
    """Return the error for a registry's answer to the engine: worth a retry, a matter of credentials, or final."""
    if is_transient(error):
        return UnreachableError("image registry", name, error, PASSING)
    if any(word in error.lower() for word in _CREDENTIAL_WORDS):
        return RegistryRefusalError(
            f"the registry refuses to {verb} {name}: {error}",
            "`docker login` writes a credential; check that it may read there, and also write if it is to publish.",
        )
    return ToolError(f"could not {verb} {name}: {error}", "Check the name in matrix.yaml, and the registry's message.")


def engine_gone(doing: str, error: Exception) -> UnreachableError:
    """Return the error for an engine that broke off, or never answered, while it was asked to do something."""
    return UnreachableError(
        "container engine",
        ADDRESS,
        f"the request to {doing} failed: {error}",
        "`./scripts/bootstrap` starts the local one; `docker info` shows whether it answers.",
    )


@contextmanager
def archive_errors(doing: str) -> Iterator[None]:
    """Turn a damaged archive, or one that breaks off, into the error for an engine that went away."""
    try:
        yield
    except tarfile.TarError as error:
        raise engine_gone(doing, error) from error
