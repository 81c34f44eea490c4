"""Reading a registry: present, absent and undetermined content are distinguished; digests are checked first."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Iterator
from typing import Any

import docker.auth
import pytest

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.transport import base_of
from kmatrix.values.errors import ProtocolError, UnreachableError
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import INDEX, MANIFEST, FakeRegistry, digest, fake_registry, layer, problem
from tests.unit.support.http_server import Reply, Request, closed_port, has_ipv6, in_turn, web_server

CONFIG = {"architecture": "amd64", "config": {"Labels": {"a": "b"}}}
WANTED = "etc/wanted"


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        yield running


@pytest.fixture
def registry() -> Registry:
    return Registry(Credentials({}, "no-such-file", docker.auth.AuthConfig({})))


def path_of(ref: ImageRef) -> str:
    return f"/v2/{ref.path}/manifests/{ref.digest or ref.tag}"


def test_an_image_is_told_with_digest_configuration_and_layers(server: FakeRegistry, registry: Registry) -> None:
    ref = server.image("team/image", [layer({"a": b"1"}), layer({"b": b"2"}, "none")], CONFIG)
    found = registry.manifest(ref, "x86_64")
    assert found
    assert found.digest == digest(server.manifests[path_of(ref)])
    assert found.config == digest(json.dumps(CONFIG).encode())
    assert [media_type.rpartition(".")[2] for _, media_type, _ in found.layers] == ["tar+gzip", "tar"]
    assert registry.labels(found) == {"a": "b"}
    accept = server.requests("/manifests/")[0].header("accept") or ""
    assert MANIFEST in accept
    assert "vnd.docker.distribution.manifest.list.v2" in accept


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": {"Labels": None}}, {"config": {"Labels": [1]}}])
def test_an_image_without_labels_has_none(server: FakeRegistry, registry: Registry, config: Any) -> None:
    found = registry.manifest(server.image("image", [], config), "x86_64")
    assert found
    assert registry.labels(found) == {}


@pytest.mark.parametrize("code", ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"])
def test_absent_is_what_the_registry_says_is_absent(server: FakeRegistry, registry: Registry, code: str) -> None:
    ref = ImageRef.parse(f"{server.web.address}/image:1")
    server.instead[path_of(ref)] = problem(404, code)
    assert registry.manifest(ref, "x86_64") is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html><h1>404 Not Found</h1>errors: MANIFEST_UNKNOWN, NOT_FOUND</html>",
        b'{"message": "no such route"}',
        b'{"errors": []}',
        b'["errors"]',
        b"",
    ],
)
def test_a_404_of_a_proxy_does_not_read_as_absent(server: FakeRegistry, registry: Registry, body: bytes) -> None:
    ref = ImageRef.parse(f"{server.web.address}/image:1")
    server.instead[path_of(ref)] = Reply(404, body)
    with pytest.raises(UnreachableError, match=r"image registry at .* 404 in a form that no registry uses"):
        registry.manifest(ref, "x86_64")
    with pytest.raises(UnreachableError):
        registry.resolve(ref)
    assert len(server.web.requests) == 2


def test_a_list_gives_the_image_of_the_machine(server: FakeRegistry, registry: Registry) -> None:
    arm = server.image("image", [layer({"arm": b""})], CONFIG)
    intel = server.image("image", [layer({"intel": b""})], CONFIG)
    entries = []
    for name, os_name, ref in (("amd64", "windows", arm), ("arm64", "linux", arm), ("amd64", "linux", intel)):
        one = digest(server.manifests[path_of(ref)])
        if ref is arm:
            one = next(key.rpartition("/")[2] for key in server.manifests if "sha256" in key)
        entries.append({"digest": one, "mediaType": MANIFEST, "platform": {"architecture": name, "os": os_name}})
    ref = server.manifest("image", {"mediaType": INDEX, "manifests": [{"digest": "x"}, *entries]}, "list")
    found = registry.manifest(ref, "x86_64")
    assert found
    assert found.digest == entries[2]["digest"]
    with pytest.raises(ProtocolError, match="no image for s390x"):
        registry.manifest(ref, "s390x")
    assert registry.resolve(ref).digest == digest(server.manifests[path_of(ref)])


@pytest.mark.parametrize(
    "content",
    [
        b"<html>sign in</html>",
        b"[]",
        {},
        {"config": {}, "layers": []},
        {"config": {"digest": "x"}, "layers": [{"digest": "x", "mediaType": "y", "size": "many"}]},
        {"config": {"digest": "x"}, "layers": ["x"]},
        {"manifests": ["x"]},
        {"manifests": None},
        {"manifests": [{"platform": {"architecture": "amd64"}}]},
        {"manifests": [{"digest": "../../secret", "platform": {"architecture": "amd64"}}]},
    ],
)
def test_what_is_no_manifest_is_told(server: FakeRegistry, registry: Registry, content: Any) -> None:
    ref = server.manifest("image", content)
    with pytest.raises(ProtocolError, match="image:1"):
        registry.manifest(ref, "x86_64")


def test_a_name_stands_for_what_it_has_for_each_architecture(server: FakeRegistry, registry: Registry) -> None:
    """A list that lacks an architecture differs from one whose manifest is missing."""
    ref = server.image("image", [layer({WANTED: b"x"})], {"architecture": "arm64"})
    alone = registry.named(ref)
    assert alone
    assert {arch: manifest.digest for arch, manifest in alone.manifests.items()} == {"aarch64": alone.digest}
    assert (alone.manifests["aarch64"].media_type, digest(alone.manifests["aarch64"].content)) == (
        MANIFEST,
        alone.digest,
    )

    def entry(architecture: str, name: str) -> dict[str, Any]:
        return {"digest": name, "mediaType": MANIFEST, "platform": {"architecture": architecture, "os": "linux"}}

    of_one = registry.named(server.manifest("image", {"manifests": [entry("arm64", alone.digest)]}, "one"))
    assert of_one
    assert list(of_one.manifests) == ["aarch64"]
    assert of_one.digest == digest(server.manifests["/v2/image/manifests/one"]) != alone.digest
    entries = [entry("arm64", alone.digest), entry("amd64", digest(b"gone"))]
    with pytest.raises(ProtocolError, match="does not exist, but the image's manifest list names it"):
        registry.named(server.manifest("image", {"manifests": entries}, "gone"))
    assert registry.named(ref.with_tag("absent")) is None


def test_another_manifest_than_asked_for_is_refused(server: FakeRegistry, registry: Registry) -> None:
    ref = server.image("image", [], CONFIG).with_digest(digest(b"other"))
    server.instead[path_of(ref)] = Reply(200, server.manifests["/v2/image/manifests/1"])
    with pytest.raises(ProtocolError, match="sent a manifest whose digest is"):
        registry.manifest(ref, "x86_64")


def test_a_manifest_that_is_not_what_the_registry_meant_is_refused(server: FakeRegistry, registry: Registry) -> None:
    ref = server.image("image", [], CONFIG)
    raw = server.manifests[path_of(ref)]
    server.instead[path_of(ref)] = Reply(200, raw, {"Docker-Content-Digest": digest(raw)})
    assert registry.manifest(ref, "x86_64")
    server.instead[path_of(ref)] = Reply(200, raw + b" ", {"Docker-Content-Digest": digest(raw)})
    with pytest.raises(ProtocolError, match="sent a manifest whose digest is"):
        registry.manifest(ref, "x86_64")


def test_another_configuration_than_named_is_refused(server: FakeRegistry, registry: Registry) -> None:
    found = registry.manifest(server.image("image", [], CONFIG), "x86_64")
    assert found
    server.blobs[f"/v2/image/blobs/{found.config}"] = b'{"config": {"Labels": {"cell-key": "forged"}}}'
    with pytest.raises(ProtocolError, match="sent a configuration whose digest is"):
        registry.labels(found)


def test_resolve_pins_a_tag_and_leaves_a_digest(server: FakeRegistry, registry: Registry) -> None:
    ref = server.image("image", [], CONFIG)
    pinned = registry.resolve(ref)
    assert (pinned.tag, pinned.digest) == ("1", digest(server.manifests[path_of(ref)]))
    asked = len(server.web.requests)
    assert registry.resolve(pinned) == pinned
    assert len(server.web.requests) == asked
    with pytest.raises(ProtocolError, match="no such image"):
        registry.resolve(ref.with_tag("other"))


def test_a_list_whose_image_is_gone_is_no_absent_image(server: FakeRegistry, registry: Registry) -> None:
    entry = {"digest": digest(b"gone"), "mediaType": MANIFEST, "platform": {"architecture": "amd64", "os": "linux"}}
    ref = server.manifest("image", {"mediaType": INDEX, "manifests": [entry]})
    with pytest.raises(ProtocolError, match="does not exist, but the image's manifest list names it") as caught:
        registry.manifest(ref, "x86_64")
    assert "Push or mirror" in caught.value.hint


@pytest.mark.parametrize("lying", [False, True])
def test_a_registry_that_sends_encodings_nobody_asked_for_is_read(
    server: FakeRegistry, registry: Registry, lying: bool
) -> None:
    """A proxy compresses content that it forwards; a store calls a layer's own compression an encoding (`lying`)."""
    coded = {"Content-Encoding": "gzip"}
    ref = server.image("image", [layer({WANTED: b"x"})], CONFIG)
    for path, body in server.blobs.items():
        server.instead[path] = Reply(200, body if lying else gzip.compress(body), coded)
    for path, body in server.manifests.items():
        server.instead[path] = Reply(200, gzip.compress(body), coded)
    found = registry.manifest(ref, "x86_64")
    assert found
    assert registry.labels(found) == {"a": "b"}
    assert registry.find_file(found, [WANTED], 1) == {WANTED: b"x"}


