"""Records of passed gates: what a registry keeps, what is believed of it, and two who write at a time."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from random import Random

import pytest

from kmatrix.decide.cell_manifest import LAYER, MANIFEST, cell_manifest
from kmatrix.decide.gate_record import MalformedRecordError, read_record, record_image, record_layer, record_tag
from kmatrix.decide.image_documents import Layer
from kmatrix.stages import gate_records as stage
from kmatrix.stages.gate_records import add_to_record, find_record
from kmatrix.values.errors import (
    CredentialError,
    InterruptedRunError,
    NotReadableError,
    ProtocolError,
    ToolError,
    UnreachableError,
)
from kmatrix.values.gate_record import GatePass, GateRecord, RecordedModule
from tests.unit.support.fake_registry import digest, problem
from tests.unit.support.gate_records import put_manifest, put_record, record_of
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.writable_registry import Writable, ref, writable_registry, writer

PATH = "team/image"
IMAGE = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
RECORD = record_of(IMAGE, "8.98.1-6.1.0", "sha256:key")
MODULE = RecordedModule(
    ("KERNEL_HAS_A", "KERNEL_HAS_B"), {"_printk": 0x92997ED8, "weak": 0}, ("VFS_internal",), "GPL v2"
)
WITH_MODULE = replace(RECORD, module=MODULE)
TAG = f"sha256-{'a' * 64}.gates"


@pytest.fixture
def server() -> Iterator[Writable]:
    with writable_registry(PATH) as made:
        yield made


def found(server: Writable, said: list[str] | None = None) -> GateRecord | None:
    return find_record(writer(server), ref(server, "any"), IMAGE, (said if said is not None else []).append)


def add(server: Writable, record: GateRecord, stopping: bool = False) -> None:
    add_to_record(writer(server), ref(server, "any"), record, lambda _: None, lambda: stopping)


def test_a_record_comes_back_as_it_was_written_and_is_an_ordinary_image(server: Writable) -> None:
    assert found(server) is None
    add(server, RECORD)
    assert found(server) == RECORD
    kind, manifest = server.manifests[f"/v2/{PATH}/manifests/{TAG}"]
    assert kind == MANIFEST
    parsed = json.loads(manifest)
    (layer,) = parsed["layers"]
    assert layer["mediaType"] == LAYER
    with tarfile.open(fileobj=io.BytesIO(server.blobs[f"/v2/{PATH}/blobs/{layer['digest']}"])) as archive:
        file = archive.extractfile("gates.json")
        assert file
        content = json.load(file)
    passed = {"verdict": "passed", "at": "2026-01-01T00:00:00Z", "kmatrix": "0.1.0"}
    assert content == {
        "schema": 1,
        "digest": IMAGE,
        "name": "8.98.1-6.1.0",
        "cell_key": "sha256:key",
        "gates": {"boot": passed, "static": passed},
    }
    config = json.loads(server.blobs[f"/v2/{PATH}/blobs/{parsed['config']['digest']}"])
    with gzip.open(io.BytesIO(server.blobs[f"/v2/{PATH}/blobs/{layer['digest']}"])) as unpacked:
        assert config["rootfs"]["diff_ids"] == [digest(unpacked.read())]


def content_of(record: GateRecord) -> dict[str, object]:
    """The content of a record's file."""
    with tarfile.open(fileobj=io.BytesIO(record_image(record).layer)) as archive:
        file = archive.extractfile("gates.json")
        assert file
        content: dict[str, object] = json.load(file)
    return content


def layer_with(**changes: object) -> bytes:
    """The layer of a record whose file has other values."""
    content = {**content_of(RECORD), **changes}
    return layer_of(json.dumps({name: value for name, value in content.items() if value is not None}).encode())


def layer_of(content: bytes, name: str = "gates.json") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def layer_of_size(size: int) -> bytes:
    """A layer whose archive claims that its file has this size, as GNU tar writes large numbers (base 256)."""
    archive = bytearray(gzip.decompress(layer_of(b"{}")))
    archive[124:136] = (b"\x80" if size >= 0 else b"\xff") + size.to_bytes(11, "big", signed=True)
    header = bytes(archive[:148]) + b" " * 8 + bytes(archive[156:512])
    archive[148:156] = b"%06o\0 " % sum(header)
    return gzip.compress(bytes(archive), mtime=0)


