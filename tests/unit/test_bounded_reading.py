"""No answer fills the memory or keeps the processor busy without end: bombs, endless bodies, huge headers."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import docker.auth
import pytest
import zstandard

from kmatrix.effects.net import encodings
from kmatrix.effects.net.update_graph import fetch_graph
from kmatrix.effects.registry import layers
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.layers import read_layer
from kmatrix.values.errors import CredentialError, KmatrixError, ProtocolError, UnreachableError
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import FakeRegistry, fake_registry, layer
from tests.unit.support.http_server import Reply, in_turn, web_server

WANTED = "release-manifests/image-references"
MIB = 1 << 20
# More than a reader may hold, and quickly read past.
HUGE = 128 * MIB


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        yield running


@pytest.fixture
def registry() -> Registry:
    return Registry(Credentials({}, "the-file", docker.auth.AuthConfig({})))


def peak_mib(work: Callable[[], object]) -> float:
    """Return the most memory that Python objects took while something ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.USTAR_FORMAT)


def packed(pack: str, *pieces: bytes) -> bytes:
    """Compress pieces that would not fit into memory at once."""
    makers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.compressobj(9, wbits=31),
        "xz": lambda: lzma.LZMACompressor(preset=0),
        "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
    }
    packer = makers[pack]()
    return b"".join((*(packer.compress(piece) for piece in pieces), packer.flush()))


def bomb(pack: str, name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a layer with one huge entry of zeros."""
    return packed(pack, header(name, HUGE, kind), *[bytes(MIB)] * (HUGE // MIB), bytes(1024))


def refusal(blob: bytes, wanted: str = WANTED) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        read_layer(io.BytesIO(blob), frozenset((wanted,)), "a layer", f"sha256:{hashlib.sha256(blob).hexdigest()}")
    return caught.value


# Layers


@pytest.mark.parametrize("pack", ["gzip", "xz", "zstd"])
def test_a_bomb_under_the_name_of_a_wanted_file_is_refused_before_it_is_read(pack: str) -> None:
    blob = bomb(pack, WANTED)
    assert len(blob) < MIB
    found: list[ProtocolError] = []
    assert peak_mib(lambda: found.append(refusal(blob))) < 64
    assert f"{WANTED} has {HUGE} bytes, more than any file that is read has" in found[0].message


def test_a_bomb_under_another_name_is_read_past_in_little_memory() -> None:
    blob = bomb("gzip", "usr/zeros")
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    views = []
    work = lambda: views.append(read_layer(io.BytesIO(blob), frozenset((WANTED,)), "a layer", digest))  # noqa: E731
    assert peak_mib(work) < 32
    assert views[0].entries == {}


def test_a_layer_that_unpacks_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_LARGEST_LAYER", 8 * MIB)
    assert f"it unpacks to more than {8 * MIB} bytes" in refusal(bomb("gzip", "usr/zeros")).message


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK], ids=str
)
def test_an_extension_of_a_header_is_no_place_for_a_bomb(kind: bytes) -> None:
    """Go's archive/tar, which engines use, refuses one of more than 1 MiB too (src/archive/tar/format.go)."""
    blob = bomb("gzip", "pax", kind)
    found: list[ProtocolError] = []
    assert peak_mib(lambda: found.append(refusal(blob))) < 32
    assert f"an entry's header is malformed: its extension has {HUGE} bytes" in found[0].message


def test_a_sparse_file_counts_with_the_size_that_it_stands_for() -> None:
    """One block of a sparse archive may stand for any number of zeros."""
    member = tarfile.TarInfo(WANTED)
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(HUGE)}
    member.pax_headers["GNU.sparse.name"] = WANTED
    member.size = 512
    blob = gzip.compress(member.tobuf(tarfile.PAX_FORMAT) + b"0\n".ljust(512, b"\0") + bytes(1024))
    assert f"{WANTED} has {HUGE} bytes" in refusal(blob).message


def test_a_layer_without_end_is_given_up_at_the_size_that_its_manifest_states(
    server: FakeRegistry, registry: Registry
) -> None:
    found = registry.manifest(server.image("team/image", [layer({WANTED: b"x"})], {}), "x86_64")
    assert found
    digest, _, size = found.layers[0]
    server.blobs[f"/v2/team/image/blobs/{digest}"] += bytes(64 * MIB)
    with pytest.raises(ProtocolError, match=f"the registry sent other content, of more than {size} bytes"):
        registry.find_file(found, [WANTED], 1)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../../etc/passwd", "..", "/", ""])
