"""Compare modules by the symbols that they need: which module of one kernel would load in another."""

from __future__ import annotations

import hashlib
import json

from kmatrix.decide.checks.symbols import needed_symbols
from kmatrix.values.gate_record import RecordedModule
from kmatrix.values.module import ModuleElf


def recorded_module(elf: ModuleElf, features: tuple[str, ...] | None) -> RecordedModule:
    """Return the facts about a module file that are recorded when it is published.

    A kernel of 6.14 or newer reads the extended table of CRCs, an older one `__versions`, which lacks symbols with long
    names; a module that passed the static checks has no CRC in one that differs from the other.
    """
    needs = {**dict.fromkeys(needed_symbols(elf), 0), **elf.versions, **elf.extended_versions}
    namespaces = tuple(sorted(set(elf.modinfo.get("import_ns", ()))))
    return RecordedModule(features, dict(sorted(needs.items())), namespaces, elf.first("license") or "")


def abi_of(module: RecordedModule) -> str:
    """Return 16 hexadecimal digits that identify the symbols which a module needs, with their CRCs."""
    text = json.dumps(sorted(module.needs.items()), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
