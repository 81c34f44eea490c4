"""Check that a file has the form that the kernel's module loader demands before it reads the module's content.

The loader's own checks are in kernel/module/main.c: elf_validity_check and setup_load_info of Linux 5.14 to 6.4,
elf_validity_cache_copy since then. Where the two differ, this follows the stricter one.
"""

from __future__ import annotations

from collections.abc import Sequence

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

_HEADER_SIZE = {32: 52, 64: 64}
_SECTION_SIZE = {32: 40, 64: 64}
_MAGIC = b"\x7fELF"
_SIGNATURE = b"~Module signature appended~\n"
# kernel/module_signature.c: struct module_signature is 12 bytes, of which the last 4 are the length, big endian.
_SIGNATURE_INFO = 12
# The other bytes mean PKCS#7 (PKEY_ID_PKCS7) and nothing else; mod_check_sig refuses all others.
_PKCS7_INFO = bytes([0, 0, 2, 0, 0, 0, 0, 0])
_LIVEPATCH_INDEX = 0xFF20


class MalformedElfError(ValueError):
    """A file is not a complete ELF file.

    Args:
        code: elf-garbage (not ELF at all), elf-truncated (data missing), elf-malformed or signature-malformed.
        message: the fault, in one line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def check_magic(data: bytes) -> None:
    """Refuse data that is not ELF, or ends within the header.

    Raises:
        MalformedElfError: the data is refused.
    """
    if not data.startswith(_MAGIC):
        raise MalformedElfError("elf-garbage", f"the module file is not ELF ({len(data)} bytes)")
    if len(data) < _HEADER_SIZE[64]:
        raise MalformedElfError("elf-truncated", f"the module file ends after {len(data)} bytes")


def check_section_table(data: bytes, elf: ELFFile) -> None:
    """Refuse a section table that is missing, incomplete or malformed.

    Call it before sections are read: a damaged count must not become a long loop.

    Raises:
        MalformedElfError: the table is refused.
    """
    header = elf.header
    count, entry = header["e_shnum"], header["e_shentsize"]
    table_end = header["e_shoff"] + count * entry
    if not header["e_shoff"] or not count or table_end > len(data):
        raise MalformedElfError(
            "elf-truncated", f"the section table ends at byte {table_end}, the file at byte {len(data)}"
        )
    if entry != _SECTION_SIZE[elf.elfclass]:
        raise _malformed(f"entries of the section table have {entry} bytes, not {_SECTION_SIZE[elf.elfclass]}")
    if not 0 < header["e_shstrndx"] < count:
        raise _malformed(f"section {header['e_shstrndx']}, the section names, does not exist: there are {count}")


def check_sections(data: bytes, elf: ELFFile, sections: Sequence[Section]) -> None:
    """Refuse a file that lacks part of a section, has no proper names, or continues after its end.

    Raises:
        MalformedElfError: the file is refused.
    """
    header = elf.header
    end = header["e_shoff"] + header["e_shnum"] * header["e_shentsize"]
    for section in sections:
        if section["sh_type"] in ("SHT_NULL", "SHT_NOBITS"):
            continue
        section_end = section["sh_offset"] + section["sh_size"]
        if section_end > len(data):
            raise MalformedElfError(
                "elf-truncated",
                f"section {section.name} ends at byte {section_end}, the file at byte {len(data)}",
            )
        end = max(end, section_end)
    _check_names(sections, sections[header["e_shstrndx"]])
    _check_rest(data[end:])


def _check_names(sections: Sequence[Section], names: Section) -> None:
    first = sections[0]
    if first["sh_type"] != "SHT_NULL" or first["sh_size"] or first["sh_addr"]:
        raise _malformed("section 0 is not the empty one that ELF demands")
    if not names["sh_size"] or not names.data().endswith(b"\0"):
        raise _malformed("the names of sections do not end with a zero byte")
    outside = [
        index
        for index, section in enumerate(sections)
        if section["sh_type"] != "SHT_NULL" and section["sh_name"] >= names["sh_size"]
    ]
    if outside:
        raise _malformed(f"the name of section {outside[0]} lies outside of the table of names")


def _check_rest(rest: bytes) -> None:
    """Refuse bytes after the ELF part that are no signature (kernel/module/signing.c, module_sig_check).

    The kernel reads no further than the sections; no build adds anything, so the file was damaged or changed.
    """
    if not rest:
        return
    body = rest.removesuffix(_SIGNATURE)
    info, length = body[-_SIGNATURE_INFO:-4], int.from_bytes(body[-4:], "big")
    if not rest.endswith(_SIGNATURE) or len(body) != _SIGNATURE_INFO + length:
        raise MalformedElfError(
            "elf-truncated", f"{len(rest)} bytes follow the ELF part that are not a complete module signature"
        )
    if info != _PKCS7_INFO:
        raise MalformedElfError(
            "signature-malformed",
            f"the signature's description is {info.hex()}, not that of PKCS#7, {_PKCS7_INFO.hex()}",
        )


def split_signature(data: bytes) -> tuple[bytes, bytes]:
    """Return a module's bytes before its signature, and the PKCS#7 message, empty if it is not signed.

    Args:
        data: a module of sound form.
    """
    if not data.endswith(_SIGNATURE):
        return data, b""
    rest = data.removesuffix(_SIGNATURE)
    start = len(rest) - _SIGNATURE_INFO - int.from_bytes(rest[-4:], "big")
    return rest[:start], rest[start:-_SIGNATURE_INFO]


def check_symbol_table(elf: ELFFile, sections: Sequence[Section]) -> SymbolTableSection | None:
    """Return the symbol table; the loader finds it by its type.

    Returns:
        None if there is none.

    Raises:
        MalformedElfError: there are several, or its names are incomplete.
    """
    tables = [
        section
        for section in sections
        if isinstance(section, SymbolTableSection) and section["sh_type"] == "SHT_SYMTAB"
    ]
    if len(tables) > 1:
        raise _malformed(f"the file has {len(tables)} symbol tables, not one")
    if not tables:
        return None
    (table,) = tables
    link = table["sh_link"]
    if not 0 < link < elf.header["e_shnum"]:
        raise _malformed(f"section {link}, the symbol names, does not exist")
    names = sections[link].data()
    if not names or names[0] or names[-1]:
        raise _malformed("the names of symbols do not begin and end with a zero byte")
    for symbol in table.iter_symbols():
        if symbol["st_name"] >= len(names):
            raise _malformed("the name of a symbol lies outside of the table of names")
        index = symbol["st_shndx"]
        if isinstance(index, int) and index >= elf.header["e_shnum"] and index != _LIVEPATCH_INDEX:
            raise _malformed(f"section {index}, that of symbol {symbol.name}, does not exist")
    return table


def _malformed(message: str) -> MalformedElfError:
    return MalformedElfError("elf-malformed", message)
