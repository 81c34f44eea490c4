"""The kernel inside a vmlinuz: found in each packed form, and nothing else is taken for a kernel."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import struct
from collections.abc import Callable

import pytest
import zstandard

from kmatrix.decide.formats.bzimage import unpack_kernel

_PVH, _OTHER = 18, 6


def elf(note_type: int = _PVH, owner: bytes = b"Xen\0") -> bytes:
    """The least ELF file with a note, as linux has it."""
    note = struct.pack("<III", len(owner), 4, note_type) + owner + struct.pack("<I", 0x1000000)
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x1000000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    program = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(note), len(note), 4)
    return header + program + note


def vmlinuz(packed: bytes, *, sectors: int = 3, version: int = 0x20F, magic: bytes = b"HdrS", offset: int = 7) -> bytes:
    """Return a kernel image around packed data (Documentation/arch/x86/boot.rst); the size follows the data."""
    payload = packed + struct.pack("<I", 1234)
    setup = bytearray((1 + (sectors or 4)) * 512)
    setup[0x1F1] = sectors
    setup[0x202:0x206] = magic
    struct.pack_into("<H", setup, 0x206, version)
    struct.pack_into("<II", setup, 0x248, offset, len(payload))
    return bytes(setup) + b"stub..."[:offset] + payload + b"the rest of the program"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("sectors", [3, 0])
def test_the_kernel_is_found_in_each_form(pack: Callable[[bytes], bytes], sectors: int) -> None:
    # More than one piece, also when packed.
    kernel = elf() + random.Random(1).randbytes(600_000)
    unpacked = io.BytesIO()
    assert unpack_kernel(vmlinuz(pack(kernel), sectors=sectors), unpacked)
    assert unpacked.getvalue() == kernel


def zboot(packed: bytes, *, kind: bytes = b"zimg", offset: int = 0x1000) -> bytes:
    """Return a kernel image of arm64 that unpacks itself under EFI (drivers/firmware/efi/libstub/zboot-header.S)."""
    header = b"MZ\0\0" + kind + struct.pack("<IIII", offset, len(packed), 0, 0) + b"gzip".ljust(36, b"\0")
    return header.ljust(offset, b"\0") + packed + b"the rest of the program"


def arm64_image(magic: bytes = b"ARM\x64") -> bytes:
    """Return an unpacked kernel of arm64 (Documentation/arch/arm64/booting.rst)."""
    return bytes(56) + magic + random.Random(2).randbytes(600_000)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_the_kernel_of_arm64_is_found_that_would_need_a_firmware_to_unpack_itself(
    pack: Callable[[bytes], bytes],
) -> None:
    unpacked = io.BytesIO()
    assert unpack_kernel(zboot(pack(arm64_image())), unpacked)
    assert unpacked.getvalue() == arm64_image()


@pytest.mark.parametrize(
    "image",
    [
        arm64_image(),
        zboot(gzip.compress(arm64_image()), kind=b"none"),
        zboot(gzip.compress(arm64_image(b"RISC"))),
        zboot(gzip.compress(arm64_image()))[:40],
        b"",
        b"\x7fELF and no kernel image",
        vmlinuz(gzip.compress(elf(), mtime=0), magic=b"MZ\0\0"),
        vmlinuz(gzip.compress(elf(), mtime=0), version=0x207),
        vmlinuz(gzip.compress(elf(), mtime=0))[:0x24A],
        vmlinuz(b"LZ4 or another form"),
        vmlinuz(gzip.compress(elf(), mtime=0)[:12] + b"damaged"),
        vmlinuz(lzma.compress(elf())[:40] + b"damaged"),
        vmlinuz(zstandard.ZstdCompressor().compress(elf())[:9] + b"damaged"),
        vmlinuz(gzip.compress(elf(), mtime=0)[:-9]),
        vmlinuz(gzip.compress(b"no ELF", mtime=0)),
        vmlinuz(gzip.compress(elf()[:70], mtime=0)),
        vmlinuz(gzip.compress(elf(_OTHER), mtime=0)),
        vmlinuz(gzip.compress(elf(owner=b"GNU\0"), mtime=0)),
    ],
)
def test_what_a_machine_cannot_start_by_itself_is_told(image: bytes) -> None:
    assert not unpack_kernel(image, io.BytesIO())
