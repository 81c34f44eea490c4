"""An engine's messages are understood: a bad product, a fault of the engine, a transient one, a credential."""

from __future__ import annotations

import docker.errors
import pytest

from kmatrix.effects.engine.docker.errors import build_error, engine_errors
from kmatrix.effects.engine.docker.log import BuildLog, steps_done
from kmatrix.effects.engine.errors import RegistryRefusalError, StepFailedError, TakenAwayError, registry_error
from kmatrix.values.errors import BuildError, ToolError, UnreachableError


@pytest.mark.parametrize(
    ("message", "command", "status"),
    [
        (
            "The command '/kmatrix/build-module 5.14.0' returned a non-zero code: 2",
            "/kmatrix/build-module 5.14.0",
            2,
        ),
        ("The command '/bin/sh -c false' returned a non-zero code: 1", "/bin/sh -c false", 1),
        (
            "The command '/bin/sh -c echo \"it's\";\tfalse' returned a non-zero code: 1",
            '/bin/sh -c echo "it\'s";\tfalse',
            1,
        ),
        ("returned a non-zero code: 5", "", 5),
    ],
)
def test_a_step_that_fails_has_an_exit_code_of_its_own(message: str, command: str, status: int) -> None:
    error = build_error(message, ("a.c:1: error: no",))
    assert isinstance(error, StepFailedError)
    assert not isinstance(error, BuildError), "its stage decides whether the product is bad"
    assert (error.step.command, error.step.status) == (command, status)
    assert error.step.output == ("a.c:1: error: no",)


LOG = """\
Step 1/4 : FROM base AS first
 ---> 000000000000
Step 2/4 : COPY a /a
 ---> Using cache
 ---> 111111111111
Step 3/4 : RUN make
 ---> Running in 222222222222
  CC [M] a.o
built ---> 999999999999
Removing intermediate container 222222222222
 ---> 333333333333
Step 4/4 : RUN ["/kmatrix/build-module"]
 ---> Running in 444444444444

    7 |   int x
a.c:7: error: no such field
The command '/kmatrix/build-module' returned a non-zero code: 2
"""


def test_the_builder_s_lines_are_told_from_those_of_the_programs() -> None:
    log, containers, images = BuildLog(), [], []
    for line in LOG.splitlines():
        log.add(line)
        containers += [log.container] if log.container else []
        images += [log.image] if log.image else []
    assert containers == ["222222222222", "444444444444"]
    assert images == ["111111111111", "333333333333"], "a base, or an id that a program printed, is not the build's"
    assert log.output == ("", "    7 |   int x", "a.c:7: error: no such field"), (
        "an earlier step's lines are not its own"
    )


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
    "words",
    [
        "unknown parent image ID sha256:12",
        "No such image: sha256:12",
        "layer does not exist",
        'unable to find image "sha256:12"',
    ],
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


CACHED = """Step 1/4 : FROM base AS packages
 ---> 0123456789ab
Step 2/4 : COPY a b
 ---> Using cache
 ---> 1123456789ab
Step 3/4 : RUN ["/kmatrix/unpack-packages", "x"]

 ---> Running in 2123456789ab
Removing intermediate container 2123456789ab
 ---> 3123456789ab
Step 4/4 : RUN ["/kmatrix/build-module", "6.1.0"]

 ---> Using cache
 ---> 4123456789ab
"""


def test_steps_that_the_cache_answered_are_not_steps_done() -> None:
    assert steps_done(CACHED.splitlines()) == ('RUN ["/kmatrix/unpack-packages", "x"]',)
    fresh = CACHED.replace("---> Using cache\n ---> 4123456789ab", "---> Running in 5123456789ab")
    assert steps_done(fresh.splitlines())[-1] == 'RUN ["/kmatrix/build-module", "6.1.0"]'
