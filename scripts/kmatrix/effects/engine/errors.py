"""Turns what the Docker SDK raises, and what a registry tells the engine in-band, into this project's errors."""

from __future__ import annotations

import http.client
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import docker.errors
import urllib3.exceptions

from kmatrix.values.errors import BuildError, ToolError, UnreachableError

# As Go's net and net/http, moby and registries word them, in small letters.
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


_PASSING = "Check that it runs; the next run goes on from here."


class RegistryRefusalError(ToolError):
    """The registry refuses the engine's credential; never retried."""


# A step of the Dockerfile that ran and said no. Shells report 128 and the signal's number for what was killed.
_SAID_NO = re.compile(r"returned a non-zero code: (\d+)")
_SIGNALS = range(129, 129 + 64)
# Somebody else on this engine removed what this build was standing on (moby: builder/dockerfile, layer/layer_store.go).
_TAKEN_AWAY = re.compile(r"unknown parent image|no such image|layer does not exist|unknown parent layer", re.IGNORECASE)


class TakenAwayError(ToolError):
    """An image that a build stands on was removed meanwhile; the same build makes it again."""


def build_error(error: str) -> BuildError | ToolError | UnreachableError:
    """The error for a build that the engine ended with these words."""
    said_no = _SAID_NO.search(error)
    if said_no and int(said_no[1]) not in _SIGNALS:
        return BuildError(error)
    if said_no:
        return ToolError(
            f"a step of the build was killed: {error}",
            "Look for what ended it (the kernel's log names processes for which there was no memory), then run again.",
        )
    if _TAKEN_AWAY.search(error):
        return TakenAwayError(f"the engine could not build: {error}", "Something else removes images; run again.")
    if is_transient(error):
        return UnreachableError("container engine", _ADDRESS, f"as it was asked to build: {error}", _PASSING)
    return ToolError(f"the engine could not build: {error}", "Mend what it names; the next run goes on from here.")


def is_transient(words: str) -> bool:
    """Whether an engine's words are those for a fault that passes: of the network, of a busy or starting service."""
    lower = words.lower()
    return any(each in lower for each in _TRANSIENT_WORDS)


def registry_error(verb: str, name: str, error: str) -> UnreachableError | ToolError:
    """The error for what a registry told the engine: worth a retry, a matter of credentials, or final."""
    if is_transient(error):
        return UnreachableError("image registry", name, error, _PASSING)
    if any(word in error.lower() for word in _CREDENTIAL_WORDS):
        return RegistryRefusalError(
            f"the registry refuses to {verb} {name}: {error}",
            "`docker login` writes a credential; check that it may read, and where it is to publish write, there.",
        )
    return ToolError(f"could not {verb} {name}: {error}", "Check the name in matrix.yaml, and what the registry says.")


_ADDRESS = "DOCKER_HOST or the local socket"
_REFUSED = "Mend what it names (`docker info` and the engine's own log tell more), then run the command again."
# While it reads a stream, the SDK lets through what its own HTTP libraries raise; those of requests are OSErrors.
_GONE = (
    docker.errors.DockerException,
    docker.errors.StreamParseError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    tarfile.TarError,
    OSError,
)


@contextmanager
def engine_errors(doing: str, absent_passes: bool = False) -> Iterator[None]:
    """Turn the SDK's errors into ours; with `absent_passes`, NotFound stays as it is."""
    try:
        yield
    except docker.errors.NotFound as error:
        if absent_passes:
            raise
        raise ToolError(f"the engine could not {doing}: {error.explanation}", _REFUSED) from error
    except docker.errors.APIError as error:
        words = str(error.explanation or error)
        if is_transient(words):
            raise UnreachableError(
                "container engine", _ADDRESS, f"as it was asked to {doing}: {words}", _PASSING
            ) from error
        raise ToolError(f"the engine could not {doing}: {words}", _REFUSED) from error
    except _GONE as error:
        raise UnreachableError(
            "container engine",
            _ADDRESS,
            f"as it was asked to {doing}: {error}",
            "`./scripts/bootstrap` starts the local one; `docker info` shows whether it answers.",
        ) from error
