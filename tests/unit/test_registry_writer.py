"""Writing to a registry: requests, content that is not sent again, and messages for refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kmatrix.values.errors import CredentialError, ProtocolError, UnreachableError
from tests.unit.support.fake_registry import basic, digest, problem
from tests.unit.support.http_server import RESET, Reply, Request, web_server
from tests.unit.support.writable_registry import Writable, ref, writable_registry, writer

BLOB = b'{"architecture":"amd64"}'
MANIFEST = b'{"schemaVersion":2}'
KIND = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def server() -> Iterator[Writable]:
    with writable_registry("team/image") as running:
        yield running


def test_a_blob_is_sent_once_and_whole(server: Writable) -> None:
    assert writer(server).put_blob(ref(server), BLOB) == digest(BLOB)
    assert list(server.blobs.values()) == [BLOB]
    writer(server).put_blob(ref(server), BLOB)
    assert server.sent() == [
        f"HEAD /blobs/{digest(BLOB)}",
        "POST /blobs/uploads/",
        "PUT /blobs/uploads/1",
        f"HEAD /blobs/{digest(BLOB)}",
    ]


def test_a_manifest_without_a_tag_goes_under_its_digest_alone(server: Writable) -> None:
    assert writer(server).put_manifest(ref(server), MANIFEST, KIND) == digest(MANIFEST)
    assert server.manifests == {f"/v2/team/image/manifests/{digest(MANIFEST)}": (KIND, MANIFEST)}


def test_a_tag_tells_its_digest_and_an_absent_one_none(server: Writable) -> None:
    registry = writer(server)
    assert registry.digest_of(ref(server, "8.98.1")) is None
    registry.put_manifest(ref(server, "8.98.1"), MANIFEST, KIND)
    assert server.manifests["/v2/team/image/manifests/8.98.1"] == (KIND, MANIFEST)
    assert registry.digest_of(ref(server, "8.98.1")) == digest(MANIFEST)


@pytest.mark.parametrize("fault", [Reply(503), Reply(500), Reply(429), RESET])
@pytest.mark.parametrize("sound", [1, 2])
def test_a_transient_fault_in_the_middle_is_met_by_writing_again(
    server: Writable, slept: list[float], fault: Reply, sound: int
) -> None:
    server.before = [*[None] * sound, fault]
    writer(server).put_blob(ref(server), BLOB)
    assert list(server.blobs.values()) == [BLOB]
    assert len(slept) >= 1


@pytest.mark.parametrize("status", [200, 405])
@pytest.mark.usefixtures("slept")
def test_one_small_question_is_asked_before_a_write_is_tried_again(server: Writable, status: int) -> None:
    """Not every registry lists tags, and Quay lists a hundred a page."""
    plain, left = server.web.answer, [Reply(503)]

    def failing(request: Request) -> Reply:
        if "/tags/" in request.path:
            return Reply(status, b'{"tags": ["1"]}', {"Link": '</v2/team/image/tags/list?n=1&last=1>; rel="next"'})
        return left.pop() if request.method == "PUT" and left else plain(request)

    server.web.answer = failing
    assert writer(server).put_manifest(ref(server, "1"), MANIFEST, KIND) == digest(MANIFEST)
    assert len([each for each in server.web.requests if "/tags/" in each.path]) == 1


def test_a_fault_that_does_not_end_is_told_after_a_bound(server: Writable, slept: list[float]) -> None:
    plain = server.answer

    def refusing(request: Request) -> Reply:
        return Reply(503) if request.method == "PUT" else plain(request)

    server.web.answer = refusing
    with pytest.raises(UnreachableError, match="503"):
        writer(server).put_manifest(ref(server, "1"), MANIFEST, KIND)
    assert sum(line.startswith("PUT") for line in server.sent()) == 4
    assert slept == sorted(slept)


def test_a_refusal_is_told_in_the_registrys_own_words_and_not_tried_again(server: Writable) -> None:
    body = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown"}]}).encode()
    server.before = [Reply(400, body)]
    with pytest.raises(ProtocolError, match=r"answers 400.*MANIFEST_BLOB_UNKNOWN: blob unknown"):
        writer(server).put_manifest(ref(server, "1"), MANIFEST, KIND)
    assert len(server.web.requests) == 1


def test_another_digest_than_that_of_what_was_sent_is_an_error(server: Writable) -> None:
    server.before = [Reply(201, headers={"Docker-Content-Digest": digest(b"other")})]
    with pytest.raises(ProtocolError, match="the registry stored sha256:"):
        writer(server).put_manifest(ref(server, "1"), MANIFEST, KIND)


def test_an_upload_without_a_place_is_an_error(server: Writable) -> None:
    server.place = ""
    with pytest.raises(ProtocolError, match="names no address for it"):
        writer(server).put_blob(ref(server), BLOB)


def test_a_token_to_read_is_exchanged_for_one_to_write(server: Writable) -> None:
    plain = server.answer

    def guarded(request: Request) -> Reply:
        if request.path == "/token":
            return Reply(200, json.dumps({"token": request.query["scope"][0].rpartition(":")[2]}).encode())
        action = "pull" if request.method in ("GET", "HEAD") else "pull,push"
        if not (request.header("authorization") or "").startswith(f"Bearer {action}"):
            challenge = f'Bearer realm="{server.web.url}/token",service="s",scope="repository:team/image:{action}"'
            return problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})
        return plain(request)

    server.web.answer = guarded
    registry = writer(server, "secret")
    assert registry.digest_of(ref(server, "1")) is None
    registry.put_blob(ref(server), BLOB)
    registry.put_manifest(ref(server, "1"), MANIFEST, KIND)
    assert registry.digest_of(ref(server, "1")) == digest(MANIFEST)
    tokens = [request for request in server.web.requests if request.path == "/token"]
    assert [request.query["scope"] for request in tokens] == [
        ["repository:team/image:pull"],
        ["repository:team/image:pull,push"],
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_write_is_told_so_once(server: Writable, status: int) -> None:
    plain = server.answer

    def reading(request: Request) -> Reply:
        if request.method == "PUT":
            return problem(status, "DENIED", **{"WWW-Authenticate": 'Basic realm="r"'})
        return plain(request)

    server.web.answer = reading
    with pytest.raises(CredentialError, match="refuses the credential that the-file has for team/image"):
        writer(server, "secret").put_manifest(ref(server, "1"), MANIFEST, KIND)
    assert len(server.web.requests) == (2 if status == 401 else 1)


def test_the_credential_stays_away_from_another_server_that_takes_the_upload(server: Writable) -> None:
    plain, wanted = server.answer, basic("robot", "secret")

    def guarded(request: Request) -> Reply:
        if request.header("authorization") != wanted:
            return problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="r"'})
        return plain(request)

    with web_server(lambda _: Reply(201)) as store:
        server.place = f"{store.url}/put-it-here"
        server.web.answer = guarded
        writer(server, "secret").put_blob(ref(server), BLOB)
        (upload,) = store.requests
    assert (upload.method, upload.body) == ("PUT", BLOB)
    assert upload.query == {"digest": [digest(BLOB)]}
    assert upload.header("authorization") is None
