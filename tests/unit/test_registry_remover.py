"""Listing a repository completely, and deleting from it: pages, the right that each registry demands, refusals."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import docker.auth
import pytest

from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.remover import RegistryRemover
from kmatrix.values.errors import CredentialError, KmatrixError, ProtocolError, ToolError, UnreachableError
from tests.unit.support.fake_registry import basic, problem
from tests.unit.support.http_server import RESET, Reply, Request
from tests.unit.support.image_registry import NO_CREDENTIALS, ImageRegistry, image_registry
from tests.unit.support.token_service import jwt

NAME = "team/image"
LIST = f"GET {NAME}/tags/list"


@pytest.fixture
def server() -> Iterator[ImageRegistry]:
    with image_registry() as running:
        yield running


def with_image(server: ImageRegistry, *tags: str) -> str:
    found = server.image(NAME, "", {"config": {}})
    for tag in tags:
        server.repository(NAME).tags[tag] = found
    return found


@pytest.mark.parametrize("page", [0, 1, 2, 5, 7])
def test_tags_are_listed_to_the_last_page(server: ImageRegistry, page: int) -> None:
    tags = [f"8.98.1-{number}" for number in range(7)]
    with_image(server, *tags)
    server.page = page
    assert RegistryRemover(NO_CREDENTIALS).tags(server.ref(NAME)) == tuple(tags)
    assert server.sent() == [LIST] * (-(-7 // page) if page else 1)


def test_a_list_of_tags_may_be_larger_than_a_manifest(server: ImageRegistry) -> None:
    """Docker's registry sends all of them at once, and a signed cell has several."""
    tags = [f"8.98.1-{number:0100}" for number in range(45_000)]
    with_image(server, *tags)
    assert RegistryRemover(NO_CREDENTIALS).tags(server.ref(NAME)) == tuple(tags)


def test_a_repository_that_is_not_there_has_no_tags_and_neither_has_one_without_any(server: ImageRegistry) -> None:
    remover = RegistryRemover(NO_CREDENTIALS)
    assert remover.tags(server.ref(NAME)) == ()
    # So does Docker's registry for a repository whose last tag was deleted.
    server.instead = lambda _: Reply(200, b'{"name": "team/image", "tags": null}')
    assert remover.tags(server.ref(NAME)) == ()


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ('</v2/team/image/tags/list?last=a&n=1>; rel="next"', "last=a&n=1"),
        ("<tags/list?last=a>; rel=next", None),
        ("<?last=a>; rel=next", "last=a"),
        ('<list?last=a>;rel="next"', "last=a"),
        ('</v2/team/image/tags/list?last=b>; rel="prev", <list?last=a>; rel="next"', "last=a"),
        ("<https://elsewhere.example/v2/team/image/tags/list?last=a>; rel=next", "last=a"),
        ("<https://elsewhere.example/tags?last=a>; rel=next", None),
        ("</v2/other/image/tags/list?last=a>; rel=next", None),
    ],
)
def test_the_next_page_is_of_the_same_list(server: ImageRegistry, link: str, path: str | None) -> None:
    def answer(request: Request) -> Reply:
        more = {"Link": link} if not request.query else {}
        return Reply(200, json.dumps({"tags": ["b" if request.query else "a"]}).encode(), more)

    server.instead = answer
    remover = RegistryRemover(NO_CREDENTIALS)
    if path is None:
        with pytest.raises(ProtocolError, match="as the next page of tags/list, which is elsewhere"):
            remover.tags(server.ref(NAME))
        assert len(server.web.requests) == 1
    else:
        assert remover.tags(server.ref(NAME)) == ("a", "b")
        assert server.web.requests[-1].target == f"/v2/{NAME}/tags/list?{path}"


REFERRERS = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
HTML = Reply(200, b"<html>sign in</html>")

