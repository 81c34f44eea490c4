"""Assemble small kernel modules byte by byte, so that tests need neither compiler nor kernel."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

X86_64, AARCH64, S390 = 62, 183, 22
RELOCATABLE, SHARED = 1, 3
_PROGBITS, _SYMTAB, _STRTAB, _RELA = 1, 2, 3, 4
NOBITS = 8
WRITE, ALLOC, EXECUTE = 1, 2, 4
_GLOBAL, _WEAK = 1, 2
_COMMON_INDEX = 0xFFF2
# As modpost and the kernel's linker script leave them.
_FLAGS = {
    ".modinfo": ALLOC,
    ".gnu.linkonce.this_module": ALLOC | WRITE,
    "__versions": ALLOC,
    "__version_ext_crcs": ALLOC,
    "__version_ext_names": ALLOC,
}


@dataclass(frozen=True)
class Ko:
    """A made-up module.

    `raw` replaces the content of sections, `drop` leaves sections out, `flags` and `kinds` replace their ELF
    flags and types; `relocations` are types of such in section `relocated`; `extra` are more sections (name,
    flags, content), also of a name that is there already.
    """

    modinfo: tuple[tuple[str, str], ...] = ()
    undefined: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    exported: tuple[str, ...] = ()
    relocations: tuple[int, ...] = ()
    relocated: str = ".gnu.linkonce.this_module"
    versions: Mapping[str, int] | None = None
    extended: Mapping[str, int] | None = None
    comment: tuple[str, ...] = ()
    machine: int = X86_64
    kind: int = RELOCATABLE
    order: str = "<"
    raw: Mapping[str, bytes] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    flags: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)
    extra: tuple[tuple[str, int, bytes], ...] = ()

    def build(self) -> bytes:
        """Return the file: header, contents of the sections, section table last."""
        symbols, names = _symbol_table(self)
        contents: dict[str, tuple[int, bytes]] = {
            ".modinfo": (_PROGBITS, b"".join(f"{key}={value}\0".encode() for key, value in self.modinfo)),
            ".gnu.linkonce.this_module": (_PROGBITS, b"beegfs".ljust(64, b"\0")),
            ".comment": (_PROGBITS, b"\0" + b"".join(text.encode() + b"\0" for text in self.comment)),
            ".symtab": (_SYMTAB, symbols),
            ".strtab": (_STRTAB, names),
        }
        if self.versions is not None:
            entry = struct.Struct(f"{self.order}Q56s")
            table = b"".join(entry.pack(crc, name.encode()) for name, crc in self.versions.items())
            contents["__versions"] = (_PROGBITS, table)
        if self.extended is not None:
            crcs = struct.pack(f"{self.order}{len(self.extended)}I", *self.extended.values())
            contents["__version_ext_crcs"] = (_PROGBITS, crcs)
            joined = b"".join(name.encode() + b"\0" for name in self.extended)
            contents["__version_ext_names"] = (_PROGBITS, joined)
        if self.relocations:
            rela = struct.Struct(f"{self.order}QQq")
            contents[".rela"] = (_RELA, b"".join(rela.pack(0, kind | 1 << 32, 0) for kind in self.relocations))
        for name, content in self.raw.items():
            contents[name] = (contents.get(name, (_PROGBITS, b""))[0], content)
        kept = {name: entry for name, entry in contents.items() if name not in self.drop}
        return _assemble(self, kept)


def _symbol_table(ko: Ko) -> tuple[bytes, bytes]:
    entry = struct.Struct(f"{ko.order}IBBHQQ")
    names, table = b"\0", entry.pack(0, 0, 0, 0, 0, 0)
    wanted = [("init_module", _GLOBAL, 1), *((name, _GLOBAL, 0) for name in ko.undefined)]
    wanted += [(name, _WEAK, 0) for name in ko.weak]
    wanted += [(name, _GLOBAL, _COMMON_INDEX) for name in ko.common]
    wanted += [(f"__ksymtab_{name}", _GLOBAL, 1) for name in ko.exported]
    for name, binding, section in wanted:
        table += entry.pack(len(names), binding << 4, 0, section, 0, 0)
        names += name.encode() + b"\0"
    return table, names


def _assemble(ko: Ko, contents: Mapping[str, tuple[int, bytes]]) -> bytes:
    header = struct.Struct(f"{ko.order}16sHHIQQQIHHHHHH")
    section = struct.Struct(f"{ko.order}IIQQQQIIQQ")
    order = ["", *contents, *(name for name, _, _ in ko.extra), ".shstrtab"]
    labels = b"\0" + b"".join(name.encode() + b"\0" for name in order[1:])
    table, body = section.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0), b""
    flags = {**_FLAGS, **ko.flags}
    entries = [(name, ko.kinds.get(name, kind), flags.get(name, 0), data) for name, (kind, data) in contents.items()]
    entries += [(name, _PROGBITS, flag, data) for name, flag, data in ko.extra]
    for name, kind, flag, content in [*entries, (".shstrtab", _STRTAB, 0, labels)]:
        link = order.index(".strtab") if kind == _SYMTAB and ".strtab" in order else 0
        entry_size = 24 if kind in (_SYMTAB, _RELA) else 0
        target = order.index(ko.relocated) if kind == _RELA else 1
        label = labels.index(b"\0" + name.encode() + b"\0") + 1
        offset = header.size + len(body)
        table += section.pack(label, kind, flag, 0, offset, len(content), link, target, 1, entry_size)
        body += content
    ident = b"\x7fELF" + bytes([2, 1 if ko.order == "<" else 2, 1]) + bytes(9)
    start = header.size + len(body)
    top = header.pack(
        ident,
        ko.kind,
        ko.machine,
        1,
        0,
        0,
        start,
        0,
        header.size,
        0,
        0,
        section.size,
        len(order),
        len(order) - 1,
    )
    return top + body + table
