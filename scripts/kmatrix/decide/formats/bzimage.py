"""Unpack the kernel inside a vmlinuz, for a machine that starts it without the kernel's own unpacking.

An x86 vmlinuz is a small program around the packed kernel. Under emulation its unpacking takes longer than the rest of
the start, so the identical kernel is unpacked beforehand. One of arm64 with CONFIG_EFI_ZBOOT needs an EFI firmware to
unpack itself, which these machines have not, and QEMU unpacks it only from 8.0 on and if gzip packed it (hw/arm/boot.c
and hw/core/loader.c, unpack_efi_zboot_image).
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable
from typing import IO, Protocol

import zstandard
from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

# Documentation/arch/x86/boot.rst: the setup header; payload_offset is there since protocol 2.08.
_MAGIC_AT, _MAGIC, _VERSION_AT, _VERSION = 0x202, b"HdrS", 0x206, 0x208
_SECTORS_AT, _SECTOR, _PAYLOAD_AT = 0x1F1, 512, 0x248
# drivers/firmware/efi/libstub/zboot-header.S: payload offset and size stand behind these bytes.
_ZBOOT_AT, _ZBOOT, _DOS = 4, b"zimg", b"MZ"
# Documentation/arch/arm64/booting.rst: the header of an unpacked kernel.
_ARM64_AT, _ARM64 = 56, b"ARM\x64"
# include/xen/interface/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY; a kernel with CONFIG_PVH has its entry point there.
_ENTRY_NOTE = ("Xen", "18")
_PIECE = 2**18


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_UNPACKERS: tuple[tuple[bytes, Callable[[], _Unpacker]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"\xfd7zXZ\0", lzma.LZMADecompressor),
    (b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj()),
)


def unpack_kernel(vmlinuz: bytes, target: IO[bytes]) -> bool:
    """Write the unpacked kernel inside a vmlinuz: an ELF file of x86, or an Image of arm64.

    A kernel has many times the size of its vmlinuz, so it is never in memory completely.

    Args:
        vmlinuz: the kernel image.
        target: an empty file, open for writing and reading; its content is meaningless after `False`.

    Returns:
        False if a machine cannot start the kernel directly: for an unknown compression, for an x86 kernel without
        CONFIG_PVH, and for a vmlinuz of arm64 that is not packed, which a machine starts as it is.
    """
    packed = _packed(vmlinuz)
    make = next((make for magic, make in _UNPACKERS if packed.startswith(magic)), None)
    if make is None:
        return False
    unpacker = make()
    try:
        for start in range(0, len(packed), _PIECE):
            # The packed data is followed by its size, which only the kernel's own unpacking needs.
            if not unpacker.eof:
                target.write(unpacker.decompress(packed[start : start + _PIECE]))
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError):
        return False
    return unpacker.eof and (_is_arm64_image(target) or _has_entry_note(target))


def _packed(vmlinuz: bytes) -> bytes:
    """Return the packed kernel; empty if the image has another form."""
    if (
        vmlinuz.startswith(_DOS)
        and vmlinuz[_ZBOOT_AT : _ZBOOT_AT + len(_ZBOOT)] == _ZBOOT
        and len(vmlinuz) >= _ARM64_AT
    ):
        offset, size = struct.unpack_from("<II", vmlinuz, _ZBOOT_AT + len(_ZBOOT))
        return vmlinuz[offset : offset + size]
    if vmlinuz[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC or len(vmlinuz) < _PAYLOAD_AT + 8:
        return b""
    (version,) = struct.unpack_from("<H", vmlinuz, _VERSION_AT)
    if version < _VERSION:
        return b""
    # Zero means four, for compatibility with very old boot loaders.
    setup = (1 + (vmlinuz[_SECTORS_AT] or 4)) * _SECTOR
    offset, size = struct.unpack_from("<II", vmlinuz, _PAYLOAD_AT)
    return vmlinuz[setup + offset : setup + offset + size]


def _is_arm64_image(kernel: IO[bytes]) -> bool:
    kernel.seek(_ARM64_AT)
    return kernel.read(len(_ARM64)) == _ARM64


def _has_entry_note(kernel: IO[bytes]) -> bool:
    try:
        for segment in ELFFile(kernel).iter_segments("PT_NOTE"):
            notes = segment.iter_notes() if isinstance(segment, NoteSegment) else ()
            if any((note["n_name"], str(note["n_type"])) == _ENTRY_NOTE for note in notes):
                return True
    except (ELFError, ConstructError, ValueError, UnicodeError):
        return False
    return False