BAD_TAG = Reply(200, b'{"tags": ["../../_catalog"]}')


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (HTML, ProtocolError),
        (BAD_TAG, ProtocolError),
        (Reply(200, b'{"tags": [{}]}'), ProtocolError),
        (Reply(200, b'{"tags": 5}'), ProtocolError),
        (Reply(404, b"<html>proxy</html>"), UnreachableError),
        (Reply(500), UnreachableError),
        (problem(401, "UNAUTHORIZED"), KmatrixError),
        (problem(403, "DENIED"), CredentialError),
        (RESET, UnreachableError),
    ],
)
@pytest.mark.parametrize("page", [1, 2])
def test_a_list_that_cannot_be_read_to_its_end_is_an_error(
    server: ImageRegistry, reply: Reply, kind: type[KmatrixError], page: int
) -> None:
    with_image(server, "a", "b", "c")
    server.page = 1
    server.instead = lambda request: reply if len(request.query) == (2 if page == 2 else 0) else None
    with pytest.raises(kind) as caught:
        RegistryRemover(NO_CREDENTIALS).tags(server.ref(NAME))
    assert caught.value.hint


def test_pages_that_do_not_end_are_an_error(server: ImageRegistry) -> None:
    again = {"Link": '<list?last=a>; rel="next"'}
    server.instead = lambda _: Reply(200, b'{"tags": ["a"]}', again)
    with pytest.raises(ProtocolError, match="pages of tags/list do not end"):
        RegistryRemover(NO_CREDENTIALS).tags(server.ref(NAME))


def test_a_page_that_is_lost_is_not_the_end(server: ImageRegistry) -> None:
    with_image(server, "a", "b")
    server.page = 1
    server.instead = lambda request: problem(404, "NAME_UNKNOWN") if request.query else None
    with pytest.raises(ProtocolError, match="the registry lost page"):
        RegistryRemover(NO_CREDENTIALS).tags(server.ref(NAME))


def test_a_delete_takes_every_tag_of_the_digest_and_nothing_else(server: ImageRegistry) -> None:
    image = with_image(server, "a", "b")
    other = server.image(NAME, "c", {"other": True})
    remover = RegistryRemover(NO_CREDENTIALS)
    ref = server.ref(NAME).with_digest(image)
    assert remover.delete(ref)
    assert server.repository(NAME).tags == {"c": other}
    assert not remover.delete(ref), "it is gone already"
    assert server.sent("DELETE") == [f"DELETE {NAME}/manifests/{image}"] * 2


def test_a_registry_that_deletes_nothing_is_told_with_the_setting(server: ImageRegistry) -> None:
    image = with_image(server, "a")
    server.deletes = False
    with pytest.raises(ToolError) as caught:
        RegistryRemover(NO_CREDENTIALS).delete(server.ref(NAME).with_digest(image))
    said = "deletes no images over its interface: DELETE answers 405 (UNSUPPORTED: The operation is unsupported.)"
    assert caught.value.message == f"{server.web.address} {said}"
    assert "storage.delete.enabled" in caught.value.hint
    assert server.repository(NAME).tags == {"a": image}


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_transient_fault_is_met_by_deleting_again(server: ImageRegistry, slept: list[float], status: int) -> None:
    image = with_image(server, "a")
    left = [Reply(status), RESET]
    server.instead = lambda request: left.pop() if left and request.method == "DELETE" else None
    assert RegistryRemover(NO_CREDENTIALS).delete(server.ref(NAME).with_digest(image))
    assert len(slept) >= 2
    assert server.repository(NAME).tags == {}


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (problem(403, "DENIED", "no"), CredentialError, "demands a credential"),
        (problem(409, "MANIFEST_REFERENCED_IN_LIST", "listed"), ProtocolError, "DELETE answers 409 Conflict (MANIFEST"),
        (Reply(404, b"<html>proxy</html>"), UnreachableError, "in a form that no registry uses"),
        (Reply(500), UnreachableError, "500"),
    ],
)
def test_a_refused_delete_is_an_error(
    server: ImageRegistry, reply: Reply, kind: type[KmatrixError], words: str
) -> None:
    image = with_image(server, "a")
    server.instead = lambda request: reply if request.method == "DELETE" else None
    with pytest.raises(kind) as caught:
        RegistryRemover(NO_CREDENTIALS).delete(server.ref(NAME).with_digest(image))
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_delete_follows_no_redirect(server: ImageRegistry, status: int) -> None:
    image = with_image(server, "a")
    with image_registry() as other:
        with_image(other, "a")
        place = f"{other.web.url}/v2/{NAME}/manifests/{image}"
        server.instead = lambda request: (
            Reply(status, headers={"Location": place}) if request.method == "DELETE" else None
        )
        with pytest.raises(ProtocolError, match=f"DELETE answers {status}"):
            RegistryRemover(NO_CREDENTIALS).delete(server.ref(NAME).with_digest(image))
        assert not other.web.requests
    assert server.repository(NAME).tags == {"a": image}


