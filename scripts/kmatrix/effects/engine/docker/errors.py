"""Turns the errors of the Docker SDK, and the message that ends a build, into this project's errors."""

from __future__ import annotations

import http.client
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import docker.errors
import urllib3.exceptions

from kmatrix.effects.engine.docker.log import SIGNALS, failed_step
from kmatrix.effects.engine.errors import (
    ADDRESS,
    PASSING,
    StepFailedError,
    TakenAwayError,
    engine_gone,
    is_transient,
    was_taken_away,
)
from kmatrix.values.errors import ToolError, UnreachableError

_REFUSED = "Fix the reported problem (`docker info` and the engine's own log show more), then run the command again."
# While it reads a stream, the SDK lets through the errors of its own HTTP libraries; those of requests are OSErrors.
_GONE = (
    docker.errors.DockerException,
    docker.errors.StreamParseError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    tarfile.TarError,
    OSError,
)


def build_error(error: str, output: tuple[str, ...] = ()) -> StepFailedError | ToolError | UnreachableError:
    """Return the error for a build that the engine ended with a message.

    Args:
        error: the message.
        output: the lines that the programs of the last step wrote.
    """
    step = failed_step(error, output)
    if step and step.status not in SIGNALS:
        return StepFailedError(error, step)
    if step:
        return ToolError(
            f"a step of the build was killed: {error}",
            "Look in the kernel's log for the reason (it names processes that ran out of memory), then run again.",
        )
    if was_taken_away(error):
        return TakenAwayError(f"the engine could not build: {error}", "Something else removes images; run again.")
    if is_transient(error):
        return UnreachableError("container engine", ADDRESS, f"the request to build failed: {error}", PASSING)
    return ToolError(
        f"the engine could not build: {error}", "Fix the reported problem and run again; the build resumes from here."
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
        message = str(error.explanation or error)
        if is_transient(message):
            raise UnreachableError(
                "container engine", ADDRESS, f"the request to {doing} failed: {message}", PASSING
            ) from error
        raise ToolError(f"the engine could not {doing}: {message}", _REFUSED) from error
    except _GONE as error:
        raise engine_gone(doing, error) from error