def test_a_layer_in_an_encoding_that_fits_neither_way_is_refused(server: FakeRegistry, registry: Registry) -> None:
    found = registry.manifest(server.image("image", [layer({WANTED: b"x"})], CONFIG), "x86_64")
    assert found
    other = Reply(200, gzip.compress(b"other"), {"Content-Encoding": "gzip"})
    server.instead[f"/v2/image/blobs/{found.layers[0][0]}"] = other
    with pytest.raises(ProtocolError, match="other content"):
        registry.find_file(found, [WANTED], 1)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_an_ipv6_registry_is_read(registry: Registry) -> None:
    with web_server(lambda _: problem(404, "NAME_UNKNOWN"), host="::1") as server:
        assert registry.manifest(ImageRef.parse(f"{server.address}/image:1"), "x86_64") is None
        assert server.requests[0].path == "/v2/image/manifests/1"


def test_docker_hub_is_asked_where_its_registry_is() -> None:
    assert base_of(ImageRef.parse("docker.io/debian:13")) == "https://registry-1.docker.io/v2/library/debian"


@pytest.mark.parametrize("status", [400, 405, 418])
def test_an_answer_of_no_meaning_here_is_told(server: FakeRegistry, registry: Registry, status: int) -> None:
    ref = ImageRef.parse(f"{server.web.address}/image:1")
    server.instead[path_of(ref)] = Reply(status)
    with pytest.raises(ProtocolError, match=f"answers {status}"):
        registry.manifest(ref, "x86_64")