PASSED = {"verdict": "passed", "at": "then", "kmatrix": "0"}
KEPT = {
    "features": ["KERNEL_HAS_A", "KERNEL_HAS_B"],
    "needs": {"_printk": "0x92997ed8", "weak": "0x00000000"},
    "namespaces": ["VFS_internal"],
    "licence": "GPL v2",
}


def layer_with_module(**changes: object) -> bytes:
    """The layer of a record whose module has other values; a list for `without` names those that it lacks."""
    without = changes.pop("without", ())
    assert isinstance(without, tuple)
    return layer_with(module={name: value for name, value in {**KEPT, **changes}.items() if name not in without})


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (layer_with(digest=OTHER), "another image"),
        (layer_with(schema=2), "it has schema 2, and this version of kmatrix knows 1"),
        (layer_with(schema=True), "it has schema True"),
        (layer_with(schema=None), "not as this program writes it"),
        (layer_with(gates={"static": {**PASSED, "verdict": "failed"}}), "the verdict 'failed' for gate 'static'"),
        (layer_with(gates={"static": "passed"}), "not as this program writes it"),
        (layer_with(gates=["static"]), "not as this program writes it"),
        (layer_with(gates={"static": {**PASSED, "at": 7}}), "not as this program writes it"),
        (layer_with(name=None), "not as this program writes it"),
        (layer_with(cell_key=7), "not as this program writes it"),
        (layer_with(module=[]), "not as this program writes it"),
        (layer_with(module="none"), "not as this program writes it"),
        (layer_with(module=False), "not as this program writes it"),
        *[(layer_with_module(without=(name,)), "not as this program writes it") for name in KEPT],
        (layer_with_module(features="KERNEL_HAS_A"), "not as this program writes it"),
        (layer_with_module(features=[7]), "not as this program writes it"),
        (layer_with_module(features=["\ud800"]), "not as this program writes it"),
        (layer_with_module(needs=["_printk"]), "not as this program writes it"),
        (layer_with_module(needs={"_printk": 7}), "not as this program writes it"),
        (layer_with_module(needs={"_printk": "92997ed8"}), "not as this program writes it"),
        (layer_with_module(needs={"_printk": "0x92997ED8"}), "not as this program writes it"),
        (layer_with_module(needs={"_printk": "0x192997ed8"}), "not as this program writes it"),
        (layer_with_module(needs={"_printk": "0x92997ed8\n"}), "not as this program writes it"),
        (layer_with_module(needs={"\ud800": "0x92997ed8"}), "not as this program writes it"),
        (layer_with_module(namespaces={"VFS_internal": 1}), "not as this program writes it"),
        (layer_with_module(namespaces=None), "not as this program writes it"),
        (layer_with_module(depends="ib_core"), "not as this program writes it"),
        (layer_with_module(depends=[7]), "not as this program writes it"),
        (layer_with_module(licence=None), "not as this program writes it"),
        (layer_of(b"[]"), "not as this program writes it"),
        (layer_of(b"{"), "not as this program writes it"),
        (layer_of(b"[" * 100_000), "not as this program writes it"),
        (layer_with(name="\ud800"), "not as this program writes it"),
        (layer_with(gates={"\ud800": PASSED}), "not as this program writes it"),
        (layer_with(schema="9" * 100_000), "it has schema '999"),
        (layer_of(b'{"schema": 1e400}'), "it has schema inf"),
        (layer_of_size(1 << 80), "cannot be unpacked"),
        (layer_of_size(-(1 << 70)), "cannot be unpacked"),
        (layer_of(b"{}", "other.json"), "has no file gates.json"),
        (gzip.compress(b"no archive", mtime=0), "cannot be unpacked"),
        (gzip.compress(b"0" * (1 << 21), mtime=0), "unpacks to more than"),
        (record_image(RECORD).layer[:-9], "cannot be unpacked"),
        (b"no gzip", "cannot be unpacked"),
    ],
    ids=count(),
)
def test_a_malformed_record_is_no_record_and_is_named(server: Writable, layer: bytes, words: str) -> None:
    blob = digest(layer)
    server.blobs[f"/v2/{PATH}/blobs/{blob}"] = layer
    put_manifest(server, PATH, TAG, cell_manifest(b"{}", (Layer(blob, LAYER, len(layer)),)).content)
    said: list[str] = []
    assert found(server, said) is None
    (note,) = said
    assert len(note) < 500
    assert f"{PATH}:{TAG} is not believed as a record of passed gates: " in note
    assert words in note
    with pytest.raises(MalformedRecordError):
        read_record(layer, blob, IMAGE)


