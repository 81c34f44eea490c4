"""Attestations beside an image: in a registry's own list or in the fallback index, with hostile content and writers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kmatrix.decide.referrers import BUNDLE, extended_index, referrers_tag
from kmatrix.effects.registry import referrers, shared_tag
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.referrers import attach, attached
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT
from kmatrix.values.errors import (
    CredentialError,
    InterruptedRunError,
    NotReadableError,
    ProtocolError,
    ToolError,
    UnreachableError,
)
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import INDEX, MANIFEST, digest, problem
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.image_registry import NO_CREDENTIALS, ImageRegistry, image_registry

NAME = "team/image"
BUNDLES = ((TEST_RESULT, b'{"bundle": 1}'), (PROVENANCE, b'{"bundle": 2}'))


@pytest.fixture
def server() -> Iterator[ImageRegistry]:
    with image_registry() as running:
        yield running


@pytest.fixture(params=["list", "index"])
def either(server: ImageRegistry, request: pytest.FixtureRequest) -> ImageRegistry:
    """A registry with its own list of referrers, and one without."""
    server.referrers = {} if request.param == "list" else None
    return server


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in place of making them."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def image(server: ImageRegistry) -> str:
    return server.image(NAME, "", {"config": {}})


def put(server: ImageRegistry, subject: str, *bundles: tuple[str, bytes], stopping: bool = False) -> None:
    attach(RegistryWriter(NO_CREDENTIALS), server.ref(NAME, "any"), subject, bundles or BUNDLES, lambda: stopping)


def read(
    server: ImageRegistry, subject: str, said: list[str] | None = None, wanted: tuple[str, ...] | None = None
) -> list[tuple[str, bytes]]:
    say = (said if said is not None else []).append
    found = attached(RegistryWriter(NO_CREDENTIALS), server.ref(NAME, "any"), subject, say, wanted)
    return [(each.predicate_type, each.content) for each in found]


def manifests(server: ImageRegistry) -> dict[str, dict[str, Any]]:
    """The manifests with a subject, by digest."""
    parsed = {each: json.loads(content) for each, (_, content) in server.repository(NAME).manifests.items()}
    return {each: content for each, content in parsed.items() if "subject" in content}


def test_bundles_come_back_as_they_were_attached(either: ImageRegistry) -> None:
    subject, other = image(either), either.image(NAME, "other", {"config": {"Labels": {}}})
    assert read(either, subject) == []
    put(either, subject)
    assert read(either, subject) == list(BUNDLES)
    assert read(either, other) == []
    put(either, subject, (SPDX, b"more"))
    assert read(either, subject) == [*BUNDLES, (SPDX, b"more")]


def test_a_bundle_is_an_artifact_of_the_kind_that_cosign_writes(either: ImageRegistry) -> None:
    subject = image(either)
    put(either, subject, BUNDLES[0])
    (content,) = manifests(either).values()
    described = {
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": TEST_RESULT,
        },
    }
    assert content == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        **described,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            # As opencontainers/image-spec, manifest.md, has it.
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [{"mediaType": BUNDLE, "digest": digest(BUNDLES[0][1]), "size": len(BUNDLES[0][1])}],
        "subject": {
            "mediaType": MANIFEST,
            "digest": subject,
            "size": len(either.repository(NAME).manifests[subject][1]),
        },
    }
    if either.referrers is not None:
        assert either.repository(NAME).tags == {}
        return
    index = either.repository(NAME).tags[f"sha256-{subject.removeprefix('sha256:')}"]
    media_type, raw = either.repository(NAME).manifests[index]
    assert media_type == INDEX
    (found,) = manifests(either)
    manifest = either.repository(NAME).manifests[found][1]
    assert json.loads(raw) == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{"mediaType": MANIFEST, "digest": found, "size": len(manifest), **described}],
    }


def test_the_subject_may_be_a_list_without_a_tag(either: ImageRegistry) -> None:
    listed = image(either)
    content = {"mediaType": INDEX, "schemaVersion": 2, "manifests": [{"digest": listed}]}
    subject = either.put(NAME, "", json.dumps(content).encode(), INDEX)
    put(either, subject)
    assert {each["subject"]["mediaType"] for each in manifests(either).values()} == {INDEX}
    assert read(either, subject) == list(BUNDLES)
    assert read(either, listed) == []


def test_the_same_bundle_is_attached_once(either: ImageRegistry) -> None:
    subject = image(either)
    put(either, subject)
    before = len(either.sent("PUT"))
    put(either, subject)
    assert read(either, subject) == list(BUNDLES)
    if either.referrers is None:
        assert not any(each.endswith(referrers_tag(subject)) for each in either.sent("PUT")[before:])


def test_an_image_that_is_gone_is_told_and_nothing_is_written(either: ImageRegistry) -> None:
    with pytest.raises(ProtocolError, match="no such image to attach an attestation to"):
        put(either, digest(b"never pushed"))
    assert either.sent("PUT", "POST") == []


def test_a_run_that_is_told_to_stop_attaches_nothing_more(either: ImageRegistry) -> None:
    subject = image(either)
    with pytest.raises(InterruptedRunError):
        put(either, subject, stopping=True)
    assert read(either, subject) == []


@pytest.mark.parametrize("page", [1, 2, 3])
def test_every_page_of_the_registrys_list_is_read(server: ImageRegistry, page: int) -> None:
    server.referrers = {}
    subject = image(server)
    bundles = [(TEST_RESULT, b"%d" % number) for number in range(5)]
    put(server, subject, *bundles)
    server.referrers_page = page
    assert read(server, subject) == bundles


def test_only_wanted_types_are_read_and_those_that_do_not_say_theirs(either: ImageRegistry) -> None:
    subject = image(either)
    put(either, subject)
    silent = artifact(either, subject, b"silent", annotations={})
    if either.referrers is None:
        listed(either, subject, {"digest": silent}, *entries(either, subject))
    before = len(either.sent())
    found = read(either, subject, wanted=(TEST_RESULT,))
    assert sorted(found) == [("", b"silent"), BUNDLES[0]]
    assert not any(digest(BUNDLES[1][1]) in each for each in either.sent()[before:])


def test_a_repository_is_asked_once_for_a_list_that_its_registry_has_not(server: ImageRegistry) -> None:
    registry = RegistryWriter(NO_CREDENTIALS)
    for number in range(3):
        subject = server.image(NAME, "", {"number": number})
        assert attached(registry, server.ref(NAME), subject) == ()
    assert len([each for each in server.sent() if "/referrers/" in each]) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404, b"404 page not found\n"),
        problem(404, "NOT_FOUND"),
        problem(405, "UNSUPPORTED"),
        problem(400, "UNSUPPORTED"),
        Reply(406),
        Reply(200, b"<html>welcome</html>", {"Content-Type": "text/html"}),
    ],
    ids=lambda reply: str(reply.status),
)
def test_a_registry_without_such_lists_has_them_under_a_tag(server: ImageRegistry, reply: Reply) -> None:
    server.instead = lambda request: reply if "/referrers/" in request.path else None
    subject = image(server)
    put(server, subject)
    assert read(server, subject) == list(BUNDLES)


NO_LIST = {"Content-Type": INDEX}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (problem(403, "DENIED"), CredentialError),
        (problem(418, "TEAPOT"), ProtocolError),
        (Reply(503), UnreachableError),
        (Reply(200, b"<html>", NO_LIST), ProtocolError),
        (Reply(200, b'{"manifests": 7}', NO_LIST), ProtocolError),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
def test_a_list_that_cannot_be_had_is_not_an_empty_one(
    server: ImageRegistry, reply: Reply, error: type[Exception]
) -> None:
    server.instead = lambda request: reply if "/referrers/" in request.path else None
    with pytest.raises(error):
        read(server, image(server))


def test_a_list_larger_than_manifests_may_be_is_told_and_not_read(server: ImageRegistry) -> None:
    reply = Reply(200, b'{"manifests": []}' + b" " * (5 << 20), NO_LIST)
    server.instead = lambda request: reply if "/referrers/" in request.path else None
    said: list[str] = []
    assert read(server, image(server), said) == []
    assert "is not read: http" in said[0]


@pytest.mark.parametrize("path", ["/manifests/sha256-", "/blobs/"])
def test_content_that_cannot_be_had_is_not_absent(server: ImageRegistry, path: str) -> None:
    subject = image(server)
    put(server, subject)
    server.instead = lambda request: Reply(503) if path in request.path else None
    with pytest.raises(UnreachableError):
        read(server, subject)


# What whoever may push can write.


def artifact(server: ImageRegistry, subject: str, bundle: bytes, **changes: Any) -> str:
    """Have the manifest of an attestation with other values; None for a value leaves it out."""
    blob = digest(bundle)
    server.repository(NAME).blobs[blob] = bundle
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BUNDLE,
        "layers": [{"mediaType": BUNDLE, "digest": blob, "size": len(bundle)}],
        "subject": {"digest": subject},
        "annotations": {"dev.sigstore.bundle.predicateType": TEST_RESULT},
        **changes,
    }
    made = server.put(
        NAME, "", json.dumps({key: value for key, value in content.items() if value is not None}).encode()
    )
    if server.referrers is not None:
        server.referrers[made] = subject
    return made


def entries(server: ImageRegistry, subject: str) -> list[Any]:
    repository = server.repository(NAME)
    found: list[Any] = json.loads(repository.manifests[repository.tags[referrers_tag(subject)]][1])["manifests"]
    return found


def listed(server: ImageRegistry, subject: str, *entries: Any) -> None:
    """Have an index under the fallback tag with these entries."""
    content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    server.put(NAME, referrers_tag(subject), json.dumps(content).encode(), INDEX)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": None}, "is not that of an attestation"),
        ({"layers": 7}, "is not that of an attestation"),
        ({"layers": [7]}, "is not that of an attestation"),
        ({"layers": [{"mediaType": BUNDLE, "digest": "sha256:short", "size": 1}]}, "is not that of an attestation"),
        ({"layers": [{"mediaType": BUNDLE, "digest": digest(b"x"), "size": "1"}]}, "is not that of an attestation"),
        ({"layers": [{"mediaType": BUNDLE, "digest": digest(b"x"), "size": 1 << 40}]}, "its bundle has 1.1e"),
        ({"layers": [{"mediaType": BUNDLE, "digest": digest(b"x"), "size": 1}]}, "registry does not have blobs/"),
        ({"layers": [{"mediaType": "application/x", "digest": digest(b"x"), "size": 1}]}, None),
        ({"layers": []}, None),
    ],
    ids=repr,
)
def test_a_manifest_that_is_no_attestation_costs_none_of_the_others(
    either: ImageRegistry, changes: dict[str, Any], words: str | None
) -> None:
    subject = image(either)
    put(either, subject)
    made = artifact(either, subject, b"bundle", **changes)
    if either.referrers is None:
        listed(either, subject, {"digest": made}, *entries(either, subject))
    said: list[str] = []
    assert read(either, subject, said) == list(BUNDLES)
    if words is None:
        assert said == []
    else:
        (line,) = said
        assert words in line
        assert made in line


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        "digest",
        [],
        {},
        {"digest": 7},
        {"digest": "sha256:../../secrets"},
        {"digest": digest(b"x"), "mediaType": 7},
        {"digest": digest(b"x"), "annotations": {"\ud800": 1}, "artifactType": "application/x"},
        {"digest": digest(b"x"), "artifactType": "application/vnd.example"},
        {"digest": digest(b"x"), "annotations": {"dev.sigstore.bundle.predicateType": SPDX}},
    ],
    ids=repr,
)
def test_an_entry_of_an_index_that_is_none_costs_none_of_the_others(server: ImageRegistry, entry: Any) -> None:
    subject = image(server)
    put(server, subject)
    listed(server, subject, entry, *entries(server, subject))
    said: list[str] = []
    assert read(server, subject, said, wanted=(TEST_RESULT, PROVENANCE)) == list(BUNDLES)
    assert said == []


def test_an_entry_of_content_that_is_gone_is_told_and_costs_none_of_the_others(either: ImageRegistry) -> None:
    subject = image(either)
    gone = artifact(either, subject, b"gone")
    put(either, subject)
    if either.referrers is None:
        listed(either, subject, {"digest": gone}, *entries(either, subject))
    else:
        either.instead = lambda request: problem(404, "MANIFEST_UNKNOWN") if gone in request.path else None
    del either.repository(NAME).blobs[digest(b"gone")]
    said: list[str] = []
    assert read(either, subject, said) == list(BUNDLES)
    assert len(said) == 1


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"manifests": 7}', b"[" * 100_000, b" " * (5 << 20)], ids=lambda c: repr(c[:9])
)
def test_an_index_that_is_none_is_told_and_replaced(server: ImageRegistry, content: bytes) -> None:
    subject = image(server)
    server.put(NAME, referrers_tag(subject), content, INDEX)
    said: list[str] = []
    assert read(server, subject, said) == []
    assert f"the list of attestations of {server.ref(NAME)}@{subject} is not read" in said[0]
    put(server, subject)
    assert read(server, subject) == list(BUNDLES)


def test_content_that_was_changed_on_the_way_is_refused(server: ImageRegistry) -> None:
    subject = image(server)
    put(server, subject)
    blob = digest(BUNDLES[0][1])
    changed = b'{"bundle": 9}'
    server.repository(NAME).blobs[blob] = changed
    said: list[str] = []
    assert read(server, subject, said) == [BUNDLES[1]]
    assert f"the registry sent {digest(changed)}" in said[0]


def test_a_flood_of_attestations_is_read_in_part_from_its_end(
    server: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(referrers, "_MOST_BUNDLES", 3)
    subject = image(server)
    put(server, subject, *((TEST_RESULT, b"%d" % number) for number in range(5)))
    said: list[str] = []
    assert [content for _, content in read(server, subject, said)] == [b"2", b"3", b"4"]
    assert "has 5 attestations; the last 3" in said[0]


def test_the_oldest_entries_leave_an_index_that_registries_would_refuse() -> None:
    there = [{"digest": digest(b"%d" % number)} for number in range(1500)]
    new = {"digest": digest(b"new")}
    content = json.loads(extended_index(there, [new]).content)
    assert content["manifests"] == [*there[501:], new]
    large = [{**each, "annotations": {"x": "y" * 300_000}} for each in there[:10]]
    index = extended_index(large, [new])
    assert len(index.content) < 4 << 20
    assert json.loads(index.content)["manifests"] == [*large[4:], new]


# Several writers.


def after(server: ImageRegistry, times: int, method: str, path: str, act: Callable[[], object]) -> None:
    """Do something once, after the server has handled a request for the times-th time."""
    left, answer = [times], server.answer

    def instead(request: Request) -> Reply:
        reply = answer(request)
        if request.method == method and path in request.path and left[0]:
            left[0] -= 1
            if not left[0]:
                act()
        return reply

    server.web.answer = instead


def test_an_entry_that_another_writer_takes_away_after_it_was_read_back_is_written_again(
    server: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one read before this one wrote, and writes after this one has seen its entry."""
    subject = image(server)
    other = {"digest": artifact(server, subject, b"other")}
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        if not pauses:
            listed(server, subject, other)
        pauses.append(seconds)

    monkeypatch.setattr(time, "sleep", pause)
    put(server, subject)
    assert read(server, subject) == [(TEST_RESULT, b"other"), *BUNDLES]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_entry_that_another_writer_took_away_is_written_again(
    server: ImageRegistry, slept: list[float], method: str
) -> None:
    """The other one writes its own index after this one read, or just after this one wrote."""
    subject = image(server)
    other = {"digest": artifact(server, subject, b"other")}
    after(server, 1, method, referrers_tag(subject), lambda: listed(server, subject, other))
    put(server, subject)
    found = read(server, subject)
    assert set(BUNDLES) <= set(found)
    if method == "PUT":
        assert (TEST_RESULT, b"other") in found
        assert len(slept) == 2


