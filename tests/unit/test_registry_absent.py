"""A repository that does not exist yet, by the responses of registries: tokenservice.py names their sources."""

from __future__ import annotations

from collections.abc import Iterator

import docker.auth
import pytest

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.grants import grant_of
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.errors import CredentialError, Exit, NotReadableError, ProtocolError
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import digest, problem
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.token_service import Product, TokenRegistry, jwt, token_registry

ALL: tuple[Product, ...] = ("quay", "harbor", "gitlab", "github", "amazon", "artifactory")
TOKENS: tuple[Product, ...] = ("quay", "harbor", "gitlab", "github")
PULL, PUSH = ["repository:team/image:pull"], ["repository:team/image:pull,push"]


@pytest.fixture
def server(product: Product) -> Iterator[TokenRegistry]:
    with token_registry(product) as running:
        yield running


def ref(server: TokenRegistry) -> ImageRef:
    return ImageRef.parse(f"{server.web.address}/team/image:1")


def credentials(server: TokenRegistry, password: str | None = "right") -> Credentials:
    entries = {} if password is None else {server.web.address: ("robot", password)}
    return Credentials(entries, "the-file", docker.auth.AuthConfig({}))


def pushing(server: TokenRegistry) -> Registry:
    return Registry(credentials(server), pushes_to=f"{server.web.address}/team")


@pytest.mark.parametrize("product", ALL)
def test_before_the_first_push_it_is_not_there(server: TokenRegistry) -> None:
    assert pushing(server).manifest(ref(server), "x86_64") is None


@pytest.mark.parametrize("product", ["quay"])
def test_the_right_to_push_is_asked_for_only_after_it_could_not_be_read(server: TokenRegistry) -> None:
    registry = pushing(server)
    assert registry.manifest(ref(server), "x86_64") is None
    assert server.scopes == [PULL, PUSH]
    assert registry.manifest(ref(server), "x86_64") is None
    assert server.scopes == [PULL, PUSH]


@pytest.mark.parametrize("product", ["quay", "artifactory"])
def test_who_does_not_push_makes_nothing_and_is_told_both_reasons(server: TokenRegistry) -> None:
    for registry in (Registry(credentials(server)), Registry(credentials(server), f"{server.web.address}/te")):
        with pytest.raises(NotReadableError, match=r"team/image does not exist, or .* may not read it") as caught:
            registry.manifest(ref(server), "x86_64")
        assert caught.value.exit_code is Exit.UNREACHABLE
        assert "create repositories" in caught.value.hint
    assert PUSH not in server.scopes
    assert not any(request.method == "POST" for request in server.web.requests)


@pytest.mark.parametrize("product", ["quay", "artifactory"])
def test_who_may_neither_read_nor_push_is_told_before_anything_is_built(server: TokenRegistry) -> None:
    server.creates = False
    with pytest.raises(NotReadableError):
        pushing(server).manifest(ref(server), "x86_64")


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("product", ["quay", "harbor", "gitlab"])
def test_who_may_push_and_not_read_by_its_token_is_told_before_anything_is_built(
    server: TokenRegistry, there: bool
) -> None:
    """A token that grants only the right to push does not show whether the image exists.

    distribution/distribution, docs/content/spec/auth/jwt.md: `access` holds the granted rights, which may be fewer
    than requested.
    """
    server.readable, server.there = False, there
    with pytest.raises(
        NotReadableError, match=r"credential for .* in the-file may push to .*team/image, but not read it"
    ) as caught:
        pushing(server).manifest(ref(server), "x86_64")
    assert "to pull as well" in caught.value.hint
    assert not any("/uploads/" in each.path for each in server.web.requests)


@pytest.mark.parametrize("product", ["github", "artifactory"])
def test_where_only_a_push_can_tell_an_upload_is_begun_and_given_up(server: TokenRegistry) -> None:
    server.readable = False
    assert pushing(server).manifest(ref(server), "x86_64") is None
    assert [each.method for each in server.web.requests if "/uploads/" in each.path] == ["POST", "DELETE"]


@pytest.mark.parametrize("product", ["github", "artifactory"])
def test_what_was_just_pushed_and_is_not_to_be_read_is_not_absent(server: TokenRegistry) -> None:
    server.readable = False
    plain = server.answer

    def taking(request: Request) -> Reply:
        reply = plain(request)
        return Reply(201) if request.method == "PUT" and reply.status == 204 else reply

    server.web.answer = taking
    registry = RegistryWriter(credentials(server), pushes_to=f"{server.web.address}/team")
    assert registry.digest_of(ref(server)) is None
    pushed = registry.put_manifest(ref(server).with_tag(""), b"{}", "a/b")
    with pytest.raises(NotReadableError, match=r"may push to .*team/image, but not read it"):
        registry.digest_of(ref(server).with_tag("").with_digest(pushed))
    # Another name need not exist.
    assert registry.digest_of(ref(server)) is None


@pytest.mark.parametrize("product", ["amazon"])
def test_a_registrys_own_words_about_a_refusal_are_passed_on(server: TokenRegistry) -> None:
    """Amazon's message is the one that its users report for an expired login (aws/aws-cli#6580)."""
    plain, words = server.answer, "Your authorization token has expired. Reauthenticate and try again."

    def refusing(request: Request) -> Reply:
        reply = plain(request)
        return problem(403, "DENIED", words) if reply.status == 404 else reply

    server.web.answer = refusing
    for registry in (pushing(server), Registry(credentials(server))):
        with pytest.raises(NotReadableError, match=r"may not read it \(DENIED: Your authorization token has") as caught:
            registry.manifest(ref(server), "x86_64")
        assert "does not say which" not in str(caught.value)


