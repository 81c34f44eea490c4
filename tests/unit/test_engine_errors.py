"""What the engine's own words mean: a bad product, a fault of the engine, a transient one, a credential."""

from __future__ import annotations

import docker.errors
import pytest

from kmatrix.effects.engine.errors import (
    RegistryRefusalError,
    TakenAwayError,
    build_error,
    engine_errors,
    registry_error,
)
from kmatrix.values.errors import BuildError, ToolError, UnreachableError


@pytest.mark.parametrize(
    "words",
    [
        "The command '/kmatrix/build-module 5.14.0' returned a non-zero code: 2",
        "The command '/bin/sh -c false' returned a non-zero code: 1",
    ],
)
def test_a_step_that_says_no_has_an_exit_code_of_its_own(words: str) -> None:
    assert isinstance(build_error(words), BuildError)


@pytest.mark.parametrize(
    "words",
    [
        "COPY failed: stat source/: file does not exist",
        "No such image: sha256:12",
        "failed to register layer: no space left on device",
        "The command '/kmatrix/build-module 5.14.0' returned a non-zero code: 137",
        "The command '/kmatrix/build-module 5.14.0' returned a non-zero code: 143",
        "layer does not exist",
        "unknown parent image ID sha256:12",
    ],
)
def test_what_the_engine_cannot_do_says_nothing_about_the_product(words: str) -> None:
    found = build_error(words)
    assert isinstance(found, ToolError)
    assert words in found.message
    assert found.hint


@pytest.mark.parametrize(
    "words",
    [
        "received unexpected HTTP status: 503 Service Unavailable",
        "read: connection reset by peer",
        "toomanyrequests: slow",
        "error parsing HTTP 429 response body: invalid character '<' looking for beginning of value",
        "dial tcp 127.0.0.1:1: connect: connection refused",
        "unexpected EOF",
        'Head "http://x/v2/": EOF',
        "net/http: TLS handshake timeout",
        "dial tcp: i/o timeout",
        "blob upload unknown: 502 Bad Gateway",
    ],
)
def test_transient_faults_of_a_registry_are_worth_a_retry(words: str) -> None:
    error = registry_error("push", "r/i:t", words)
    assert isinstance(error, UnreachableError)
    assert "the image registry at r/i:t" in str(error)
    assert words in str(error)


@pytest.mark.parametrize(
    "words",
    [
        # docker/cli, client/errors.go; Go's net, net/http and http2; containerd's remotes.
        "Cannot connect to the Docker daemon at tcp://127.0.0.1:1. Is the docker daemon running?",
        'error during connect: Get "http://127.0.0.1:1/info": EOF',
        "dial tcp: lookup quay.io on 127.0.0.53:53: server misbehaving",
        "dial tcp: lookup quay.io: Temporary failure in name resolution",
        "dial tcp 10.0.0.1:443: connect: no route to host",
        "dial tcp 10.0.0.1:443: connect: network is unreachable",
        "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        "net/http: request canceled while waiting for connection",
        "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection timed out",
        "http2: server sent GOAWAY and closed the connection",
    ],
)
def test_an_engine_or_a_network_that_is_away_comes_back(words: str) -> None:
    assert isinstance(registry_error("pull", "r/i:t", words), UnreachableError)
    assert isinstance(build_error(words), UnreachableError)
    with pytest.raises(UnreachableError), engine_errors("pull r/i:t"):
        raise docker.errors.APIError("500 Server Error", explanation=words)


@pytest.mark.parametrize(
    "words", ["unknown parent image ID sha256:12", "No such image: sha256:12", "layer does not exist"]
)
def test_what_somebody_else_removed_can_be_made_again(words: str) -> None:
    assert isinstance(build_error(words), TakenAwayError)


@pytest.mark.parametrize(
    "words", ["unauthorized: not you", "authentication required", "no basic auth credentials", "denied: no"]
)
def test_a_refused_credential_is_not(words: str) -> None:
    assert isinstance(registry_error("push", "r/i:t", words), RegistryRefusalError)


def test_any_other_refusal_is_final() -> None:
    assert type(registry_error("push", "r/i:t", "manifest invalid")) is ToolError