def read_back(record: GateRecord) -> GateRecord:
    layer = record_image(record).layer
    return read_record(layer, digest(layer), IMAGE)


@pytest.mark.parametrize("depends", [("ib_core", "rdma_cm"), ()])
def test_what_the_module_depends_on_comes_back_and_an_earlier_record_lacks_it(depends: tuple[str, ...]) -> None:
    record = replace(RECORD, module=replace(MODULE, depends=depends))
    assert content_of(record)["module"] == {**KEPT, "depends": list(depends)}
    assert read_back(record) == record
    earlier = layer_with_module(), layer_with_module(depends=None)
    assert [read_record(layer, digest(layer), IMAGE).module for layer in earlier] == [MODULE, MODULE]


@pytest.mark.parametrize("features", [MODULE.features, (), None])
def test_the_facts_about_the_module_come_back_and_a_record_may_lack_them(features: tuple[str, ...] | None) -> None:
    record = replace(RECORD, module=replace(MODULE, features=features))
    assert content_of(record)["module"] == {**KEPT, "features": None if features is None else list(features)}
    assert read_back(record) == record
    assert "module" not in content_of(RECORD)
    assert read_back(RECORD).module is None
    # Versions that know no module read the other keys alone, and refuse another schema.
    assert content_of(record)["schema"] == content_of(RECORD)["schema"] == 1
    reordered = replace(MODULE, needs=dict(sorted(MODULE.needs.items(), reverse=True)))
    assert record_image(replace(RECORD, module=reordered)) == record_image(WITH_MODULE)


def test_records_that_were_read_share_the_names_of_symbols_and_features() -> None:
    """A run keeps the modules of thousands of cells, which need the same hundreds of symbols."""
    first, second = (read_back(WITH_MODULE).module for _ in range(2))
    assert first is not None
    assert second is not None
    assert all(one is other for one, other in zip(first.needs, second.needs, strict=True))
    assert all(one is other for one, other in zip(first.features or (), second.features or (), strict=True))


def test_a_key_that_this_version_does_not_know_is_no_fault() -> None:
    layer = layer_with(later={"more": 1}, module={**KEPT, "later": 1})
    assert read_record(layer, digest(layer), IMAGE) == WITH_MODULE


def without_layers() -> bytes:
    return json.dumps({"mediaType": MANIFEST, "layers": []}).encode()


@pytest.mark.parametrize(
    "manifest",
    [
        b"no JSON",
        b"[]",
        b"{}",
        without_layers(),
        json.dumps({"layers": [{"digest": "../x", "size": 1}]}).encode(),
        json.dumps({"layers": [{"digest": IMAGE, "size": 1 << 30}]}).encode(),
        b'{"layers": [{"digest": "%b", "size": 1e400}]}' % IMAGE.encode(),
        b'{"layers": [{"digest": "%b", "size": NaN}]}' % IMAGE.encode(),
        b'{"layers": [{"digest": 7, "size": 1}]}',
        b'{"layers": [{"digest": "\\ud800", "size": 1}]}',
        json.dumps({"layers": [{"digest": "x" * 100_000, "size": 1}]}).encode(),
        json.dumps({"layers": {"size": 1}}).encode(),
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
        json.dumps({"layers": [{"digest": IMAGE, "size": 1}, {"digest": IMAGE, "size": 1}]}).encode(),
    ],
    ids=count(),
)
def test_a_manifest_that_is_not_a_record_s_is_no_record(server: Writable, manifest: bytes) -> None:
    server.manifests[f"/v2/{PATH}/manifests/{TAG}"] = ("x", manifest)
    said: list[str] = []
    assert found(server, said) is None
    assert len(said) == 1
    assert len(said[0]) < 500
    with pytest.raises(MalformedRecordError):
        record_layer(manifest)


