"""Turn the toolkit's own files into facts about its kernel, or report the file that is malformed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kmatrix.decide.formats.elf import MalformedElfError, read_module
from kmatrix.values.errors import ProtocolError
from kmatrix.values.module import THIS_MODULE, Export, KernelFacts, ModuleElf, ToolkitFiles, module_name

_CRC = re.compile(r"0x[0-9A-Fa-f]{1,8}")
_SETTING = re.compile(r"(CONFIG_[A-Za-z0-9_]+)=(.*)")
# Kernels before 4.19 (RHEL 8 among them) name the compiler in the head of the file only.
_COMPILER_LINE = re.compile(r"# Compiler: (.+)")
_KSYMTAB = re.compile(r"[0-9a-f]+ \S __ksymtab_(\S+)")
# arch/arm64/kernel/module-plts.c and module.c, arch/powerpc/kernel/module_64.c: a module that lacks one of these is
# refused. Which of them a kernel wants depends on its configuration; the linker script gives them to every module.
_LOADER_SECTIONS = (
    ".plt",
    ".init.plt",
    ".text.ftrace_trampoline",
    ".init.text.ftrace_trampoline",
    ".stubs",
    ".mygot",
)
_TOOLKIT_HINT = "check that the toolkit image is complete and belongs to this kernel"


def _protocol_error(where: str, number: int, message: str) -> ProtocolError:
    return ProtocolError(f"{where}, line {number}: {message}", _TOOLKIT_HINT)


def parse_symvers(text: str, where: str = "Module.symvers") -> dict[str, Export]:
    """Parse Module.symvers: CRC, symbol, module, export type and, optionally, namespace, separated by tabs.

    The format is that of scripts/mod/modpost.c (write_dump); it has namespaces since Linux 5.4, in this order since
    5.7.

    Args:
        text: the file.
        where: its name, for errors.

    Raises:
        ProtocolError: no symbol at all, or a malformed line; the message has the line.
    """
    exports: dict[str, Export] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("\t")
        if len(fields) not in (4, 5):
            raise _protocol_error(where, number, f"{len(fields)} fields separated by tabs, not 4 or 5: {line!r}")
        crc, symbol, module, kind = fields[:4]
        if not _CRC.fullmatch(crc) or not symbol or not module or not kind.startswith("EXPORT_"):
            raise _protocol_error(where, number, f"expected CRC, symbol, module, export type: {line!r}")
        # The kernel searches its own exports before those of modules (kernel/module/main.c, find_symbol).
        if symbol in exports and exports[symbol].module == "vmlinux":
            continue
        exports[symbol] = Export(int(crc, 16), module, kind.endswith("_GPL"), "".join(fields[4:]))
    if not exports:
        raise ProtocolError(f"{where} lists no symbol", _TOOLKIT_HINT)
    return exports


def parse_config(text: str, where: str = "config") -> dict[str, str]:
    """Parse a kernel configuration: setting to value, strings without their quotes.

    Raises:
        ProtocolError: no setting at all, or a line that is neither setting, comment nor empty.
    """
    settings: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _SETTING.fullmatch(line)
        if not match:
            raise _protocol_error(where, number, f"not a kernel setting: {line!r}")
        value = match[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"'))
        settings[match[1]] = value
    if not settings:
        raise ProtocolError(f"{where} has no setting", _TOOLKIT_HINT)
    return settings


def parse_modules_dep(text: str, where: str = "modules.dep") -> dict[str, tuple[str, ...]]:
    """Parse modules.dep: path of a module to the paths of all modules it needs.

    Raises:
        ProtocolError: a line without a colon.
    """
    dependencies: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        path, colon, needs = line.partition(":")
        if not line.strip():
            continue
        if not colon or not path.strip():
            raise _protocol_error(where, number, f"not of the form MODULE: MODULE…: {line!r}")
        dependencies[path.strip()] = tuple(needs.split())
    return dependencies


def parse_system_map(text: str) -> frozenset[str] | None:
    """Return the symbols that the kernel exports, or None if the text is not a usable System.map.

    Debian ships a one-line stub in its place; a map without `__ksymtab_` entries has no information about exports.
    """
    found = frozenset(match[1] for line in text.splitlines() if (match := _KSYMTAB.fullmatch(line)))
    return found or None


def kernel_facts(kernel: str, files: ToolkitFiles) -> KernelFacts:
    """Read the toolkit's files about the kernel of release `kernel`.

    Raises:
        ProtocolError: a file is malformed or belongs to another kernel, so no verdict can be reached.
    """
    references = {path: _reference(path, content) for path, content in sorted(files.in_tree.items())}
    settings = parse_config(files.config)
    headline = _COMPILER_LINE.search(files.config)
    return KernelFacts(
        kernel=kernel,
        exports=parse_symvers(files.symvers),
        modversions=settings.get("CONFIG_MODVERSIONS") == "y",
        compiler=settings.get("CONFIG_CC_VERSION_TEXT") or (headline[1].strip() if headline else ""),
        dependencies=parse_modules_dep(files.modules_dep),
        builtin=frozenset(module_name(line) for line in files.modules_builtin.split()),
        present=frozenset(module_name(path) for path in files.present),
        vermagic=_vermagic(kernel, references),
        retpoline=any(elf.first("retpoline") == "Y" for elf in references.values()),
        this_module_size=_this_module_size(kernel, references),
        loader_sections=_loader_sections(tuple(references.values())),
        strict_rwx=settings.get("CONFIG_STRICT_MODULE_RWX") == "y",
        namespaces_enforced=settings.get("CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS") != "y",
        kernel_symbols=parse_system_map(files.system_map),
    )


def _reference(path: str, content: bytes) -> ModuleElf:
    try:
        return read_module(content)
    except MalformedElfError as fault:
        raise ProtocolError(f"in-tree module {path}: {fault.message}", _TOOLKIT_HINT) from fault


def _this_module_size(kernel: str, references: Mapping[str, ModuleElf]) -> int:
    found = {section.size: path for path, elf in references.items() for section in elf.named(THIS_MODULE)}
    if len(found) > 1:
        listed = ", ".join(f"{path} has {size} bytes" for size, path in sorted(found.items()))
        message = f"the in-tree modules of {kernel} disagree about the size of struct module: {listed}"
        raise ProtocolError(message, _TOOLKIT_HINT)
    return next(iter(found), 0)


def _loader_sections(references: tuple[ModuleElf, ...]) -> frozenset[str]:
    return frozenset(name for name in _LOADER_SECTIONS if all(elf.named(name) for elf in references))


def _vermagic(kernel: str, references: Mapping[str, ModuleElf]) -> str:
    found = {elf.first("vermagic") or "": path for path, elf in references.items()}
    if len(found) != 1:
        listed = ", ".join(f"{path} has {vermagic!r}" for vermagic, path in sorted(found.items()))
        message = f"the in-tree modules of {kernel} disagree about vermagic: {listed or 'none was read'}"
        raise ProtocolError(message, _TOOLKIT_HINT)
    vermagic, path = next(iter(found.items()))
    if vermagic.split(" ", 1)[0] != kernel:
        message = f"in-tree module {path} has vermagic {vermagic!r}, not that of {kernel}"
        raise ProtocolError(message, _TOOLKIT_HINT)
    return vermagic