@pytest.mark.parametrize("demanded", ["delete", "pull,push"])
@pytest.mark.parametrize("granted", [True, False])
def test_the_right_that_the_registry_demands_is_requested(server: ImageRegistry, demanded: str, granted: bool) -> None:
    """Docker's registry demands `delete`, Quay `pull,push`: registry/handlers/app.go, endpoints/v2/manifest.py."""
    image = with_image(server, "a")
    scopes: list[list[str]] = []

    def answer(request: Request) -> Reply | None:
        if request.path == "/token":
            scopes.append(request.query["scope"])
            actions = request.query["scope"][0].rpartition(":")[2].split(",") if granted else ["pull"]
            access = [{"type": "repository", "name": NAME, "actions": actions}]
            return Reply(200, json.dumps({"token": jwt("robot", access)}).encode())
        shown = request.header("authorization") or ""
        wanted = demanded if request.method == "DELETE" else "pull"
        rights = [*_actions(shown), *(["pull"] if "pull" not in _actions(shown) and shown else [])]
        if all(each in rights for each in wanted.split(",")):
            return None
        challenge = f'Bearer realm="{server.web.url}/token",service="s",scope="repository:{NAME}:{wanted}"'
        return problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})

    server.instead = answer
    entries = {server.web.address: ("robot", "right")}
    remover = RegistryRemover(Credentials(entries, "the-file", docker.auth.AuthConfig({})))
    assert remover.tags(server.ref(NAME)) == ("a",)
    ref = server.ref(NAME).with_digest(image)
    if granted:
        assert remover.delete(ref)
    else:
        with pytest.raises(CredentialError) as caught:
            remover.delete(ref)
        assert "does not allow the credential in the-file to delete from team/image" in caught.value.message
        assert server.repository(NAME).tags == {"a": image}
    assert scopes == [[f"repository:{NAME}:pull"], [f"repository:{NAME}:{demanded}"]]
    assert basic("robot", "right") not in [
        each.header("authorization") for each in server.web.requests if "v2" in each.path
    ]


def _actions(shown: str) -> list[str]:
    token = shown.removeprefix("Bearer ")
    if token.count(".") != 2:
        return []
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return [action for entry in claims["access"] for action in entry["actions"]]


def test_referrers_are_asked_of_the_registry_and_one_without_them_has_none(server: ImageRegistry) -> None:
    image = with_image(server, "a")
    remover = RegistryRemover(NO_CREDENTIALS)
    ref = server.ref(NAME).with_digest(image)
    assert remover.referrers(ref) == ()
    signature = server.put(NAME, "", b'{"layers": []}')
    server.referrers = {signature: image}
    assert remover.referrers(ref) == (signature,)


@pytest.mark.parametrize(
    "reply",
    [problem(405, "UNSUPPORTED"), problem(404, "NOT_FOUND"), problem(400, "UNSUPPORTED"), Reply(406), HTML],
    ids=lambda reply: str(reply.status),
)
def test_a_registry_without_lists_of_referrers_has_none(server: ImageRegistry, reply: Reply) -> None:
    """It is known by the same answers where attestations are read."""
    image = with_image(server, "a")
    server.instead = lambda _: reply
    assert RegistryRemover(NO_CREDENTIALS).referrers(server.ref(NAME).with_digest(image)) == ()


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(200, b"<html>", REFERRERS),
        Reply(200, b'{"manifests": [{"digest": "x"}]}', REFERRERS),
        problem(403, "DENIED"),
    ],
)
def test_referrers_that_cannot_be_asked_are_not_none(server: ImageRegistry, reply: Reply) -> None:
    image = with_image(server, "a")
    server.instead = lambda _: reply
    with pytest.raises(KmatrixError):
        RegistryRemover(NO_CREDENTIALS).referrers(server.ref(NAME).with_digest(image))
