"""What the engine's own words mean: a bad product, a fault of the engine, a transient one, a credential."""

from __future__ import annotations

import pytest

from kmatrix.effects.engine_errors import RegistryRefusalError, build_error, registry_error
from kmatrix.values.errors import BuildError, ToolError, UnreachableError


@pytest.mark.parametrize(
    "words",
    [
        "The command '/kmatrix/build-module 5.14.0' returned a non-zero code: 2",
        "The command '/bin/sh -c false' returned a non-zero code: 1",
        "COPY failed: stat source/: file does not exist",
    ],
)
def test_a_step_that_says_no_is_the_products_fault(words: str) -> None:
    assert isinstance(build_error(words), BuildError)


@pytest.mark.parametrize(
    "words",
    [
        "No such image: sha256:12",
        "failed to register layer: no space left on device",
        "The command '/kmatrix/build-module 5.14.0' returned a non-zero code: 137",
        "layer does not exist",
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
    "words", ["unauthorized: not you", "authentication required", "no basic auth credentials", "denied: no"]
)
def test_a_refused_credential_is_not(words: str) -> None:
    assert isinstance(registry_error("push", "r/i:t", words), RegistryRefusalError)


def test_any_other_refusal_is_final() -> None:
    assert type(registry_error("push", "r/i:t", "manifest invalid")) is ToolError
