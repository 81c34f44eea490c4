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

_TRANSIENT_WORDS = (
    "connection reset",
    "connection refused",
    "broken pipe",
    "unexpected eof",
    ": eof",
    "i/o timeout",
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
    "denied",
    "authentication required",
    "forbidden",
)


class RegistryRefusalError(ToolError):
    """The registry refuses the engine's credential; never retried."""


# A step of the Dockerfile that ran and said no, or found nothing to copy: the product is bad. A step that was killed,
# a full disk, a layer that is gone and the like are the engine's and say nothing about it.
_PRODUCT = re.compile(r"returned a non-zero code: (?!13[0-9]\b)|COPY failed: ")


def build_error(error: str) -> BuildError | ToolError:
    """The error for a build that the engine ended with these words."""
    if _PRODUCT.search(error):
        return BuildError(error)
    return ToolError(f"the engine could not build: {error}", "Mend what it names; the next run goes on from here.")


def registry_error(verb: str, name: str, error: str) -> UnreachableError | ToolError:
    """The error for what a registry told the engine: worth a retry, a matter of credentials, or final."""
    words = error.lower()
    if any(word in words for word in _TRANSIENT_WORDS):
        return UnreachableError("image registry", name, error, "Check that it runs; the next run goes on from here.")
    if any(word in words for word in _CREDENTIAL_WORDS):
        return RegistryRefusalError(f"the registry refuses to {verb} {name}: {error}")
    return ToolError(f"could not {verb} {name}: {error}")


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
        raise ToolError(f"the engine could not {doing}: {error.explanation}") from error
    except docker.errors.APIError as error:
        raise ToolError(f"the engine could not {doing}: {error.explanation or error}") from error
    except _GONE as error:
        raise UnreachableError(
            "container engine",
            "DOCKER_HOST or the local socket",
            f"while it was to {doing}: {error}",
            "`./scripts/bootstrap` starts the local one; `docker info` shows whether it answers.",
        ) from error
