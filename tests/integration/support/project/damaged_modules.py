"""Damage real kernel modules in place: every other byte stays as the compiler wrote it."""

from __future__ import annotations

import io
import struct

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

_VERSION_ENTRY = 64


def with_crc_changed(module: bytes, symbol: str) -> bytes:
    """Flip one bit of the CRC that the module has for a symbol."""
    table = _section(module, "__versions")
    start, size = int(table["sh_offset"]), int(table["sh_size"])
    for offset in range(start, start + size, _VERSION_ENTRY):
        crc, name = struct.unpack("<Q56s", module[offset : offset + _VERSION_ENTRY])
        if name.rstrip(b"\0") == symbol.encode():
            return module[:offset] + struct.pack("<Q", crc ^ 1) + module[offset + 8 :]
    raise AssertionError(f"the module has no CRC of {symbol}")


def with_modinfo(module: bytes, old: str, new: str) -> bytes:
    """Replace one entry of .modinfo, such as `depends=a,b`, by one that is not longer."""
    section = _section(module, ".modinfo")
    start, size = int(section["sh_offset"]), int(section["sh_size"])
    content = module[start : start + size]
    entry = old.encode() + b"\0"
    assert content.count(entry) == 1, f".modinfo has {old!r} {content.count(entry)} times"
    assert len(new) <= len(old), "in place, an entry cannot grow"
    changed = content.replace(entry, new.encode().ljust(len(entry), b"\0"))
    return module[:start] + changed + module[start + size :]


def modinfo(module: bytes, key: str) -> str:
    """Return the value of a key of .modinfo."""
    section = _section(module, ".modinfo")
    entries = bytes(section.data()).split(b"\0")
    return next(entry for entry in entries if entry.startswith(f"{key}=".encode())).decode().partition("=")[2]


def with_undefined_symbol(module: bytes, symbol: str) -> tuple[bytes, str]:
    """Rename a symbol that the module needs; return the module and the new name, which nothing exports."""
    table = _section(module, ".symtab")
    strings = _section(module, ".strtab")
    names = {int(entry["st_name"]): entry.name for entry in table.iter_symbols()}  # type: ignore[attr-defined]
    position = next(at for at, name in names.items() if name == symbol)
    inside = [at for at in names if position < at <= position + len(symbol)]
    assert not inside, f"other symbols are named by a part of {symbol}"
    changed = f"{symbol[:-1]}{'x' if symbol[-1] != 'x' else 'y'}"
    offset = int(strings["sh_offset"]) + position
    return module[:offset] + changed.encode() + module[offset + len(symbol) :], changed


def without_symbols(module: bytes) -> bytes:
    """Empty the symbol table: its section stays, with no entry in it."""
    elf = ELFFile(io.BytesIO(module))
    index = next(i for i, section in enumerate(elf.iter_sections()) if section.name == ".symtab")
    header = elf.header["e_shoff"] + index * elf.header["e_shentsize"]
    # sh_size of Elf64_Shdr
    return module[: header + 32] + struct.pack("<Q", 0) + module[header + 40 :]


def _section(module: bytes, name: str) -> Section:
    section = ELFFile(io.BytesIO(module)).get_section_by_name(name)
    assert section is not None, f"the module has no section {name}"
    return section
