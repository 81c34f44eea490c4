"""Packed kernel modules are read to their end, as kmod reads them, or named as damaged.

What kmod reads: kmod-project/kmod, libkmod/libkmod-file-xz.c (LZMA_CONCATENATED), libkmod-file-zlib.c (gzread,
which goes on to the next member) and libkmod-file-zstd.c (ZSTD_decompress, which takes all frames).
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from itertools import pairwise

import pytest
import zstandard

from kmatrix.effects.engine.inspect import unpacked_module
from kmatrix.values.errors import ProtocolError

_ELF = b"\x7fELF" + bytes(range(256)) * 400
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}
every_form = pytest.mark.parametrize("suffix", sorted(_PACKERS))


@every_form
def test_all_members_are_read(suffix: str) -> None:
    pack = _PACKERS[suffix]
    for cuts in ([], [4], [4, 5000], [1, 2, 3]):
        edges = [0, *cuts, len(_ELF)]
        packed = b"".join(pack(_ELF[start:end]) for start, end in pairwise(edges))
        assert unpacked_module(packed, f"ib_core.ko.{suffix}") == _ELF


@every_form
def test_a_file_that_ends_within_a_member_is_no_module(suffix: str) -> None:
    packed = _PACKERS[suffix](_ELF[:5000]) + _PACKERS[suffix](_ELF[5000:])
    for kept in (0, 3, len(packed) // 3, len(packed) - 1):
        with pytest.raises(ProtocolError, match=rf"a\.ko\.{suffix} cannot be decompressed") as caught:
            unpacked_module(packed[:kept], f"a.ko.{suffix}")
        assert caught.value.hint


@every_form
def test_what_follows_a_member_must_be_one_too(suffix: str) -> None:
    with pytest.raises(ProtocolError, match="cannot be decompressed"):
        unpacked_module(_PACKERS[suffix](_ELF) + b"no member", f"a.ko.{suffix}")


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_zeros_after_a_member_are_padding(suffix: str) -> None:
    pack = _PACKERS[suffix]
    assert unpacked_module(pack(_ELF[:9]) + bytes(8) + pack(_ELF[9:]) + bytes(4), f"a.ko.{suffix}") == _ELF


def test_a_frame_that_zstd_readers_skip_holds_nothing() -> None:
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"xyz"
    assert unpacked_module(_PACKERS["zst"](_ELF) + skippable, "a.ko.zst") == _ELF


@every_form
def test_the_content_and_not_the_suffix_says_how_a_module_is_packed(suffix: str) -> None:
    """As kmod tells it: kmod-project/kmod, libkmod/libkmod-file.c (comp_types)."""
    assert unpacked_module(_PACKERS[suffix](_ELF), "a.ko") == _ELF
    assert unpacked_module(_ELF, f"a.ko.{suffix}") == _ELF
    with pytest.raises(ProtocolError, match="neither packed nor ELF"):
        unpacked_module(b"#!/bin/sh\n", f"a.ko.{suffix}")
    assert unpacked_module(b"#!/bin/sh\n", "a.ko") == b"#!/bin/sh\n"
