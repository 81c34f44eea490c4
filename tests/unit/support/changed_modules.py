"""Cases of modules that differ from the sound one in single bytes, as the kernel's loader looks at them."""

from __future__ import annotations

import struct
from dataclasses import replace

from tests.unit.support.check_case import (
    IN_TREE,
    KO,
    TOOLKIT,
    Case,
    exporting,
)
from tests.unit.support.elf_maker import ALLOC

THIS_MODULE = ".gnu.linkonce.this_module"
SIGNATURE = b"~Module signature appended~\n"
SECRET = exporting(perhaps_there=(0x99, "vmlinux", "EXPORT_SYMBOL", "SECRET"))
WEAK_PRESENT = exporting(perhaps_there=(0x99, "vmlinux", "EXPORT_SYMBOL", ""))
# The image's modinfo and modprobe are made up from the test's own values, not from the file's bytes.
MADE_UP_TOOLS = {"modinfo-disagrees", "modversions-disagree"}


def signed(info: str, size: int = 5) -> Case:
    """Return a case with a signature of five bytes and this description of it."""
    length = size.to_bytes(4, "big")
    return Case(image={"ko": KO.build() + b"pkcs7" + bytes.fromhex(info) + length + SIGNATURE})


def table(*entries: tuple[str, int]) -> bytes:
    """Return the content of `__versions`."""
    return b"".join(struct.pack("<Q56s", crc, name.encode()) for name, crc in entries)


def with_header(offset: int, value: int, size: int = 2) -> Case:
    """Return the baseline's file with another value in the ELF header."""
    whole = bytearray(KO.build())
    whole[offset : offset + size] = value.to_bytes(size, "little")
    return Case(image={"ko": bytes(whole)})


def with_section_zero(offset: int) -> Case:
    """Return the baseline's file with a value in its empty section."""
    whole = bytearray(KO.build())
    whole[int.from_bytes(whole[40:48], "little") + offset] = 1
    return Case(image={"ko": bytes(whole)})


def with_symbol(offset: int, value: int, size: int) -> Case:
    """Return the baseline's file with another value in its first symbol."""
    whole = KO.build()
    symbols = read_symbols(whole)
    start = symbols + 24 + offset
    return Case(image={"ko": whole[:start] + value.to_bytes(size, "little") + whole[start + size :]})


def read_symbols(whole: bytes) -> int:
    """Return the offset of the symbol table."""
    start = int.from_bytes(whole[40:48], "little")
    for entry in range(start, len(whole), 64):
        if int.from_bytes(whole[entry + 4 : entry + 8], "little") == 2:
            return int.from_bytes(whole[entry + 24 : entry + 32], "little")
    raise AssertionError("no symbol table")


def arm_like(*sections: str) -> Case:
    """Return a case whose kernel has these sections in all modules."""
    in_tree = replace(IN_TREE, extra=tuple((name, ALLOC, b"\0") for name in sections))
    return Case(toolkit=replace(TOOLKIT, in_tree={"x": in_tree.build()}))
