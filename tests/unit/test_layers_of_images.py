"""Layers as registries hold them, built by the real tools: each is read to its end, with an engine's result.

The first bytes decide the form of a layer, as for engines (moby/go-archive, compression/compression.go: `Detect`, which
also accepts an empty layer). The visible files follow opencontainers/image-spec, layer.md, and containerd's
pkg/archive/tar.go. Layers of several gzip members: containerd/stargz-snapshotter, docs/estargz.md.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Set
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard

from kmatrix.decide.formats.compression import decompressed
from kmatrix.decide.formats.image_paths import LayerView, find_files
from kmatrix.effects.registry.layers import read_layer
from kmatrix.values.errors import ProtocolError
from tests.unit.support.programs import require

WANTED = "etc/wanted"
Fill = Callable[[Path], object]
Pack = Callable[[bytes], bytes]


def filled(root: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def archive(root: Path, *options: str) -> bytes:
    """Return a folder as GNU tar packs it."""
    command = ["tar", "--sort=name", "--mtime=@0", *options, "-C", str(root), "-cf", "-", "."]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture
def layer(tmp_path: Path) -> Callable[..., bytes]:
    """Builds a layer from a folder: files by path, or a function that fills the folder."""
    number = iter(range(99))

    def make(fill: dict[str, bytes] | Fill, *options: str) -> bytes:
        root = tmp_path / str(next(number))
        root.mkdir()
        if callable(fill):
            fill(root)
        else:
            filled(root, fill)
        return archive(root, *options)

    return make


class Image:
    """Layers from the top, with the number of times that each was read."""

    def __init__(self, *blobs: bytes) -> None:
        self._blobs = blobs
        self.reads = [0] * len(blobs)

    def find(self, *names: str) -> dict[str, bytes]:
        return find_files(range(len(self._blobs)), names, self._read, "an image")

    def _read(self, number: int, wanted: Set[str]) -> LayerView:
        self.reads[number] += 1
        return read(self._blobs[number], wanted)


def sha(blob: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, blob).hexdigest()}"


def read(blob: bytes, wanted: Iterable[str] = (WANTED,), digest: str = "") -> LayerView:
    return read_layer(io.BytesIO(blob), frozenset(wanted), "a layer", digest or sha(blob))


# Forms


def through(*command: str) -> Pack:
    """Packed by a program, which may not be on this machine."""

    def pack(data: bytes) -> bytes:
        require(command[0])
        return subprocess.run(command, input=data, check=True, capture_output=True).stdout

    return pack


def in_parts(pack: Pack) -> Pack:
    """Each entry of an archive by itself, so that a reader of the first part sees a whole archive."""

    def parts(data: bytes) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(data)) as opened:
            starts = [*(member.offset for member in opened), len(data)]
        assert len(starts) > 4
        return b"".join(pack(data[start:end]) for start, end in pairwise(starts))

    return parts


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def skippable(number: int, content: bytes) -> bytes:
    """A frame that decoders pass over (RFC 8878, 3.1.2); zstd:chunked keeps its table of contents in one."""
    return (0x184D2A50 + number).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


# The footer of eStargz is a member of its own, without content.
ESTARGZ: Pack = lambda data: in_parts(gzip.compress)(data) + gzip.compress(b"")  # noqa: E731

FORMS: dict[str, Pack] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip: a member for each entry (eStargz)": ESTARGZ,
    "gzip: zeros behind it": lambda data: gzip.compress(data) + bytes(512),
    "gzip, the program": through("gzip", "-c"),
    "pigz": through("pigz", "-c"),
    "pigz -i": through("pigz", "-i", "-c", "-b", "128"),
    "bgzip: a member for each 64 KiB": through("bgzip", "-c"),
    "zstd": zstd,
    "zstd: a frame for each entry": in_parts(zstd),
    "zstd: a frame for each entry, skippable ones (zstd:chunked)": lambda data: (
        skippable(0, b"first") + in_parts(zstd)(data) + skippable(15, b"contents" * 50)
    ),
    "zstd, the program": through("zstd", "-c"),
    "pzstd": through("pzstd", "-c", "-p", "4"),
    "xz": lzma.compress,
    "xz: streams": in_parts(lzma.compress),
    "bzip2": bz2.compress,
    "bzip2: streams": in_parts(bz2.compress),
}
CONTENT = {
    "bin/first": random.Random(1).randbytes(9000),
    WANTED: b"newer",
    "zero": bytes(3_000_000),
    "zz": random.Random(2).randbytes(200_000),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_to_its_end(layer: Callable[..., bytes], form: str) -> None:
    image = Image(FORMS[form](layer(CONTENT)), layer({WANTED: b"older"}))
    assert image.find(WANTED) == {WANTED: b"newer"}
    assert image.reads == [1, 0]


def outcome(*blobs: bytes) -> bytes | ProtocolError:
    try:
        return Image(*blobs).find(WANTED)[WANTED]
    except ProtocolError as error:
        return error


@pytest.mark.parametrize("form", FORMS)
def test_no_form_that_breaks_off_is_a_layer_without_the_file(layer: Callable[..., bytes], form: str) -> None:
    """The digest is right: the layer was published like that."""
    files = {"bin/first": b"1" * 3000, "etc/before": b"", WANTED: b"newer", "z": b""}
    packed, older = FORMS[form](layer(files, "-b", "1")), layer({WANTED: b"older"})
    outcomes = [outcome(packed[:length], older) for length in range(1, len(packed), 7)]
    errors = [error for error in outcomes if isinstance(error, ProtocolError)]
    assert {error.message.partition(": the layer is not a readable archive: ")[0] for error in errors} == {"a layer"}
    assert all(error.hint for error in errors)
    # Right between two entries there is nothing to notice, nor for an engine: Go's archive/tar needs no end.
    assert outcomes.count(b"older") <= (7 if form == "plain" or "each entry" in form or "streams" in form else 0)
    assert set(outcomes) - set(errors) <= {b"older", b"newer"}
    assert len(errors) > 9


@pytest.mark.parametrize("form", ["gzip", "zstd", "xz", "bzip2"])
@pytest.mark.parametrize("more", [b"more" * 9, b"\0\0" + b"more" * 9], ids=["words", "zeros and words"])
def test_what_follows_a_form_and_is_none_is_refused(layer: Callable[..., bytes], form: str, more: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"not a readable archive: its {form} data is wrong"):
        read(FORMS[form](layer(CONTENT)) + more)


def test_a_header_that_is_damaged_is_not_the_end(layer: Callable[..., bytes]) -> None:
    data = bytearray(layer({"bin/first": b"1", "etc/before": b"", WANTED: b"newer"}))
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as opened:
        start = opened.getmember("./etc/before").offset
    data[start : start + 8] = b"\xff" * 8
    with pytest.raises(ProtocolError, match="an entry's header is malformed"):
        read(gzip.compress(bytes(data)))


def test_long_names_and_their_headers_are_read(layer: Callable[..., bytes]) -> None:
    path = "etc/" + "/".join(["folder" * 20] * 3)
    for options in ((), ("--format=posix",), ("--format=gnu",)):
        assert Image(layer({path: b"x"}, *options)).find(path) == {path: b"x"}


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("empty", [b"", bytes(10240)], ids=["no bytes", "zeros"])
def test_a_layer_of_nothing_shows_what_is_below_it(layer: Callable[..., bytes], form: str, empty: bytes) -> None:
    assert Image(FORMS[form](empty), layer({WANTED: b"older"})).find(WANTED) == {WANTED: b"older"}


def test_other_content_is_refused_before_anything_else_is_said_of_it() -> None:
    with pytest.raises(ProtocolError, match="the registry sent other content, of digest sha256:"):
        read(b"no archive" * 100, digest=sha(b"else"))


def test_the_digest_may_be_of_the_other_kind_that_images_have(layer: Callable[..., bytes]) -> None:
    blob = gzip.compress(layer(CONTENT))
    assert read(blob, digest=sha(blob, "sha512")).entries[WANTED].content == b"newer"
    with pytest.raises(ProtocolError, match="sent other content, of digest sha512:"):
        read(blob, digest=sha(b"", "sha512"))
    with pytest.raises(ProtocolError, match="its digest is not sha256 or sha512") as caught:
        read(blob, digest=sha(blob, "md5"))
    assert caught.value.hint


def test_what_is_wrong_early_in_a_long_layer_is_said_and_not_taken_for_other_content() -> None:
    blob = gzip.compress(b"no archive" * 100) + random.Random(4).randbytes(3_000_000)
    with pytest.raises(ProtocolError, match="the layer is not a readable archive"):
        read(blob)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 3, 4097])
def test_a_form_is_told_however_it_comes_in(layer: Callable[..., bytes], form: str, size: int) -> None:
    data = layer({WANTED: b"x", "bin/first": b"1", "zz": b"z" * 5000}, "-b", "1")
    packed = FORMS[form](data)
    chunks = (packed[start : start + size] for start in range(0, len(packed), size))
    assert b"".join(decompressed(chunks)) == data


# Links


def linked(root: Path) -> None:
    filled(root, {"bin/first": b"linked"})
    (root / "etc").mkdir()
    os.link(root / "bin/first", root / WANTED)
    os.link(root / "bin/first", root / "etc/zz")


@pytest.mark.parametrize("name", ["bin/first", WANTED, "etc/zz"])
def test_a_file_is_found_under_each_of_its_names(layer: Callable[..., bytes], name: str) -> None:
    image = Image(gzip.compress(layer(linked)), layer({name: b"older"}))
    assert image.find(name) == {name: b"linked"}
    assert image.reads[1] == 0


def test_a_hard_link_to_nothing_of_its_layer_is_refused(layer: Callable[..., bytes]) -> None:
    data = layer(linked, "--exclude=./bin/first")
    # Without the first name, GNU tar takes the second for the file; the archive is cut as a bad tool would.
    with tarfile.open(fileobj=io.BytesIO(layer(linked))) as opened:
        link = opened.getmember(f"./{WANTED}")
        broken = link.tobuf() + bytes(1024)
    assert Image(data).find("etc/zz") == {"etc/zz": b"linked"}
    with pytest.raises(ProtocolError, match="a hard link names bin/first, which is not a file of the same layer"):
        Image(broken, layer({"bin/first": b"older"})).find(WANTED)


def link(target: str, path: str = WANTED) -> Fill:
    def fill(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)

    return fill


@pytest.mark.parametrize("target", ["/usr/lib/real", "../usr/lib/real", "../../../../usr//lib/./real"])
def test_a_symbolic_link_is_followed_through_the_whole_image(layer: Callable[..., bytes], target: str) -> None:
    lower, above = layer({"usr/lib/real": b"lower"}), layer({"usr/lib/real": b"above"})
    assert Image(layer(link(target)), lower).find(WANTED) == {WANTED: b"lower"}
    assert Image(above, layer(link(target)), lower).find(WANTED) == {WANTED: b"above"}


def test_a_folder_may_be_a_symbolic_link(layer: Callable[..., bytes]) -> None:
    assert Image(layer(link("usr/etc", "etc")), layer({f"usr/{WANTED}": b"x"})).find(WANTED) == {WANTED: b"x"}
    # An entry under the same name still counts.
    assert Image(layer({WANTED: b"new"}), layer(link("usr/etc", "etc"))).find(WANTED) == {WANTED: b"new"}


def test_a_symbolic_link_to_nothing_is_no_file(layer: Callable[..., bytes]) -> None:
    assert Image(layer(link("nothing")), layer({WANTED: b"older"})).find(WANTED) == {}


@pytest.mark.parametrize("target", ["wanted", "../etc/wanted", "wanted/deeper"])
def test_a_symbolic_link_without_end_is_told(layer: Callable[..., bytes], target: str) -> None:
    with pytest.raises(ProtocolError, match="a loop of symbolic links") as caught:
        Image(layer(link(target))).find(WANTED)
    assert caught.value.hint


# Whiteouts


@pytest.mark.parametrize(
    "upper",
    [
        {"etc/.wh.wanted": b""},
        {".wh.etc": b""},
        {"etc/.wh..wh..opq": b"", "etc/zz": b""},
        {".wh..wh..opq": b""},
        {".wh.etc": b"", "etc/other": b""},
        {"etc": b"a file where the folder was"},
        {f"{WANTED}/deeper": b"a folder where the file was"},
        {f"{WANTED}/.wh..wh..opq": b""},
    ],
    ids=str,
)
def test_a_file_that_a_layer_removes_is_not_taken_from_below(
    layer: Callable[..., bytes], upper: dict[str, bytes]
) -> None:
    image = Image(layer(upper), layer({WANTED: b"older"}), layer({WANTED: b"oldest"}))
    assert image.find(WANTED) == {}
    assert image.reads == [1, 0, 0]


@pytest.mark.parametrize(
    "upper",
    [
        {"etc/.wh.other": b""},
        {"etc/.wh.wanted2": b""},
        {"usr/.wh.wanted": b""},
        {"etc/wanted2/.wh..wh..opq": b""},
        {"etc/.wh..wh.plnk": b""},
    ],
    ids=str,
)
def test_another_whiteout_leaves_it(layer: Callable[..., bytes], upper: dict[str, bytes]) -> None:
    assert Image(layer(upper), layer({WANTED: b"older"})).find(WANTED) == {WANTED: b"older"}


@pytest.mark.parametrize("whiteout", ["etc/.wh.wanted", "etc/.wh..wh..opq", ".wh.etc"])
def test_a_whiteout_hides_nothing_of_its_own_layer_or_of_those_above(
    layer: Callable[..., bytes], whiteout: str
) -> None:
    same = layer({whiteout: b"", WANTED: b"same"})
    assert Image(same, layer({WANTED: b"older"})).find(WANTED) == {WANTED: b"same"}
    assert Image(layer({WANTED: b"above"}), same).find(WANTED) == {WANTED: b"above"}


def test_one_of_two_names_may_be_removed(layer: Callable[..., bytes]) -> None:
    image = Image(layer({"etc/.wh.wanted": b""}), layer({WANTED: b"older", "etc/zz": b"zz"}))
    assert image.find(WANTED, "etc/zz") == {"etc/zz": b"zz"}


def test_a_link_may_point_at_what_is_removed(layer: Callable[..., bytes]) -> None:
    image = Image(layer({"usr/.wh.real": b""}), layer(link("/usr/real")), layer({"usr/real": b"older"}))
    assert image.find(WANTED) == {}