@pytest.mark.usefixtures("slept")
def test_a_registry_that_is_not_there_is_named(registry: Registry) -> None:
    with pytest.raises(UnreachableError, match=r"the image registry at http://127\.0\.0\.1:.* connection refused"):
        registry.manifest(ImageRef.parse(f"127.0.0.1:{closed_port()}/image:1"), "x86_64")


class TestFiles:
    @pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
    @pytest.mark.parametrize("path", [WANTED, f"./{WANTED}", f"/{WANTED}"])
    def test_the_topmost_layer_that_has_the_file_counts(
        self, server: FakeRegistry, registry: Registry, compression: str, path: str
    ) -> None:
        lowest = layer({path: b"lowest"}, compression)
        middle = layer({"etc/other": b"", path: b"middle", "z": b"z" * 100_000}, compression)
        found = registry.manifest(
            server.image("image", [lowest, middle, layer({"etc/other": b""}, compression)], CONFIG), "x86_64"
        )
        assert found
        assert registry.find_file(found, [WANTED, "absent"], 3) == {WANTED: b"middle"}
        assert not server.requests(found.layers[0][0])

    @pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
    @pytest.mark.parametrize("label", ["oci.image.layer.v1.tar", "oci.image.layer.v1.tar+zstd", "docker.x.tar.gzip"])
    def test_a_layer_is_read_by_what_it_is_and_not_by_its_label(
        self, server: FakeRegistry, registry: Registry, compression: str, label: str
    ) -> None:
        upper = (f"application/vnd.{label}", layer({WANTED: b"upper"}, compression)[1])
        found = registry.manifest(server.image("image", [layer({WANTED: b"lower"}), upper], CONFIG), "x86_64")
        assert found
        assert registry.find_file(found, [WANTED], 2) == {WANTED: b"upper"}

    def test_a_file_under_another_of_its_names_is_read_from_the_same_layer(
        self, server: FakeRegistry, registry: Registry
    ) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo("first")
            member.size = 5
            archive.addfile(member, io.BytesIO(b"upper"))
            second = tarfile.TarInfo(WANTED)
            second.type, second.linkname = tarfile.LNKTYPE, "first"
            archive.addfile(second)
        upper = ("application/vnd.oci.image.layer.v1.tar", buffer.getvalue())
        found = registry.manifest(server.image("image", [layer({WANTED: b"lower"}), upper], CONFIG), "x86_64")
        assert found
        assert registry.find_file(found, [WANTED], 2) == {WANTED: b"upper"}
        assert not server.requests(found.layers[0][0])

    def test_no_more_layers_are_read_than_allowed(self, server: FakeRegistry, registry: Registry) -> None:
        layers = [layer({WANTED: b"1"}), layer({"b": b""}), layer({"c": b""})]
        found = registry.manifest(server.image("image", layers, CONFIG), "x86_64")
        assert found
        assert registry.find_file(found, [WANTED], 2) == {}
        assert registry.find_file(found, [WANTED], 3) == {WANTED: b"1"}

    def test_a_long_layer_is_read_to_its_end(self, server: FakeRegistry, registry: Registry) -> None:
        files = {WANTED: b"x", "long": random.Random(1).randbytes(200_000)}
        found = registry.manifest(server.image("image", [layer(files)], CONFIG), "x86_64")
        assert found
        assert registry.find_file(found, [WANTED], 1) == {WANTED: b"x"}

    def test_a_folder_of_the_name_is_no_such_file(self, server: FakeRegistry, registry: Registry) -> None:
        found = registry.manifest(server.image("image", [layer({"a": b""})], CONFIG), "x86_64")
        assert found
        assert registry.find_file(found, ["etc"], 1) == {}

    def test_other_content_is_refused_though_the_file_is_in_it(self, server: FakeRegistry, registry: Registry) -> None:
        found = registry.manifest(server.image("image", [layer({WANTED: b"true"})], CONFIG), "x86_64")
        assert found
        server.blobs[f"/v2/image/blobs/{found.layers[0][0]}"] = layer({WANTED: b"false"})[1]
        with pytest.raises(ProtocolError, match="the registry sent other content"):
            registry.find_file(found, [WANTED], 1)

    def test_what_comes_after_the_file_counts_for_the_digest(self, server: FakeRegistry, registry: Registry) -> None:
        found = registry.manifest(server.image("image", [layer({WANTED: b"x", "z": b"1" * 9999})], CONFIG), "x86_64")
        assert found
        server.blobs[f"/v2/image/blobs/{found.layers[0][0]}"] += b"more"
        with pytest.raises(ProtocolError, match="the registry sent other content"):
            registry.find_file(found, [WANTED], 1)

    @pytest.mark.parametrize(
        "blob",
        [
            ("tar+gzip", b"no gzip at all"),
            ("tar+gzip", gzip.compress(b"no archive" * 100, mtime=0)),
            ("tar+gzip", layer({WANTED: b"x" * 5000})[1][:-20]),
            ("tar+gzip", layer({WANTED: b"x" * 5000})[1][:30] + b"\0" * 200),
            ("tar+zstd", b"no zstd at all"),
            ("tar", b"no archive" * 100),
        ],
    )
    def test_a_layer_that_is_no_archive_is_told(
        self, server: FakeRegistry, registry: Registry, blob: tuple[str, bytes]
    ) -> None:
        damaged = (f"application/vnd.oci.image.layer.v1.{blob[0]}", blob[1])
        found = registry.manifest(server.image("image", [damaged], CONFIG), "x86_64")
        assert found
        with pytest.raises(ProtocolError, match="not a readable archive"):
            registry.find_file(found, ["etc/absent"], 1)

    @pytest.mark.usefixtures("slept")
    @pytest.mark.parametrize("reset", [True, False])
    def test_a_blob_that_breaks_off_is_asked_again(self, server: FakeRegistry, registry: Registry, reset: bool) -> None:
        found = registry.manifest(server.image("image", [layer({WANTED: b"x" * 5000})], CONFIG), "x86_64")
        assert found
        answers = in_turn(Reply(200, server.blobs[f"/v2/image/blobs/{found.layers[0][0]}"], cut=20, reset=reset))
        left = [answers, answers]

        def answer(request: Request) -> Reply:
            return left.pop()(request) if left else server.answer(request)

        server.web.answer = answer
        assert registry.find_file(found, [WANTED], 1) == {WANTED: b"x" * 5000}
        assert len(server.requests("/blobs/")) == 3

    def test_a_blob_may_be_elsewhere(self, server: FakeRegistry, registry: Registry) -> None:
        found = registry.manifest(server.image("image", [layer({WANTED: b"x"})], CONFIG), "x86_64")
        assert found
        path = f"/v2/image/blobs/{found.layers[0][0]}"
        with web_server(in_turn(Reply(200, server.blobs[path]))) as storage:
            server.instead[path] = Reply(307, headers={"Location": f"{storage.url}/storage?signed=yes"})
            assert registry.find_file(found, [WANTED], 1) == {WANTED: b"x"}

    def test_a_blob_the_manifest_names_and_the_registry_lacks_is_told(
        self, server: FakeRegistry, registry: Registry
    ) -> None:
        found = registry.manifest(server.image("image", [layer({WANTED: b"x"})], CONFIG), "x86_64")
        assert found
        server.blobs.clear()
        with pytest.raises(ProtocolError, match="does not exist, but the image's manifest names it"):
            registry.find_file(found, [WANTED], 1)