def spoilt(sound: bytes, seed: int) -> bytes:
    """Return the bytes with some of them exchanged, removed or doubled, the same for the same seed."""
    random = Random(seed)
    content = bytearray(sound)
    for _ in range(random.randint(1, 8)):
        at = random.randrange(len(content))
        content[at : at + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
    return bytes(content)


@pytest.mark.parametrize("start", range(0, 600, 200))
def test_a_spoilt_record_is_a_record_or_a_malformed_one_and_never_a_crash(start: int) -> None:
    image = record_image(WITH_MODULE)
    archive = gzip.decompress(image.layer)
    for seed in range(start, start + 200):
        with suppress(MalformedRecordError):
            record_layer(spoilt(image.manifest.content, seed))
        for layer in (spoilt(image.layer, seed), gzip.compress(spoilt(archive, seed), mtime=0)):
            with suppress(MalformedRecordError):
                assert read_record(layer, digest(layer), IMAGE).digest == IMAGE


@pytest.mark.parametrize("layer", ["gone", "of another digest"])
def test_a_record_whose_layer_is_gone_or_another_is_not_believed(server: Writable, layer: str) -> None:
    put_record(server, PATH, RECORD)
    (name,) = [name for name, blob in server.blobs.items() if blob == record_image(RECORD).layer]
    del server.blobs[name]
    if layer != "gone":
        server.blobs[name] = record_image(record_of(IMAGE, RECORD.name, RECORD.cell_key, ["static", "more"])).layer
    said: list[str] = []
    assert found(server, said) is None
    assert len(said) == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (problem(503, "UNAVAILABLE"), UnreachableError),
        (problem(403, "DENIED"), CredentialError),
        (Reply(418), ProtocolError),
        (Reply(404, b"<html>a proxy's own page</html>"), UnreachableError),
    ],
)
@pytest.mark.parametrize("place", ["manifests", "blobs"])
@pytest.mark.usefixtures("slept")
def test_a_registry_that_does_not_answer_has_not_said_that_there_is_no_record(
    server: Writable, reply: Reply, error: type[Exception], place: str
) -> None:
    put_record(server, PATH, RECORD)
    answer = server.answer

    def instead(request: Request) -> Reply:
        return reply if f"/{place}/" in request.path else answer(request)

    server.web.answer = instead
    with pytest.raises(error):
        found(server)


def after(server: Writable, times: int, path: str, act: Callable[[], None]) -> None:
    """Act just after the registry answered the last of so many requests for a path."""
    answer, left = server.answer, [times]

    def answering(request: Request) -> Reply:
        reply = answer(request)
        if f"{request.method} {request.path}".endswith(path):
            left[0] -= 1
            if left[0] == 0:
                act()
        return reply

    server.web.answer = answering


STATIC, BOOT = (replace(RECORD, gates={name: RECORD.gates[name]}) for name in ("static", "boot"))


def test_an_entry_is_added_beside_those_that_are_there(server: Writable) -> None:
    add(server, STATIC)
    add(server, BOOT)
    assert found(server) == RECORD


def test_a_gate_that_is_added_without_the_module_keeps_the_module_that_is_there(server: Writable) -> None:
    add(server, replace(STATIC, module=MODULE))
    add(server, BOOT)
    assert found(server) == WITH_MODULE
    other = replace(MODULE, licence="GPL")
    add(server, replace(BOOT, module=other))
    assert found(server) == replace(RECORD, module=other)


def test_the_module_of_another_key_is_not_taken_over(server: Writable) -> None:
    put_record(server, PATH, replace(WITH_MODULE, cell_key="sha256:other"))
    add(server, BOOT)
    assert found(server) == BOOT


def test_a_module_that_another_writer_lost_is_written_again(server: Writable, slept: list[float]) -> None:
    """The other one read the record before this one wrote, and wrote the same gate without the module."""
    after(server, 1, f"PUT /v2/{PATH}/manifests/{TAG}", lambda: put_record(server, PATH, RECORD))
    add(server, replace(BOOT, module=MODULE))
    assert found(server) == WITH_MODULE
    assert slept