@pytest.mark.parametrize("product", ALL)
def test_a_wrong_password_is_a_matter_of_the_credential(server: TokenRegistry, slept: list[float]) -> None:
    for registry in (
        Registry(credentials(server, "wrong"), pushes_to=f"{server.web.address}/team"),
        Registry(credentials(server, "wrong")),
    ):
        with pytest.raises(CredentialError, match="refuses the credential that the-file has") as caught:
            registry.manifest(ref(server), "x86_64")
        assert not isinstance(caught.value, NotReadableError)
    assert slept == []


@pytest.mark.parametrize("product", ALL)
def test_without_a_credential_one_is_asked_for(server: TokenRegistry) -> None:
    with pytest.raises(CredentialError, match="demands a credential"):
        Registry(credentials(server, None), f"{server.web.address}/team").manifest(ref(server), "x86_64")


@pytest.mark.parametrize("product", TOKENS)
def test_the_first_push_asks_for_the_right_to_push_at_once(server: TokenRegistry) -> None:
    registry = RegistryWriter(credentials(server))
    plain = server.answer

    def taking(request: Request) -> Reply:
        reply = plain(request)
        return Reply(201) if reply.status == 204 else reply

    server.web.answer = taking
    assert registry.put_blob(ref(server), b"blob") == digest(b"blob")
    assert server.scopes == [PUSH]


@pytest.mark.parametrize("product", ["quay", "github"])
def test_who_may_not_push_is_told_what_is_missing(server: TokenRegistry) -> None:
    server.creates, server.there = False, True
    with pytest.raises(
        CredentialError, match="does not allow the credential in the-file to push to team/image"
    ) as caught:
        RegistryWriter(credentials(server)).put_manifest(ref(server), b"{}", "a/b")
    assert "create the repository" in caught.value.hint


@pytest.mark.parametrize("product", ["github"])
def test_who_may_push_and_not_read_gets_over_a_transient_fault(server: TokenRegistry, slept: list[float]) -> None:
    server.readable, plain, left = False, server.answer, [Reply(503)]

    def failing(request: Request) -> Reply:
        if request.method != "PUT":
            return plain(request)
        return left.pop() if left else Reply(201)

    server.web.answer = failing
    assert RegistryWriter(credentials(server)).put_manifest(ref(server), b"{}", "a/b") == digest(b"{}")
    assert slept


@pytest.mark.parametrize("product", ["artifactory"])
def test_who_may_push_by_basic_and_not_read_gets_over_a_transient_fault(
    server: TokenRegistry, slept: list[float]
) -> None:
    """A registry may answer 401 also to a correct password of an account that lacks a right.

    distribution/distribution, registry/auth/auth.go: a controller may deny access by a challenge, and thus by 401.
    """
    plain, left = server.answer, [Reply(503)]

    def failing(request: Request) -> Reply:
        if request.method == "GET":
            return problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="r"'})
        reply = plain(request)
        if request.method != "PUT" or reply.status == 401:
            return reply
        return left.pop() if left else Reply(201)

    server.web.answer = failing
    assert RegistryWriter(credentials(server)).put_manifest(ref(server), b"{}", "a/b") == digest(b"{}")
    assert slept


@pytest.mark.parametrize("product", ALL)
@pytest.mark.usefixtures("slept")
def test_a_wrong_password_is_tried_once_also_after_a_transient_fault(server: TokenRegistry) -> None:
    plain, left = server.answer, [Reply(503)]

    def failing(request: Request) -> Reply:
        return left.pop() if left and request.method == "PUT" else plain(request)

    server.web.answer = failing
    with pytest.raises(CredentialError):
        RegistryWriter(credentials(server, "wrong")).put_manifest(ref(server), b"{}", "a/b")
    tried = [each for each in server.web.requests if (each.header("authorization") or "").startswith("Basic ")]
    assert len(tried) == 1


@pytest.mark.parametrize("product", ["amazon"])
def test_a_registry_that_makes_no_repositories_is_told_as_such(server: TokenRegistry) -> None:
    with pytest.raises(ProtocolError, match=r"answers 404.*NAME_UNKNOWN") as caught:
        RegistryWriter(credentials(server)).put_blob(ref(server), b"blob")
    assert "create it there" in caught.value.hint


@pytest.mark.parametrize("product", ["quay"])
def test_a_token_that_grants_what_is_refused_is_no_fault_of_the_credential(server: TokenRegistry) -> None:
    plain = server.answer
    server.there = True

    def refusing(request: Request) -> Reply:
        reply = plain(request)
        return server.refusal("", "pull") if reply.status == 404 else reply

    server.web.answer = refusing
    with pytest.raises(ProtocolError, match="refuses the token that its own token service issued") as caught:
        Registry(credentials(server)).manifest(ref(server), "x86_64")
    assert "clocks" in caught.value.hint


@pytest.mark.parametrize(
    ("token", "actions", "anonymous"),
    [
        (jwt("robot", [{"type": "repository", "name": "a/b", "actions": ["pull", "push"]}]), {"pull", "push"}, False),
        (jwt("robot", [{"type": "repository", "name": "a/c", "actions": ["pull"]}]), set(), False),
        (jwt("robot", []), set(), False),
        (jwt("", [{"name": "a/b", "actions": None}]), set(), True),
        (jwt("(anonymous)", []), set(), True),
        (jwt(None, []), set(), False),
        (jwt("robot", None), None, False),
        (jwt("robot", [7, {"name": "a/b", "actions": [7]}]), set(), False),
        ("opaque", None, False),
        ("a.b.c", None, False),
        ("a.W10.c", None, False),
    ],
)
def test_what_a_token_says_that_it_grants(token: str, actions: set[str] | None, anonymous: bool) -> None:
    grant = grant_of(token, "a/b")
    assert (grant.actions, grant.anonymous) == (actions, anonymous)
    assert token not in repr(grant)
