"""Judge a module's symbols against its kernel: known, provided, permitted (rules 3, 5, 7)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from kmatrix.values.cells import Finding
from kmatrix.values.module import KernelFacts, ModuleElf, module_name

VMLINUX = "vmlinux"
# include/linux/license.h, license_is_gpl_compatible
_GPL_COMPATIBLE = frozenset(
    {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
)
# Left undefined on purpose (kernel/module/main.c and scripts/mod/modpost.c, ignore_undef_symbol).
_IGNORED = {"EM_X86_64": ("_GLOBAL_OFFSET_TABLE_",), "EM_PPC64": (".TOC.",)}


def some(names: Iterable[str], limit: int = 5) -> str:
    """Return the first names of a list and how many there are besides."""
    listed = list(names)
    more = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {more} more" if more > 0 else "")


def count(symbols: list[str] | tuple[str, ...]) -> str:
    """Return the number of symbols as text: 1 symbol, 2 symbols."""
    return f"{len(symbols)} symbol{'s' if len(symbols) != 1 else ''}"


def needed_symbols(elf: ModuleElf) -> frozenset[str]:
    """Return the symbols without which the kernel refuses the module, that is, no weak ones."""
    return elf.undefined - frozenset(_IGNORED.get(elf.machine, ()))


def gpl_compatible(licences: Iterable[str]) -> bool:
    """Return whether a module of these licences may use exports that are for GPL-compatible modules alone."""
    return all(licence in _GPL_COMPATIBLE for licence in licences)


def admitted(space: str, name: str, imported: Collection[str]) -> bool:
    """Return whether a module may use the symbols of a namespace.

    A namespace `module:a,b*` (Linux 6.16, kernel/module/main.c, verify_module_namespace) cannot be imported: it admits
    modules by name.

    Args:
        space: the namespace; empty for symbols that are in none.
        name: of the module.
        imported: the namespaces that it imports.
    """
    if space.startswith("module:"):
        return any(fnmatchcase(name, pattern) for pattern in space.removeprefix("module:").split(","))
    return not space or space in imported


def resolved_symbols(elf: ModuleElf, kernel: KernelFacts) -> frozenset[str]:
    """Return the symbols that the kernel resolves, and whose CRC and namespace it then compares.

    A weak symbol may be absent, but one that is found is judged like all (kernel/module/main.c, resolve_symbol and
    simplify_symbols). An export of an in-tree module is found once that module is loaded.
    """
    return (needed_symbols(elf) | elf.weak) & kernel.exports.keys()


def providers(elf: ModuleElf, kernel: KernelFacts) -> dict[str, tuple[str, ...]]:
    """Return the in-tree modules whose exports are needed: name to those symbols, sorted."""
    found: dict[str, tuple[str, ...]] = {}
    for symbol in sorted(needed_symbols(elf) & kernel.exports.keys()):
        module = kernel.exports[symbol].module
        if module != VMLINUX:
            found[module_name(module)] = (*found.get(module_name(module), ()), symbol)
    return found


def check_symbols(elf: ModuleElf, kernel: KernelFacts) -> tuple[list[Finding], list[str]]:
    """Check rule 3: the kernel or an in-tree module of it exports every needed symbol.

    Returns:
        Findings, and notes on facts that could not be checked.
    """
    findings = []
    needed = needed_symbols(elf)
    unknown = sorted(needed - kernel.exports.keys())
    if unknown:
        findings.append(
            Finding(
                "symbols",
                "symbol-unknown",
                f"{count(unknown)} not in Module.symvers of {kernel.kernel}: {some(unknown)}",
                expected="exported by the kernel or an in-tree module",
                actual=some(unknown),
            )
        )
    if kernel.kernel_symbols is None:
        return findings, ["System.map is absent or a stub: exports were taken from Module.symvers alone"]
    absent = sorted(
        symbol
        for symbol in needed & kernel.exports.keys()
        if kernel.exports[symbol].module == VMLINUX and symbol not in kernel.kernel_symbols
    )
    if absent:
        findings.append(
            Finding(
                "symbols",
                "symbol-not-in-kernel",
                f"Module.symvers says the kernel exports {some(absent)}, its System.map does not have them:"
                " the two files of the toolkit belong to different kernels",
                expected="__ksymtab_ entry in System.map",
                actual=some(absent),
            )
        )
    return findings, []


def check_providers(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    """Check rule 5: each in-tree module whose exports are used is in the node's module tree, or built in."""
    return [
        Finding(
            "providers",
            "provider-missing",
            f"{count(symbols)} ({some(symbols)}) of module {name}, which is not in the module tree of {kernel.kernel}",
            expected=f"{name} below /lib/modules/{kernel.kernel}",
            actual="no such module",
        )
        for name, symbols in sorted(providers(elf, kernel).items())
        if name not in kernel.present and name not in kernel.builtin
    ]


def check_licence(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    """Check rule 7, first half: only a GPL-compatible module uses exports that are for these alone.

    The kernel reads the first licence, modpost (scripts/mod/modpost.c) all of them; a weak symbol that a module may
    not use is merely not found.
    """
    licences = elf.modinfo.get("license", ())
    gpl = sorted(name for name in needed_symbols(elf) & kernel.exports.keys() if kernel.exports[name].gpl)
    if not gpl or gpl_compatible(licences):
        return []
    return [
        Finding(
            "licence",
            "licence-incompatible",
            f"the licence is {', '.join(map(repr, licences))}, but it uses {count(gpl)} that GPL-compatible"
            f" modules alone may use: {some(gpl)}",
            expected=", ".join(sorted(_GPL_COMPATIBLE)),
            actual=", ".join(licences),
        )
    ]


def check_namespaces(elf: ModuleElf, kernel: KernelFacts) -> tuple[list[Finding], list[str]]:
    """Check rule 7, second half: the module imports the namespaces of all symbols that it uses.

    Returns:
        Findings, or notes where the kernel only warns (CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS).
    """
    missing: dict[str, list[str]] = {}
    name, imported = elf.first("name") or "", elf.modinfo.get("import_ns", ())
    for symbol in sorted(resolved_symbols(elf, kernel)):
        space = kernel.exports[symbol].namespace
        if not admitted(space, name, imported):
            missing.setdefault(space, []).append(symbol)
    findings = [
        Finding(
            "licence",
            "namespace-not-imported",
            f"{count(symbols)} of namespace {space}, which the module does not import: {some(symbols)}",
            expected=space,
            actual=", ".join(imported),
        )
        for space, symbols in sorted(missing.items())
    ]
    if kernel.namespaces_enforced:
        return findings, []
    return [], [f"{finding.message}; {kernel.kernel} only warns of that" for finding in findings]
