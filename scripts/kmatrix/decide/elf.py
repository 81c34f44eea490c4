"""Reads a kernel module file into plain values; whatever is wrong with the file is one kind of error."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Mapping

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

from kmatrix.values.module import ModuleElf

_HEADER = 64
_MAGIC = b"\x7fELF"
_SIGNATURE = b"~Module signature appended~\n"
# kernel/module/signing.c: struct module_signature is 12 bytes, the last 4 the length, big endian.
_SIGNATURE_INFO = 12
# include/linux/module.h: struct modversion_info is an unsigned long and a name that fills it up to 64 bytes.
_VERSION_ENTRY = 64


class MalformedElfError(ValueError):
    """A file is no whole ELF file.

    Args:
        code: elf-garbage (not ELF at all), elf-truncated (data missing) or elf-malformed.
        message: one line, what is wrong.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def read_module(data: bytes) -> ModuleElf:
    """Read a module file.

    Args:
        data: the file, decompressed; a signature may follow the ELF part.

    Raises:
        MalformedElfError: the file is not ELF, not whole, or contradicts itself.
    """
    if not data.startswith(_MAGIC):
        raise MalformedElfError("elf-garbage", f"the module file is not ELF ({len(data)} bytes)")
    try:
        return _read(data)
    except MalformedElfError:
        raise
    # pyelftools meets damaged files with whatever its parts raise: ELFError, construct's errors,
    # KeyError, TypeError, AttributeError, UnicodeDecodeError, and more. All of them mean the same.
    except Exception as fault:
        raise MalformedElfError(
            "elf-malformed", f"the module file cannot be read as ELF: {type(fault).__name__}: {fault}"
        ) from fault


def _read(data: bytes) -> ModuleElf:
    if len(data) < _HEADER:
        raise MalformedElfError("elf-truncated", f"the module file ends after {len(data)} bytes")
    elf = ELFFile(io.BytesIO(data))
    header = elf.header
    table_end = header["e_shoff"] + header["e_shnum"] * header["e_shentsize"]
    # Checked before anything is iterated: a damaged count must not become a long loop.
    if not header["e_shoff"] or not header["e_shnum"] or table_end > len(data):
        raise MalformedElfError(
            "elf-truncated", f"the section table ends at byte {table_end}, the file at byte {len(data)}"
        )
    every = list(elf.iter_sections())
    _check_extent(data, table_end, every)
    sections: dict[str, Section] = {section.name: section for section in every}
    order = "<" if elf.little_endian else ">"
    table = sections.get(".symtab")
    symbols = list(table.iter_symbols()) if isinstance(table, SymbolTableSection) else []
    wanted = [symbol for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name]
    weak = frozenset(symbol.name for symbol in wanted if symbol["st_info"]["bind"] == "STB_WEAK")
    return ModuleElf(
        machine=str(header["e_machine"]),
        bits=int(elf.elfclass),
        little_endian=bool(elf.little_endian),
        relocatable=header["e_type"] == "ET_REL",
        sections=frozenset(sections),
        # The first entry of every symbol table is the null symbol.
        symbol_count=max(0, len(symbols) - 1),
        modinfo=_modinfo(_content(sections, ".modinfo")),
        undefined=frozenset(symbol.name for symbol in wanted) - weak,
        weak=weak,
        versions=_versions(_content(sections, "__versions"), order, int(elf.elfclass)),
        extended_versions=_extended_versions(
            _content(sections, "__version_ext_names"), _content(sections, "__version_ext_crcs"), order
        ),
        comment=tuple(dict.fromkeys(_strings(_content(sections, ".comment")))),
    )


def _content(sections: Mapping[str, Section], name: str) -> bytes:
    section = sections.get(name)
    return bytes(section.data()) if section is not None else b""


def _check_extent(data: bytes, table_end: int, sections: Iterable[Section]) -> None:
    """Refuse a file that lacks the end of a section, or has bytes at its end that nothing explains."""
    end = table_end
    for section in sections:
        if section["sh_type"] == "SHT_NOBITS":
            continue
        section_end = section["sh_offset"] + section["sh_size"]
        if section_end > len(data):
            raise MalformedElfError(
                "elf-truncated",
                f"section {section.name} ends at byte {section_end}, the file at byte {len(data)}",
            )
        end = max(end, section_end)
    rest = data[end:]
    if not rest:
        return
    trailer = _SIGNATURE_INFO + len(_SIGNATURE)
    length = rest[-len(_SIGNATURE) - 4 : -len(_SIGNATURE)]
    if not rest.endswith(_SIGNATURE) or len(rest) != trailer + int.from_bytes(length, "big"):
        raise MalformedElfError(
            "elf-truncated", f"{len(rest)} bytes follow the ELF part that are no whole module signature"
        )


def _strings(content: bytes) -> Iterator[str]:
    for raw in content.split(b"\0"):
        if raw:
            yield raw.decode("utf-8", "backslashreplace")


def _modinfo(content: bytes) -> dict[str, tuple[str, ...]]:
    fields: dict[str, tuple[str, ...]] = {}
    for text in _strings(content):
        key, equals, value = text.partition("=")
        if equals:
            fields[key] = (*fields.get(key, ()), value)
    return fields


def _versions(content: bytes, order: str, bits: int) -> dict[str, int]:
    """Read `__versions` (include/linux/module.h, struct modversion_info)."""
    if len(content) % _VERSION_ENTRY:
        raise MalformedElfError(
            "elf-malformed", f"__versions has {len(content)} bytes, not a multiple of {_VERSION_ENTRY}"
        )
    word = {32: "I", 64: "Q"}[bits]
    entry = struct.Struct(f"{order}{word}{_VERSION_ENTRY - struct.calcsize(order + word)}s")
    found: dict[str, int] = {}
    for crc, name in entry.iter_unpack(content):
        found[name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")] = crc
    return found


def _extended_versions(names: bytes, crcs: bytes, order: str) -> dict[str, int]:
    """Read the extended form of Linux 6.14 (kernel/module/version.c, modversion_ext_start)."""
    symbols = list(_strings(names))
    if len(crcs) != 4 * len(symbols):
        raise MalformedElfError(
            "elf-malformed",
            f"__version_ext_names has {len(symbols)} names, __version_ext_crcs {len(crcs)} bytes for them",
        )
    return dict(zip(symbols, struct.unpack(f"{order}{len(symbols)}I", crcs), strict=True))
