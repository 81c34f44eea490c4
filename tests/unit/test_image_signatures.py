"""Image signatures in a registry: beside those of other keys, once for each, with hostile content and writers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.simple_signing import check, payload, signature_image, signature_tag
from kmatrix.effects.registry.image_signatures import add_signature, signatures
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.signing.image_keys import ImageSigner
from kmatrix.values.errors import CredentialError, InterruptedRunError, ProtocolError, ToolError, UnreachableError
from tests.unit.support.fake_registry import MANIFEST, digest, problem
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.image_keys import image_signer
from tests.unit.support.image_registry import NO_CREDENTIALS, ImageRegistry, image_registry

NAME = "team/image"
NODES = "registry.example/mirror/image"


@pytest.fixture
def server() -> Iterator[ImageRegistry]:
    with image_registry() as running:
        yield running


@pytest.fixture
def signer(tmp_path: Path) -> ImageSigner:
    return image_signer(tmp_path)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in place of making them."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


@pytest.fixture
def subject(server: ImageRegistry) -> str:
    return server.image(NAME, "", {"config": {}})


def sign(
    server: ImageRegistry, subject: str, signer: ImageSigner, reference: str = NODES, stopping: bool = False
) -> None:
    registry = RegistryWriter(NO_CREDENTIALS)
    add_signature(registry, server.ref(NAME, "any"), subject, signer, reference, lambda: stopping)


def read(server: ImageRegistry, subject: str, said: list[str] | None = None) -> tuple[tuple[bytes, bytes], ...]:
    say = (said if said is not None else []).append
    return signatures(RegistryWriter(NO_CREDENTIALS), server.ref(NAME, "any"), subject, say)


def verified(server: ImageRegistry, subject: str, signer: ImageSigner, reference: str = NODES) -> int:
    """Return how many signatures of a name a key verifies."""
    found = [signed for signed, made in read(server, subject) if signer.public.verify(made, signed)]
    return len([signed for signed in found if signed == payload(reference, subject)])


def manifest(server: ImageRegistry, subject: str) -> dict[str, Any]:
    there = server.repository(NAME)
    found: dict[str, Any] = json.loads(there.manifests[there.tags[signature_tag(subject)]][1])
    return found


def have(server: ImageRegistry, subject: str, content: bytes) -> None:
    """Have some content under the tag of the signatures."""
    server.put(NAME, signature_tag(subject), content)


def test_a_signature_is_found_under_the_tag_of_its_image_and_names_what_nodes_pull(
    server: ImageRegistry, subject: str, signer: ImageSigner
) -> None:
    assert read(server, subject) == ()
    sign(server, subject, signer)
    ((signed, made),) = read(server, subject)
    check(signed, NODES, subject)
    assert signer.public.verify(made, signed)
    assert set(server.repository(NAME).tags) == {f"sha256-{subject.removeprefix('sha256:')}.sig"}
    config = server.repository(NAME).blobs[manifest(server, subject)["config"]["digest"]]
    assert json.loads(config)["rootfs"]["diff_ids"] == [digest(signed)]


def test_each_key_and_each_name_has_one_signature_and_none_is_lost(
    server: ImageRegistry, subject: str, signer: ImageSigner, tmp_path: Path
) -> None:
    keys = [signer, image_signer(tmp_path, "rsa"), image_signer(tmp_path, "ed25519"), image_signer(tmp_path, which=1)]
    for _ in range(2):
        for key in keys:
            sign(server, subject, key)
        sign(server, subject, signer, "another.example/image")
    assert [verified(server, subject, key) for key in keys] == [1] * 4
    assert verified(server, subject, signer, "another.example/image") == 1
    assert len(read(server, subject)) == 5


def test_an_image_that_is_signed_already_costs_one_request(
    server: ImageRegistry, subject: str, signer: ImageSigner
) -> None:
    sign(server, subject, signer)
    before = server.sent()
    sign(server, subject, signer)
    assert server.sent()[len(before) :] == [f"GET {NAME}/manifests/{signature_tag(subject)}"]


def test_the_layer_of_another_program_stays_as_it_was(
    server: ImageRegistry, subject: str, signer: ImageSigner, tmp_path: Path
) -> None:
    sign(server, subject, image_signer(tmp_path, which=1))
    content = manifest(server, subject)
    content["layers"][0]["annotations"]["dev.sigstore.cosign/bundle"] = '{"SignedEntryTimestamp": "…"}'
    have(server, subject, json.dumps(content).encode())
    sign(server, subject, signer)
    assert manifest(server, subject)["layers"][0] == content["layers"][0]
    assert verified(server, subject, signer) == 1


def test_a_signature_that_does_not_verify_is_no_reason_to_sign_nothing(
    server: ImageRegistry, subject: str, signer: ImageSigner
) -> None:
    signed = payload(NODES, subject)
    server.repository(NAME).blobs[digest(signed)] = signed
    have(server, subject, signature_image((), signed, b"forged").manifest.content)
    sign(server, subject, signer)
    assert verified(server, subject, signer) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"layers": 7}', b'{"layers": [7]}', b'{"mediaType": "x", "layers": []}', b" " * (5 << 20)],
    ids=lambda content: repr(content[:30]),
)
def test_content_that_is_no_signatures_is_replaced(
    server: ImageRegistry, subject: str, signer: ImageSigner, content: bytes
) -> None:
    have(server, subject, content)
    said: list[str] = []
    assert read(server, subject, said) == ()
    assert content == b'{"layers": [7]}' or "is not read as signatures" in said[0]
    sign(server, subject, signer)
    assert verified(server, subject, signer) == 1


@pytest.mark.parametrize("change", ["gone", "other", "large"])
def test_a_payload_that_cannot_be_had_costs_none_of_the_others(
    server: ImageRegistry, subject: str, signer: ImageSigner, change: str
) -> None:
    sign(server, subject, signer, "another.example/image")
    sign(server, subject, signer)
    blob = digest(payload("another.example/image", subject))
    blobs = server.repository(NAME).blobs
    del blobs[blob]
    if change != "gone":
        blobs[blob] = b"other" if change == "other" else b"x" * (65 << 10)
    said: list[str] = []
    assert [signed for signed, _ in read(server, subject, said)] == [payload(NODES, subject)]
    assert blob in said[0]
    # Docker's registry refuses a manifest that lists what was deleted.
    if change == "gone":
        sign(server, subject, signer, "third.example/image")
        assert verified(server, subject, signer, "third.example/image") == 1
        assert verified(server, subject, signer) == 1


def test_a_flood_of_signatures_is_read_in_part_from_its_end(
    server: ImageRegistry, subject: str, signer: ImageSigner
) -> None:
    sign(server, subject, signer)
    content = manifest(server, subject)
    content["layers"] = content["layers"] * 150
    have(server, subject, json.dumps(content).encode())
    before = len(server.sent())
    said: list[str] = []
    assert len(read(server, subject, said)) == 100
    assert "has 150 signatures; the last 100 are read" in said[0]
    assert len(server.sent()) - before == 2


@pytest.mark.parametrize(
    ("reply", "error"),
    [(Reply(503), UnreachableError), (problem(403, "DENIED"), CredentialError), (Reply(418), ProtocolError)],
    ids=lambda value: str(getattr(value, "status", "")),
)
@pytest.mark.parametrize("path", ["/manifests/sha256-", "/blobs/"])
def test_signatures_that_cannot_be_had_are_not_none(
    server: ImageRegistry, subject: str, signer: ImageSigner, reply: Reply, error: type[Exception], path: str
) -> None:
    sign(server, subject, signer)
    server.instead = lambda request: reply if path in request.path else None
    with pytest.raises(error):
        read(server, subject)
    with pytest.raises(error):
        sign(server, subject, signer, "another.example/image")


def after(server: ImageRegistry, method: str, subject: str, act: Callable[[], object]) -> None:
    """Do something once, after the server has answered a request for the tag of signatures."""
    left, answer = [act], server.answer

    def instead(request: Request) -> Reply:
        reply = answer(request)
        if request.method == method and request.path.endswith(signature_tag(subject)) and left:
            left.pop()()
        return reply

    server.web.answer = instead


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_signature_that_another_writer_took_away_is_written_again(
    server: ImageRegistry, subject: str, signer: ImageSigner, tmp_path: Path, method: str
) -> None:
    other = image_signer(tmp_path, which=1)
    sign(server, subject, other)
    content = json.dumps(manifest(server, subject)).encode()
    del server.repository(NAME).tags[signature_tag(subject)]
    after(server, method, subject, lambda: have(server, subject, content))
    sign(server, subject, signer)
    assert verified(server, subject, signer) == 1
    if method == "PUT":
        assert verified(server, subject, other) == 1


def test_a_signature_that_is_taken_away_after_it_was_read_back_is_written_again(
    server: ImageRegistry, subject: str, signer: ImageSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = image_signer(tmp_path, which=1)
    sign(server, subject, other)
    content = json.dumps(manifest(server, subject)).encode()
    left = [lambda: have(server, subject, content)]
    monkeypatch.setattr(time, "sleep", lambda _: left.pop()() if left else None)
    sign(server, subject, signer)
    assert [verified(server, subject, key) for key in (signer, other)] == [1, 1]


def test_threads_that_sign_at_the_same_time_lose_nothing(
    server: ImageRegistry, subject: str, tmp_path: Path, slept: list[float]
) -> None:
    keys = [image_signer(tmp_path, which=number) for number in range(6)]
    start = threading.Barrier(len(keys))
    failures: list[BaseException] = []

    def work(key: ImageSigner) -> None:
        try:
            start.wait()
            sign(server, subject, key)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [verified(server, subject, key) for key in keys] == [1] * len(keys)
    assert len(slept) == len(keys)


def test_a_key_signs_once_however_often_its_signature_is_written(
    server: ImageRegistry, subject: str, signer: ImageSigner
) -> None:
    """A key service may take its time, or count."""
    made: list[bytes] = []

    def counted(signed: bytes) -> bytes:
        made.append(signed)
        return signer.sign(signed)

    after(server, "PUT", subject, server.repository(NAME).tags.clear)
    sign(server, subject, ImageSigner(signer.public, counted))
    assert made == [payload(NODES, subject)]
    assert verified(server, subject, signer) == 1


def test_a_registry_that_keeps_no_signature_is_told(
    server: ImageRegistry, subject: str, signer: ImageSigner, slept: list[float]
) -> None:
    tag = signature_tag(subject)
    server.instead = lambda request: (
        problem(404, "MANIFEST_UNKNOWN") if request.method == "GET" and tag in request.path else None
    )
    with pytest.raises(ToolError, match=f"does not keep the signature of {subject}"):
        sign(server, subject, signer)
    assert len(slept) == 5
    with pytest.raises(InterruptedRunError):
        sign(server, subject, signer, stopping=True)


def test_a_manifest_of_signatures_is_of_ocis_kind(server: ImageRegistry, subject: str, signer: ImageSigner) -> None:
    """CRI-O takes no other (containers/container-libs, image/docker/docker_client.go)."""
    sign(server, subject, signer)
    there = server.repository(NAME)
    assert there.manifests[there.tags[signature_tag(subject)]][0] == MANIFEST
