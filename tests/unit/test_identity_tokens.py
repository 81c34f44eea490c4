"""Identity tokens, as `az acr login` and helpers leave them, are exchanged at the token service; never sent as Basic.

The exchange is distribution/distribution, docs/content/spec/auth/oauth.md, as its own client does it
(internal/client/auth/session.go, fetchTokenWithOAuth) and the engine (moby/moby, daemon/pkg/registry/auth.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qs

import docker.auth
import pytest

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials, Login
from kmatrix.values.errors import CredentialError, ProtocolError, UnreachableError
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import FakeRegistry, basic, fake_registry
from tests.unit.support.http_server import Reply, Request, in_turn, web_server

TOKEN = "the identity token"
SCOPE = "repository:team/image:pull"


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        running.image("team/image", [], {})
        running.authorization = "Bearer good"
        running.challenge = f'Bearer realm="{running.web.url}/token",service="the service",scope="{SCOPE}"'
        running.instead["/token"] = Reply(200, json.dumps({"access_token": "good", "scope": SCOPE}).encode())
        yield running


def ask(server: FakeRegistry, login: Login) -> object:
    registry = Registry(Credentials({server.web.address: login}, "the-file", docker.auth.AuthConfig({})))
    return registry.manifest(ImageRef.parse(f"{server.web.address}/team/image:1"), "x86_64")


def test_an_identity_token_is_exchanged_for_an_access_token(server: FakeRegistry) -> None:
    assert ask(server, Login(identity_token=TOKEN))
    (asked,) = server.requests("/token")
    assert (asked.method, asked.target) == ("POST", "/token")
    assert asked.header("content-type") == "application/x-www-form-urlencoded"
    assert asked.header("authorization") is None
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": [TOKEN],
        "service": ["the service"],
        "client_id": ["kmatrix"],
        "scope": [SCOPE],
    }


@pytest.mark.parametrize("status", [404, 405])
def test_a_service_that_knows_no_exchange_gets_the_password_beside_the_token(server: FakeRegistry, status: int) -> None:
    server.instead["/token"] = Reply(status)
    with pytest.raises(ProtocolError, match="does not accept an identity token") as caught:
        ask(server, Login(identity_token=TOKEN))
    assert "Log in with a user and a password" in caught.value.hint
    plain = server.answer

    def older(request: Request) -> Reply:
        return Reply(status) if request.method == "POST" else plain(request)

    server.instead["/token"] = Reply(200, b'{"token": "good"}')
    server.web.answer = older
    assert ask(server, Login("robot", "right", TOKEN))
    assert server.requests("/token")[-1].header("authorization") == basic("robot", "right")


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_a_refused_credential(server: FakeRegistry, slept: list[float], status: int) -> None:
    server.instead["/token"] = Reply(status, b'{"errors": [{"code": "UNAUTHORIZED"}]}')
    with pytest.raises(CredentialError, match="refuses the credential that the-file has"):
        ask(server, Login("robot", "right", TOKEN))
    assert (len(server.requests("/token")), slept) == (1, [])


@pytest.mark.usefixtures("slept")
def test_a_transient_fault_of_the_exchange_is_met_by_asking_again(server: FakeRegistry) -> None:
    plain, left = server.answer, [Reply(503), Reply(503)]

    def failing(request: Request) -> Reply:
        return left.pop() if request.path == "/token" and left else plain(request)

    server.web.answer = failing
    assert ask(server, Login(identity_token=TOKEN))
    assert len(server.requests("/token")) == 3
    server.web.answer = lambda request: Reply(503) if request.path == "/token" else plain(request)
    with pytest.raises(UnreachableError, match="token service"):
        ask(server, Login(identity_token=TOKEN))


def test_an_identity_token_goes_to_no_other_server(server: FakeRegistry) -> None:
    with web_server(in_turn(Reply(200, b'{"access_token": "good"}'))) as other:
        server.instead["/token"] = Reply(307, headers={"Location": f"{other.url}/token"})
        with pytest.raises(ProtocolError, match="answers 307"):
            ask(server, Login(identity_token=TOKEN))
        assert other.requests == []


def test_an_identity_token_is_no_answer_to_basic(server: FakeRegistry) -> None:
    server.challenge = 'Basic realm="r"'
    with pytest.raises(CredentialError, match="refuses the credential"):
        ask(server, Login("00000000-0000-0000-0000-000000000000", "", TOKEN))
    assert len(server.web.requests) == 1