def test_an_index_that_cannot_be_read_for_a_moment_loses_no_entry(
    server: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some registries refuse for a moment to read what was written just now: that is no absence of the entries."""
    subject = image(server)
    put(server, subject, (SPDX, b"before"))
    other = {"digest": artifact(server, subject, b"other")}
    read_tag, reads = shared_tag.read_tag, 0

    def refused(registry: Registry, name: ImageRef) -> bytes | None:
        nonlocal reads
        reads += 1
        if reads == 2:
            # Another writer takes this one's entries away meanwhile.
            listed(server, subject, *entries(server, subject)[:1], other)
        if reads in (2, 3):
            raise NotReadableError("not now", "Wait.")
        return read_tag(registry, name)

    monkeypatch.setattr(shared_tag, "read_tag", refused)
    put(server, subject)
    assert read(server, subject) == [(SPDX, b"before"), (TEST_RESULT, b"other"), *BUNDLES]


def test_an_index_that_is_reported_absent_for_a_moment_loses_no_entry(
    server: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry of many servers may not find for a moment what was written just now."""
    subject = image(server)
    put(server, subject, (SPDX, b"before"))
    read_tag, reads = shared_tag.read_tag, 0

    def lagging(registry: Registry, name: ImageRef) -> bytes | None:
        nonlocal reads
        reads += 1
        return None if reads in (2, 3) else read_tag(registry, name)

    monkeypatch.setattr(shared_tag, "read_tag", lagging)
    put(server, subject)
    assert read(server, subject) == [(SPDX, b"before"), *BUNDLES]


def test_an_index_that_can_never_be_read_back_is_no_success(
    server: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = image(server)
    put(server, subject, (SPDX, b"before"))
    read_tag, reads = shared_tag.read_tag, 0

    def refused(registry: Registry, name: ImageRef) -> bytes | None:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise NotReadableError("not now", "Wait.")
        return read_tag(registry, name)

    monkeypatch.setattr(shared_tag, "read_tag", refused)
    with pytest.raises(NotReadableError):
        put(server, subject)
    assert len(entries(server, subject)) == 3


def test_threads_that_attach_at_the_same_time_lose_nothing(either: ImageRegistry, slept: list[float]) -> None:
    subject = image(either)
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            # Each has connections of its own, as another program would.
            start.wait()
            for step in range(3):
                put(either, subject, (TEST_RESULT, b"%d.%d" % (number, step)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = sorted(b"%d.%d" % (number, step) for number in range(8) for step in range(3))
    assert sorted(content for _, content in read(either, subject)) == expected
    # One for each writing of the index, none for another attempt.
    assert len(slept) == (24 if either.referrers is None else 0)


def test_an_entry_whose_manifest_was_deleted_is_left_out(server: ImageRegistry) -> None:
    """Docker's registry refuses an index that lists it."""
    subject = image(server)
    put(server, subject)
    gone = next(iter(manifests(server)))
    del server.repository(NAME).manifests[gone]
    put(server, subject, (SPDX, b"more"))
    assert [each["digest"] for each in entries(server, subject)] == [each for each in manifests(server) if each != gone]


def test_a_registry_that_refuses_the_index_for_another_reason_is_told(server: ImageRegistry) -> None:
    subject = image(server)
    put(server, subject)
    tag = referrers_tag(subject)
    server.instead = lambda request: (
        problem(400, "MANIFEST_INVALID", "no indexes here") if request.method == "PUT" and tag in request.path else None
    )
    with pytest.raises(ProtocolError, match="no indexes here"):
        put(server, subject, (SPDX, b"more"))


def test_a_registry_that_does_not_keep_the_index_is_told(server: ImageRegistry, slept: list[float]) -> None:
    subject = image(server)
    tag = referrers_tag(subject)
    server.instead = lambda request: (
        problem(404, "MANIFEST_UNKNOWN") if request.method == "GET" and tag in request.path else None
    )
    with pytest.raises(ToolError, match=f"does not keep the attestations of {subject}") as caught:
        put(server, subject)
    assert "repository" in caught.value.hint
    assert len(slept) == 5