def test_a_path_outside_the_archive_names_no_file_outside_the_image(path: str) -> None:
    """Nothing is unpacked to a disk; `..` ends at the root of the image, as in a container."""
    content = b"x" * 512
    blob = header(path, 512) + content + header(WANTED, 512) + content + bytes(1024)
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    view = read_layer(io.BytesIO(blob), frozenset((WANTED, "etc/passwd")), "a layer", digest)
    assert view.entries[WANTED].content == content
    assert set(view.entries) <= {WANTED, "etc/passwd", ""}


@pytest.mark.parametrize("target", ["../../../../etc/passwd", "/etc/passwd"])
def test_a_link_out_of_the_image_ends_in_the_image(server: FakeRegistry, registry: Registry, target: str) -> None:
    link = tarfile.TarInfo(WANTED)
    link.type, link.linkname = tarfile.SYMTYPE, target
    blob = ("application/vnd.oci.image.layer.v1.tar", link.tobuf() + bytes(1024))
    found = registry.manifest(server.image("team/image", [blob], {}), "x86_64")
    assert found
    assert registry.find_file(found, [WANTED], 1) == {}


# Documents


def image(server: FakeRegistry) -> ImageRef:
    return server.image("team/image", [layer({"a": b"1"})], {})


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_a_manifest_or_a_configuration_without_end_is_refused(
    server: FakeRegistry, registry: Registry, encoding: str
) -> None:
    ref = image(server)
    found = registry.manifest(ref, "x86_64")
    assert found
    packers: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
    body = packers[encoding](bytes(64 * MIB))
    reply = Reply(200, body, {"Content-Encoding": encoding} if encoding else {})
    server.instead = {"/v2/team/image/manifests/1": reply, f"/v2/team/image/blobs/{found.config}": reply}
    for work in (lambda: registry.manifest(ref, "x86_64"), lambda: registry.config(found)):
        caught: list[ProtocolError] = []

        def refused(work: Callable[[], object] = work, caught: list[ProtocolError] = caught) -> None:
            with pytest.raises(ProtocolError, match="sends more than the 4 MiB") as info:
                work()
            caught.append(info.value)

        # Of the memory, 64 MiB is what the server in the same process sends.
        assert peak_mib(refused) < 32
        assert "curl" in caught[0].hint


def test_a_token_and_an_error_without_end_are_refused(server: FakeRegistry, registry: Registry) -> None:
    ref = image(server)
    server.authorization, server.challenge = "Bearer good", f'Bearer realm="{server.web.url}/token"'
    server.instead["/token"] = Reply(200, b'{"token": "good"}'.ljust(2 * MIB))
    with pytest.raises(ProtocolError, match="sends more than the 1 MiB"):
        registry.manifest(ref, "x86_64")
    long = b'{"errors": [{"code": "NO", "message": "no"}]}'.ljust(2 * MIB)
    server.instead["/token"] = Reply(403, long)
    with pytest.raises(CredentialError) as refused:
        registry.manifest(ref, "x86_64")
    assert "NO" not in refused.value.message
    # What cannot be an answer of a registry says nothing about an image.
    server.authorization = ""
    server.instead["/v2/team/image/manifests/1"] = Reply(404, long)
    with pytest.raises(UnreachableError, match="in a form that no registry uses"):
        registry.manifest(ref, "x86_64")


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_graph_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr("kmatrix.effects.net.update_graph.GRAPH_BYTES", MIB)
    body = b'{"nodes": []}'.ljust(32 * MIB)
    reply = Reply(200, gzip.compress(body), {"Content-Encoding": encoding}) if encoding else Reply(200, body)
    with web_server(in_turn(reply)) as web:
        caught: list[KmatrixError] = []

        def refused() -> None:
            with pytest.raises(ProtocolError, match="sends more than the 1 MiB") as info:
                fetch_graph(f"{web.url}/graph", "stable-4.16", "x86_64")
            caught.append(info.value)

        assert peak_mib(refused) < 16
        assert web.url in caught[0].message


def test_the_limits_are_those_of_other_clients_of_registries() -> None:
    """containers/image, internal/iolimits/iolimits.go."""
    assert (encodings.DOCUMENT_BYTES, encodings.TOKEN_BYTES, encodings.ERROR_BYTES) == (4 * MIB, MIB, MIB)
