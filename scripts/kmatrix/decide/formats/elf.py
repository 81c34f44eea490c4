"""Read a kernel module file into plain values; every fault of the file is one kind of error."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from kmatrix.decide.formats.elf_form import (
    MalformedElfError,
    check_magic,
    check_section_table,
    check_sections,
    check_symbol_table,
)
from kmatrix.values.module import ElfSection, ModuleElf

__all__ = ["MalformedElfError", "read_module"]

# include/linux/module.h: struct modversion_info is an unsigned long and a name that fills it up to 64 bytes.
_VERSION_ENTRY = 64
_WRITABLE_CODE = SH_FLAGS.SHF_WRITE | SH_FLAGS.SHF_EXECINSTR
_EXPORT_MARK = "__ksymtab_"


def read_module(data: bytes) -> ModuleElf:
    """Read a module file.

    Args:
        data: the file, decompressed; a signature may follow the ELF part.

    Raises:
        MalformedElfError: the file is not ELF, is incomplete, or contradicts itself.
    """
    check_magic(data)
    try:
        return _read(data)
    except MalformedElfError:
        raise
    # On damaged files pyelftools raises ELFError, construct's errors, KeyError, TypeError, AttributeError,
    # UnicodeDecodeError, and more. All of them mean the same.
    except Exception as fault:
        raise MalformedElfError(
            "elf-malformed", f"the module file cannot be read as ELF: {type(fault).__name__}: {fault}"
        ) from fault


def _read(data: bytes) -> ModuleElf:
    elf = ELFFile(io.BytesIO(data))
    check_section_table(data, elf)
    sections = list(elf.iter_sections())
    check_sections(data, elf, sections)
    table = check_symbol_table(elf, sections)
    # The first entry of every symbol table is the null symbol.
    symbols = list(table.iter_symbols())[1:] if table is not None else []
    undefined = [symbol for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"]
    strong = frozenset(symbol.name for symbol in undefined if symbol["st_info"]["bind"] != "STB_WEAK")
    order = "<" if elf.little_endian else ">"
    return ModuleElf(
        machine=str(elf.header["e_machine"]),
        bits=int(elf.elfclass),
        little_endian=bool(elf.little_endian),
        relocatable=elf.header["e_type"] == "ET_REL",
        sections=tuple(_section(section) for section in sections[1:]),
        symbol_count=len(symbols),
        modinfo=_modinfo(_content(sections, ".modinfo")),
        undefined=strong,
        weak=frozenset(symbol.name for symbol in undefined) - strong,
        common=tuple(symbol.name for symbol in symbols if symbol["st_shndx"] == "SHN_COMMON"),
        exported=frozenset(
            symbol.name.removeprefix(_EXPORT_MARK)
            for symbol in symbols
            if symbol.name.startswith(_EXPORT_MARK) and symbol["st_shndx"] != "SHN_UNDEF"
        ),
        version_entries=_versions(_loaded(sections, "__versions") or b"", order, int(elf.elfclass)),
        extended_entries=_extended_versions(sections, order),
        relocation_types=_relocation_types(sections, order) if elf.elfclass == 64 else frozenset(),
        comment=tuple(dict.fromkeys(_strings(_content(sections, ".comment")))),
    )


def _relocation_types(sections: Sequence[Section], order: str) -> frozenset[int]:
    """Return the types that apply_relocations of kernel/module/main.c applies: Elf64_Rela for loaded sections."""
    types: set[int] = set()
    for section in sections:
        target = section["sh_info"]
        if section["sh_type"] != "SHT_RELA" or target >= len(sections):
            continue
        if sections[target]["sh_flags"] & SH_FLAGS.SHF_ALLOC:
            # r_info has the type in its lower half.
            types.update(info & 0xFFFFFFFF for _, info, _ in struct.iter_unpack(f"{order}QQq", _data(section)))
    return frozenset(types)


def _section(section: Section) -> ElfSection:
    flags = section["sh_flags"]
    return ElfSection(
        name=section.name,
        size=section["sh_size"],
        loaded=bool(flags & SH_FLAGS.SHF_ALLOC),
        has_content=section["sh_type"] != "SHT_NOBITS",
        writable_code=flags & _WRITABLE_CODE == _WRITABLE_CODE,
    )


def _content(sections: Iterable[Section], name: str) -> bytes:
    """Return the content of the first section of a name (kernel/module/main.c, find_any_sec)."""
    return next((_data(section) for section in sections if section.name == name), b"")


def _loaded(sections: Iterable[Section], name: str) -> bytes | None:
    """Return the content of the first section of a name that is marked as loaded (find_sec); None if there is none."""
    found = (section for section in sections if section.name == name and section["sh_flags"] & SH_FLAGS.SHF_ALLOC)
    return next(map(_data, found), None)


def _data(section: Section) -> bytes:
    return bytes(section.data()) if section["sh_type"] != "SHT_NOBITS" else b""


def _strings(content: bytes) -> Iterator[str]:
    for raw in content.split(b"\0"):
        if raw:
            yield _text(raw)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _modinfo(content: bytes) -> dict[str, tuple[str, ...]]:
    fields: dict[str, tuple[str, ...]] = {}
    for text in _strings(content):
        key, equals, value = text.partition("=")
        if equals:
            fields[key] = (*fields.get(key, ()), value)
    return fields


def _versions(content: bytes, order: str, bits: int) -> tuple[tuple[str, int], ...]:
    """Read `__versions` (include/linux/module.h, struct modversion_info).

    The kernel would skip an incomplete entry; kmod refuses the table
    (libkmod/libkmod-elf.c, kmod_elf_get_modversions).
    """
    if len(content) % _VERSION_ENTRY:
        raise MalformedElfError(
            "elf-malformed", f"__versions has {len(content)} bytes, not a multiple of {_VERSION_ENTRY}"
        )
    word = {32: "I", 64: "Q"}[bits]
    entry = struct.Struct(f"{order}{word}{_VERSION_ENTRY - struct.calcsize(order + word)}s")
    return tuple((_text(name.split(b"\0", 1)[0]), crc) for crc, name in entry.iter_unpack(content))


def _extended_versions(sections: Sequence[Section], order: str) -> tuple[tuple[str, int], ...]:
    """Read the extended form of Linux 6.14 (kernel/module/main.c, elf_validity_cache_index_versions).

    An empty name counts as a name, and names without a CRC may follow: modpost leaves one such.
    """
    names, crcs = (_loaded(sections, f"__version_ext_{part}") for part in ("names", "crcs"))
    if names is None and crcs is None:
        return ()
    count = len(crcs or b"") // 4
    symbols = (names or b"").split(b"\0")[:-1]
    if names is None or crcs is None or count > len(symbols):
        raise MalformedElfError(
            "elf-malformed",
            f"__version_ext_crcs has {count} CRCs, __version_ext_names {len(symbols)} names for them",
        )
    values = struct.unpack_from(f"{order}{count}I", crcs)
    return tuple((_text(name), crc) for name, crc in zip(symbols, values, strict=False))
