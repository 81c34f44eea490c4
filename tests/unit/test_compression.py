"""Layers, kernel modules and package lists that are packed alike are read alike: all of it, or a refusal."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest
import zstandard

from kmatrix.decide.formats import compression, repodata
from kmatrix.effects.engine import inspect
from kmatrix.values.errors import ProtocolError

FIRST, SECOND = b"\x7fELF" + bytes(range(256)) * 40, b"second" * 500
BOTH = FIRST + SECOND
# RFC 8878, 3.1.2: magic number, length, content.
SKIPPED = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"abcde"


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def of_layer(data: bytes) -> bytes:
    return b"".join(compression.decompressed(data[start : start + 777] for start in range(0, len(data), 777)))


READERS: dict[str, Callable[[bytes], bytes]] = {
    "layer": of_layer,
    # Each has its name from something else than its form: the content tells the form.
    "module": lambda data: inspect.unpacked_module(data, "beegfs.ko.xz"),
    "package list": lambda data: repodata.package_list(data, "repodata/primary.xml.gz"),
}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)

WHOLE = {
    "gzip": gzip.compress(FIRST) + gzip.compress(SECOND),
    "gzip, zeros within": gzip.compress(FIRST) + bytes(3) + gzip.compress(SECOND),
    "gzip, zeros after": gzip.compress(BOTH) + bytes(700),
    "xz": lzma.compress(FIRST) + lzma.compress(SECOND),
    "xz, zeros after": lzma.compress(BOTH) + bytes(4),
    "zstd": zstd(FIRST) + zstd(SECOND),
    "zstd, skipped within": zstd(FIRST) + SKIPPED + zstd(SECOND),
    "zstd, skipped after": zstd(BOTH) + SKIPPED,
}
DAMAGED = {
    "gzip, cut": gzip.compress(BOTH)[:-4],
    "gzip, more": gzip.compress(BOTH) + b"more",
    "xz, cut": lzma.compress(BOTH)[:-4],
    "xz, more": lzma.compress(BOTH) + b"more",
    "xz, then the form before it": lzma.compress(FIRST) + lzma.compress(SECOND, format=lzma.FORMAT_ALONE),
    "zstd, cut": zstd(BOTH)[:-4],
    "zstd, more": zstd(BOTH) + b"more",
}
# kmod has none of these (kmod-project/kmod, libkmod/libkmod-file.c, comp_types), so a module packed so does not load.
NOT_OF_MODULES = {
    "bzip2": bz2.compress(FIRST) + bz2.compress(SECOND),
    "zstd, skipped before": SKIPPED + zstd(BOTH),
}


@every_reader
@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_all_of_it_is_read(read: Callable[[bytes], bytes], data: bytes) -> None:
    assert read(data) == BOTH


@every_reader
@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_is_refused(read: Callable[[bytes], bytes], data: bytes) -> None:
    with pytest.raises((compression.DamagedError, ProtocolError)):
        read(data)


@pytest.mark.parametrize("data", NOT_OF_MODULES.values(), ids=NOT_OF_MODULES)
def test_a_module_has_the_forms_that_kmod_reads(data: bytes) -> None:
    assert READERS["layer"](data) == READERS["package list"](data) == BOTH
    assert inspect.unpacked_module(data, "beegfs.ko") == data
    with pytest.raises(ProtocolError, match="neither packed nor ELF"):
        READERS["module"](data)
