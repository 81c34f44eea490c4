"""The facts about a module's file that a bill of materials has."""

from __future__ import annotations

import hashlib

from kmatrix.decide.formats.elf import read_module
from kmatrix.values.module import ModuleFile


def module_file(content: bytes) -> ModuleFile:
    """Return the facts about a module's file.

    Raises:
        MalformedElfError: it is no module.
    """
    module = read_module(content)
    return ModuleFile(
        sha256=hashlib.sha256(content).hexdigest(),
        version=module.first("version") or "",
        srcversion=module.first("srcversion") or "",
        licence=module.first("license") or "",
        # One entry, separated by commas (scripts/mod/modpost.c, add_depends).
        depends=tuple(name for name in (module.first("depends") or "").split(",") if name),
    )
