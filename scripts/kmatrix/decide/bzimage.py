"""x86 kernel images: the kernel inside a vmlinuz, for a machine that starts it without the kernel's own unpacking.

A vmlinuz is a small program around the packed kernel. Under emulation its unpacking takes longer than all the rest of
the start, so the very same kernel is unpacked beforehand.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Callable

import zstandard
from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

# Documentation/arch/x86/boot.rst: the setup header; payload_offset is there since protocol 2.08.
_MAGIC_AT, _MAGIC, _VERSION_AT, _VERSION = 0x202, b"HdrS", 0x206, 0x208
_SECTORS_AT, _SECTOR, _PAYLOAD_AT = 0x1F1, 512, 0x248
# include/xen/interface/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY; a kernel with CONFIG_PVH says there where it is entered.
_ENTRY_NOTE = ("Xen", "18")
_UNPACKERS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    # What follows the packed data is its size, which only the kernel's own unpacking needs.
    (b"\x1f\x8b", lambda data: zlib.decompressobj(wbits=31).decompress(data)),
    (b"\xfd7zXZ\0", lambda data: lzma.LZMADecompressor().decompress(data)),
    (b"\x28\xb5\x2f\xfd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
)


def unpacked_kernel(vmlinuz: bytes) -> bytes | None:
    """Return the ELF kernel inside a vmlinuz, or None if a machine could not start that by itself.

    None is for other architectures, for a form of packing that is not known here, and for a kernel without CONFIG_PVH.
    """
    if vmlinuz[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC or len(vmlinuz) < _PAYLOAD_AT + 8:
        return None
    (version,) = struct.unpack_from("<H", vmlinuz, _VERSION_AT)
    if version < _VERSION:
        return None
    # Zero stands for four, for the sake of very old boot loaders.
    setup = (1 + (vmlinuz[_SECTORS_AT] or 4)) * _SECTOR
    offset, size = struct.unpack_from("<II", vmlinuz, _PAYLOAD_AT)
    packed = vmlinuz[setup + offset : setup + offset + size]
    for magic, unpack in _UNPACKERS:
        if packed.startswith(magic):
            try:
                kernel = unpack(packed)
            except (zlib.error, lzma.LZMAError, zstandard.ZstdError):
                return None
            return kernel if _says_where_it_is_entered(kernel) else None
    return None


def _says_where_it_is_entered(kernel: bytes) -> bool:
    try:
        for segment in ELFFile(io.BytesIO(kernel)).iter_segments("PT_NOTE"):
            notes = segment.iter_notes() if isinstance(segment, NoteSegment) else ()
            if any((note["n_name"], str(note["n_type"])) == _ENTRY_NOTE for note in notes):
                return True
    except (ELFError, ConstructError, ValueError, UnicodeError):
        return False
    return False
