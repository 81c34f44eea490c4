"""Whether a kernel image has a signature, by the certificate table of its PE header."""

from __future__ import annotations

import struct

import pytest

from kmatrix.decide.formats.pe import is_signed


def image(magic: int = 0x20B, count: int = 16, place: int = 0x400, size: int = 0x100, mark: bytes = b"PE\0\0") -> bytes:
    """Return the header of a PE image of 0x500 bytes, with the given certificate table."""
    made = bytearray(0x500)
    made[:2] = b"MZ"
    struct.pack_into("<I", made, 0x3C, 0x80)
    made[0x80:0x84] = mark
    optional = 0x80 + 24
    struct.pack_into("<H", made, optional, magic)
    table = optional + (112 if magic == 0x20B else 96)
    struct.pack_into("<I", made, table - 4, count)
    struct.pack_into("<II", made, table + 32, place, size)
    return bytes(made)


@pytest.mark.parametrize("magic", [0x10B, 0x20B])
def test_an_image_with_a_certificate_table_is_signed(magic: int) -> None:
    assert is_signed(image(magic))


@pytest.mark.parametrize(
    "unsigned",
    [
        image(size=0),
        image(count=4),
        image(place=0x4FF),
        image(magic=0x107),
        image(mark=b"NE\0\0"),
        image()[:0x90],
        b"\x7fELF" + image()[4:],
        b"MZ",
        b"",
    ],
)
def test_any_other_file_is_not_signed(unsigned: bytes) -> None:
    assert not is_signed(unsigned)
