"""Credentials of a registry: the token and the Basic flow, the number of requests, and the limits for secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import docker.auth
import pytest

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.values.errors import CredentialError, Exit, KmatrixError, ProtocolError, UnreachableError
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import FakeRegistry, basic, fake_registry, layer, problem
from tests.unit.support.http_server import Reply, in_turn, web_server

USER, PASSWORD = "robot", "correct horse: battery"
FILE = "the-file/config.json"


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        running.image("team/image", [layer({"a": b"1"})], {})
        running.image("team/other", [], {})
        yield running


def ref(server: FakeRegistry, name: str = "team/image") -> ImageRef:
    return ImageRef.parse(f"{server.web.address}/{name}:1")


def client(server: FakeRegistry, password: str | None = PASSWORD) -> Registry:
    entries = {} if password is None else {server.web.address: (USER, password)}
    return Registry(Credentials(entries, FILE, docker.auth.AuthConfig({})))


def wants_basic(server: FakeRegistry) -> None:
    server.authorization, server.challenge = basic(USER, PASSWORD), 'Basic realm="Registry"'


def wants_token(server: FakeRegistry, reply: object = None, realm: str = "") -> None:
    realm = realm or f"{server.web.url}/token"
    server.authorization = "Bearer good"
    server.challenge = f'Bearer realm="{realm}",service="the service",scope="repository:team/image:pull"'
    server.instead["/token"] = Reply(200, json.dumps(reply or {"token": "good"}).encode())


def refusal(server: FakeRegistry, password: str | None) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        client(server, password).manifest(ref(server), "x86_64")
    assert caught.value.exit_code is Exit.UNREACHABLE
    return caught.value


def test_the_right_password_opens(server: FakeRegistry) -> None:
    wants_basic(server)
    registry = client(server)
    assert registry.manifest(ref(server), "x86_64")
    assert registry.manifest(ref(server), "x86_64")
    sent = [request.header("authorization") for request in server.web.requests]
    assert sent == [None, basic(USER, PASSWORD), basic(USER, PASSWORD)]


def test_a_missing_credential_is_named_with_its_file(server: FakeRegistry) -> None:
    wants_basic(server)
    error = refusal(server, None)
    assert str(error) == f"{server.web.address} demands a credential for team/image, and {FILE} has none for it"
    assert "--authfile" in error.hint
    assert len(server.web.requests) == 1


def test_a_wrong_password_is_tried_once(server: FakeRegistry, slept: list[float]) -> None:
    wants_basic(server)
    error = refusal(server, "wrong")
    told = f"{server.web.address} refuses the credential that {FILE} has for team/image (UNAUTHORIZED: no)"
    assert str(error) == told
    assert (len(server.web.requests), slept) == (2, [])


def test_forbidden_is_a_refusal_too(server: FakeRegistry) -> None:
    server.instead["/v2/team/image/manifests/1"] = problem(403, "DENIED")
    assert "refuses" in str(refusal(server, PASSWORD))
    assert len(server.web.requests) == 1


def test_a_token_is_fetched_where_the_challenge_says_and_kept(server: FakeRegistry) -> None:
    wants_token(server)
    registry = client(server)
    found = registry.manifest(ref(server), "x86_64")
    assert found
    registry.config(found)
    (asked,) = server.requests("/token")
    assert asked.header("authorization") == basic(USER, PASSWORD)
    assert asked.query == {"service": ["the service"], "scope": ["repository:team/image:pull"]}
    sent = [request.header("authorization") for request in server.requests("/v2/")]
    assert sent == [None, "Bearer good", "Bearer good"]


def test_a_token_is_for_one_repository(server: FakeRegistry) -> None:
    wants_token(server)
    registry = client(server)
    registry.manifest(ref(server), "x86_64")
    registry.manifest(ref(server, "team/other"), "x86_64")
    assert len(server.requests("/token")) == 2
    assert [request.header("authorization") for request in server.requests("/v2/team/other/")] == [None, "Bearer good"]


def test_a_token_that_expired_is_fetched_anew(server: FakeRegistry) -> None:
    wants_token(server)
    registry = client(server)
    registry.manifest(ref(server), "x86_64")
    server.authorization = "Bearer better"
    server.instead["/token"] = Reply(200, b'{"access_token": "better", "expires_in": 60}')
    assert registry.manifest(ref(server), "x86_64")
    assert len(server.requests("/token")) == 2


def test_without_a_credential_the_token_is_anybodys(server: FakeRegistry) -> None:
    wants_token(server)
    assert client(server, None).manifest(ref(server), "x86_64")
    assert server.requests("/token")[0].header("authorization") is None


def test_a_token_that_opens_nothing_is_a_refusal(server: FakeRegistry) -> None:
    wants_token(server, {"token": "of no use"})
    assert f"{FILE} has none for it" in str(refusal(server, None))
    assert len(server.web.requests) == 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_service_that_refuses_is_asked_once(server: FakeRegistry, slept: list[float], status: int) -> None:
    wants_token(server)
    server.instead["/token"] = Reply(status)
    assert "refuses the credential" in str(refusal(server, PASSWORD))
    assert (len(server.requests("/token")), slept) == (1, [])


@pytest.mark.usefixtures("slept")
def test_a_token_service_out_of_reach_is_named(server: FakeRegistry) -> None:
    wants_token(server)
    server.instead["/token"] = Reply(503)
    with pytest.raises(UnreachableError, match=f"the token service at {server.web.url}/token"):
        client(server).manifest(ref(server), "x86_64")
    assert len(server.requests("/token")) == 4


@pytest.mark.parametrize(
    "reply", [Reply(200, b"<html>"), Reply(200, b"[]"), Reply(200, b"{}"), Reply(200, b'{"token": 7}'), Reply(404)]
)
def test_a_reply_without_a_token_is_told(server: FakeRegistry, reply: Reply) -> None:
    wants_token(server)
    server.instead["/token"] = reply
    with pytest.raises(ProtocolError, match=server.web.address):
        client(server).manifest(ref(server), "x86_64")


@pytest.mark.parametrize("realm", ["http://tokens.example/token", "ftp://127.0.0.1/token", "/token", "token"])
def test_a_credential_is_not_sent_in_the_clear(server: FakeRegistry, realm: str) -> None:
    wants_token(server, realm=realm)
    with pytest.raises(ProtocolError, match="not an https address"):
        client(server).manifest(ref(server), "x86_64")
    assert len(server.web.requests) == 1


def test_a_challenge_may_come_in_other_spellings(server: FakeRegistry) -> None:
    wants_token(server)
    server.challenge = f'bearer Service=plain, realm="{server.web.url}/token?account={quote("a b")}"'
    assert client(server).manifest(ref(server), "x86_64")
    assert server.requests("/token")[0].query == {
        "account": ["a b"],
        "service": ["plain"],
        "scope": ["repository:team/image:pull"],
    }


REALM = "{url}/token"


@pytest.mark.parametrize(
    ("challenge", "password", "opens"),
    [
        (f'Bearer realm="{REALM}",service="s"\nBasic realm="r"', PASSWORD, "Bearer good"),
        (f'Bearer realm="{REALM}",service="s", Basic realm="r"', PASSWORD, "Bearer good"),
        (f'Basic realm="r"\nBearer realm="{REALM}",service="s"', PASSWORD, basic(USER, PASSWORD)),
        (f'Basic realm="r"\nBearer realm="{REALM}",service="s"', None, "Bearer good"),
        ('Negotiate\nBasic realm="r"', PASSWORD, basic(USER, PASSWORD)),
        ('Negotiate YII=, Basic realm="r"', PASSWORD, basic(USER, PASSWORD)),
        (f'Bearer realm = "{REALM}" , service = "s"', PASSWORD, "Bearer good"),
        ('Bearer realm="http://tokens.example/",service="s"\nBasic realm="r"', PASSWORD, basic(USER, PASSWORD)),
    ],
)
def test_the_first_challenge_that_can_be_answered_is(
    server: FakeRegistry, challenge: str, password: str | None, opens: str
) -> None:
    wants_token(server)
    server.authorization, server.challenge = opens, challenge.replace("{url}", server.web.url)
    assert client(server, password).manifest(ref(server), "x86_64")


@pytest.mark.parametrize("empty", ["", ',service=""', ",service="])
def test_a_service_without_a_name_is_asked_without_one(server: FakeRegistry, empty: str) -> None:
    wants_token(server)
    server.challenge = f'Bearer realm="{server.web.url}/token"{empty}'
    assert client(server).manifest(ref(server), "x86_64")
    assert server.requests("/token")[0].query == {"scope": ["repository:team/image:pull"]}


def test_each_scope_is_asked_for_by_itself(server: FakeRegistry) -> None:
    wants_token(server)
    server.challenge = f'Bearer realm="{server.web.url}/token",scope="repository:team/image:pull registry:catalog:*"'
    assert client(server).manifest(ref(server), "x86_64")
    assert server.requests("/token")[0].query["scope"] == ["repository:team/image:pull", "registry:catalog:*"]


def test_a_helper_that_could_not_be_asked_is_named_where_a_credential_is_missed(server: FakeRegistry) -> None:
    absent = docker.auth.AuthConfig({"credsStore": "absent.exe"})
    registry = Registry(Credentials({}, FILE, absent))
    assert registry.manifest(ref(server), "x86_64")
    wants_basic(server)
    with pytest.raises(CredentialError, match=r"it; its credential helper docker-credential-absent\.exe is not"):
        registry.manifest(ref(server), "x86_64")


@pytest.mark.parametrize("challenge", ["", "Negotiate abc"])
def test_an_unknown_authentication_is_told(server: FakeRegistry, challenge: str) -> None:
    server.authorization, server.challenge = "nothing opens", challenge
    with pytest.raises(ProtocolError, match="unsupported authentication scheme"):
        client(server).manifest(ref(server), "x86_64")


@pytest.mark.parametrize("prepare", [wants_basic, wants_token])
def test_a_credential_does_not_follow_a_blob_to_another_server(server: FakeRegistry, prepare: object) -> None:
    assert callable(prepare)
    prepare(server)
    registry = client(server)
    found = registry.manifest(ref(server), "x86_64")
    assert found
    path = f"/v2/team/image/blobs/{found.layers[0][0]}"
    with web_server(in_turn(Reply(200, server.blobs[path]))) as storage:
        server.instead[path] = Reply(307, headers={"Location": f"{storage.url}/signed"})
        assert registry.find_file(found, ["a"], 1) == {"a": b"1"}
        assert server.requests(path)[0].header("authorization") == server.authorization
        assert [request.header("authorization") for request in storage.requests] == [None]


def test_a_token_service_on_another_server_gets_the_credential_and_the_registry_only_the_token(
    server: FakeRegistry,
) -> None:
    """The registry names its token service, as for docker.io; other clients trust it with that as well.

    distribution/distribution, registry/client/auth/session.go (fetchTokenWithBasicAuth); containers/image,
    docker/docker_client.go (getBearerToken). Unlike them, only an https address, or one of this machine, is trusted.
    """
    with web_server(in_turn(Reply(200, b'{"token": "good"}'))) as tokens:
        wants_token(server, realm=f"{tokens.url}/token")
        assert client(server).manifest(ref(server), "x86_64")
        assert [request.header("authorization") for request in tokens.requests] == [basic(USER, PASSWORD)]
    assert [request.header("authorization") for request in server.web.requests] == [None, "Bearer good"]


def test_a_credential_does_not_follow_the_token_service_to_another_server(server: FakeRegistry) -> None:
    with web_server(in_turn(Reply(200, b'{"token": "good"}'))) as other:
        wants_token(server)
        server.instead["/token"] = Reply(307, headers={"Location": f"{other.url}/token"})
        assert client(server).manifest(ref(server), "x86_64")
        assert [request.header("authorization") for request in server.requests("/token")] == [basic(USER, PASSWORD)]
        assert [request.header("authorization") for request in other.requests] == [None]


@pytest.mark.parametrize("prepare", [wants_basic, wants_token])
def test_a_credential_does_not_follow_a_manifest_to_another_port(server: FakeRegistry, prepare: object) -> None:
    assert callable(prepare)
    prepare(server)
    path = "/v2/team/image/manifests/1"
    plain = server.answer
    with web_server(in_turn(Reply(200, server.manifests[path]))) as other:
        moved = Reply(307, headers={"Location": f"{other.url}{path}"})
        server.web.answer = lambda asked: moved if asked.path == path and plain(asked).status == 200 else plain(asked)
        assert client(server).manifest(ref(server), "x86_64")
        assert server.requests(path)[-1].header("authorization") == server.authorization
        assert [request.header("authorization") for request in other.requests] == [None]


def test_another_server_that_demands_a_credential_does_not_get_that_of_the_registry(server: FakeRegistry) -> None:
    """It answers a request that was redirected: its challenge would have the credential sent to whom it names."""
    wants_basic(server)
    challenge = 'Bearer realm="https://tokens.invalid/token"'
    with web_server(in_turn(problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge}))) as other:
        server.web.answer = in_turn(Reply(307, headers={"Location": f"{other.url}/x"}))
        with pytest.raises(ProtocolError, match=f"redirects to {other.url}/x, which demands a credential"):
            client(server).manifest(ref(server), "x86_64")
        assert [request.header("authorization") for request in other.requests] == [None]


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
def test_no_secret_is_in_any_message(server: FakeRegistry, status: int) -> None:
    wants_token(server)
    server.instead["/token"] = Reply(status, b"no")
    registry = client(server)
    with pytest.raises(KmatrixError) as caught:
        registry.manifest(ref(server), "x86_64")
    told = f"{caught.value!r} {caught.value} {caught.value.hint} {vars(caught.value)} {registry!r}"
    assert PASSWORD not in told
    assert basic(USER, PASSWORD).removeprefix("Basic ") not in told