def test_a_module_too_large_for_a_record_costs_none_of_its_gates(server: Writable) -> None:
    large = replace(MODULE, needs={f"symbol_{number}": number for number in range(40_000)})
    add(server, replace(STATIC, module=large))
    assert found(server) == STATIC
    small = replace(MODULE, needs={f"symbol_{number}": number for number in range(20_000)})
    add(server, replace(STATIC, module=small))
    assert found(server) == replace(STATIC, module=small)


def test_a_module_that_more_gates_leave_no_room_for_is_left_out(server: Writable) -> None:
    full = replace(MODULE, licence="x" * ((1 << 20) - 11_000))
    add(server, replace(STATIC, module=full))
    assert found(server) == replace(STATIC, module=full)
    many = replace(RECORD, gates=dict.fromkeys((f"gate-{number}" for number in range(100)), RECORD.gates["boot"]))
    add(server, many)
    assert found(server) == replace(many, gates={**many.gates, **STATIC.gates})


@pytest.mark.parametrize("moment", ["GET", "PUT"])
def test_two_who_write_at_a_time_lose_no_entry(server: Writable, slept: list[float], moment: str) -> None:
    """The other one writes its whole record after this one read, or just after this one wrote."""
    after(server, 1, f"{moment} /v2/{PATH}/manifests/{TAG}", lambda: put_record(server, PATH, STATIC))
    add(server, BOOT)
    there = found(server)
    assert there is not None
    assert "boot" in there.gates
    if moment == "PUT":
        assert there == RECORD
        assert slept


def test_a_later_pass_of_the_same_gate_takes_the_place_of_the_earlier(server: Writable) -> None:
    add(server, RECORD)
    later = replace(RECORD, gates={"boot": GatePass("2027-01-01T00:00:00Z", "0.2.0")})
    add(server, later)
    assert found(server) == replace(RECORD, gates={**RECORD.gates, **later.gates})


@pytest.mark.parametrize(
    "there", [replace(RECORD, cell_key="sha256:other"), replace(RECORD, name="8.98.1-other"), None], ids=str
)
def test_entries_for_another_key_or_another_cell_are_not_taken_over(server: Writable, there: GateRecord | None) -> None:
    if there is not None:
        put_record(server, PATH, there)
    else:
        put_record(server, PATH, record_of(OTHER, RECORD.name, RECORD.cell_key), tag=TAG)
    add(server, BOOT)
    assert found(server) == BOOT


def test_a_registry_that_does_not_keep_a_record_is_told(server: Writable, slept: list[float]) -> None:
    answer = server.answer

    def forgetful(request: Request) -> Reply:
        if request.method == "GET":
            server.manifests.pop(f"/v2/{PATH}/manifests/{TAG}", None)
        return answer(request)

    server.web.answer = forgetful
    with pytest.raises(ToolError, match="does not keep the record") as caught:
        add(server, BOOT)
    assert "repository" in caught.value.hint
    assert len(slept) == 3
    with pytest.raises(InterruptedRunError):
        add(server, BOOT, stopping=True)


@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.usefixtures("slept")
def test_a_record_that_may_not_be_read_back_for_a_moment_is_read_again(
    server: Writable, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    read, left = stage.find_record, [None, *[NotReadableError("not to be read", "hint")] * times]

    def instead(*arguments: object) -> GateRecord | None:
        if left and (error := left.pop(0)) is not None:
            raise error
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "find_record", instead)
    if times == 1:
        add(server, BOOT)
        assert found(server) == BOOT
        return
    with pytest.raises(NotReadableError):
        add(server, BOOT)


def test_a_repository_that_may_not_be_read_is_not_taken_for_one_without_a_record(
    server: Writable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> GateRecord | None:
        raise NotReadableError("not to be read", "hint")

    monkeypatch.setattr(stage, "find_record", refuse)
    with pytest.raises(NotReadableError):
        add(server, BOOT)
    assert server.manifests == {}


def test_the_tag_of_a_record_is_a_tag() -> None:
    assert record_tag(IMAGE) == TAG
    assert len(TAG) <= 128
