"""Judges a module's symbols against its kernel: known, of one CRC, provided, allowed (rules 3, 4, 5, 7)."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from kmatrix.values.cells import Finding
from kmatrix.values.module import KernelFacts, ModuleElf, module_name

LAYOUT_SYMBOL = "module_layout"
_KERNEL = "vmlinux"
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
    """Return how many symbols there are, in words: 1 symbol, 2 symbols."""
    return f"{len(symbols)} symbol{'s' if len(symbols) != 1 else ''}"


def needed_symbols(elf: ModuleElf) -> frozenset[str]:
    """Symbols without which the kernel refuses the module; weak ones are not among them."""
    return elf.undefined - frozenset(_IGNORED.get(elf.machine, ()))


def resolved_symbols(elf: ModuleElf, kernel: KernelFacts) -> frozenset[str]:
    """Symbols that the kernel resolves, and then wants with the right CRC and namespace.

    A weak one may be absent, but one that is found is judged like all (kernel/module/main.c, resolve_symbol and
    simplify_symbols). That of an in-tree module is found once that module is loaded.
    """
    return (needed_symbols(elf) | elf.weak) & kernel.exports.keys()


def providers(elf: ModuleElf, kernel: KernelFacts) -> dict[str, tuple[str, ...]]:
    """Name of each in-tree module whose exports are needed, to those symbols, sorted."""
    found: dict[str, tuple[str, ...]] = {}
    for symbol in sorted(needed_symbols(elf) & kernel.exports.keys()):
        module = kernel.exports[symbol].module
        if module != _KERNEL:
            found[module_name(module)] = (*found.get(module_name(module), ()), symbol)
    return found


def check_symbols(elf: ModuleElf, kernel: KernelFacts) -> tuple[list[Finding], list[str]]:
    """Rule 3: every needed symbol is exported by the kernel or an in-tree module of it.

    Returns:
        Findings, and notes on what could not be checked.
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
        if kernel.exports[symbol].module == _KERNEL and symbol not in kernel.kernel_symbols
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


def check_crcs(elf: ModuleElf, kernel: KernelFacts) -> tuple[list[Finding], list[str]]:
    """Rule 4: the module's symbol CRCs are those of the kernel (kernel/module/version.c, check_version).

    Returns:
        Findings, and a note where the kernel has no CRCs.
    """
    if not kernel.modversions:
        return [], [f"{kernel.kernel} has no symbol CRCs (CONFIG_MODVERSIONS is off): rule 4 does not apply"]
    # A kernel of 6.14 or newer relies on the extended table alone where there is one.
    effective = elf.extended_versions if elf.loaded("__version_ext_crcs") else elf.versions
    if not effective:
        return [
            Finding(
                "crcs",
                "crc-missing",
                "the module has no symbol CRCs at all: it was built without Module.symvers of the kernel",
                expected="an entry in __versions for every symbol",
                actual="no entry",
            )
        ], []
    return [*_missing(elf, kernel, effective.keys()), *_different(elf, kernel)], _passed_over(elf)


def _passed_over(elf: ModuleElf) -> list[str]:
    """Note entries that the kernel never comes to: of no name, or behind another of the same symbol."""
    entries = len(elf.version_entries) + len(elf.extended_entries)
    read = len(elf.versions) + len(elf.extended_versions)
    if entries == read:
        return []
    ignored = f"{entries - read} of {entries}"
    return [f"{ignored} CRCs have no symbol or follow another of the same symbol: the kernel ignores them"]


def _missing(elf: ModuleElf, kernel: KernelFacts, present: Iterable[str]) -> list[Finding]:
    wanted = resolved_symbols(elf, kernel) | ({LAYOUT_SYMBOL} & kernel.exports.keys())
    # modpost writes no entry for an export that has no CRC itself; symvers has 0 there.
    missing = sorted({symbol for symbol in wanted if kernel.exports[symbol].crc} - set(present))
    if not missing:
        return []
    return [
        Finding(
            "crcs",
            "crc-missing",
            f"{count(missing)} without a CRC, which the kernel would load unchecked: {some(missing)}",
            expected="an entry in __versions for every symbol",
            actual=some(missing),
        )
    ]


def _different(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    entries = sorted({*elf.versions.items(), *elf.extended_versions.items()})
    findings = []
    stray = sorted({name for name, _ in entries} - kernel.exports.keys() - needed_symbols(elf))
    if stray:
        findings.append(
            Finding(
                "crcs",
                "version-unknown",
                f"the module has CRCs of what {kernel.kernel} does not export: {some(stray)}",
                expected="only symbols of Module.symvers",
                actual=some(stray),
            )
        )
    wrong = [(name, crc) for name, crc in entries if name in kernel.exports and kernel.exports[name].crc != crc]
    if not wrong:
        return findings
    wrong.sort(key=lambda entry: (entry[0] != LAYOUT_SYMBOL, entry))
    names = list(dict.fromkeys(name for name, _ in wrong))
    layout = names[0] == LAYOUT_SYMBOL
    findings.append(
        Finding(
            "crcs",
            "module-layout-mismatch" if layout else "crc-mismatch",
            f"{count(names)} with another CRC than in {kernel.kernel}: {some(names)}; {_cause(names, kernel)}",
            expected=some(f"{name} 0x{kernel.exports[name].crc:08x}" for name, _ in wrong),
            actual=some(f"{name} 0x{crc:08x}" for name, crc in wrong),
        )
    )
    return findings


def _cause(names: list[str], kernel: KernelFacts) -> str:
    if names[0] == LAYOUT_SYMBOL:
        return "struct module itself differs: built against the headers of another kernel"
    owners = sorted({module_name(kernel.exports[name].module) for name in names})
    if _KERNEL in owners:
        return "built against other headers or another Module.symvers"
    return f"all are of {some(owners)}: built against foreign headers of these, such as an OFED package"


def check_providers(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    """Rule 5: each in-tree module whose exports are used is in the node's module tree, or built in."""
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
    """Rule 7, first half: exports for GPL-compatible modules only are used by such a module only.

    The kernel takes the first licence, modpost (scripts/mod/modpost.c) all of them; a weak symbol that a module may
    not use is merely not found.
    """
    licences = elf.modinfo.get("license", ())
    gpl = sorted(name for name in needed_symbols(elf) & kernel.exports.keys() if kernel.exports[name].gpl)
    if not gpl or all(licence in _GPL_COMPATIBLE for licence in licences):
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
    """Rule 7, second half: the namespaces of all used symbols are imported.

    A namespace `module:a,b*` (Linux 6.16, kernel/module/main.c, verify_module_namespace) cannot be
    imported: it admits modules by name.

    Returns:
        Findings, or notes where the kernel only warns (CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS).
    """
    missing: dict[str, list[str]] = {}
    for symbol in sorted(resolved_symbols(elf, kernel)):
        space = kernel.exports[symbol].namespace
        if space and not _admitted(space, elf):
            missing.setdefault(space, []).append(symbol)
    findings = [
        Finding(
            "licence",
            "namespace-not-imported",
            f"{count(symbols)} of namespace {space}, which the module does not import: {some(symbols)}",
            expected=space,
            actual=", ".join(elf.modinfo.get("import_ns", ())),
        )
        for space, symbols in sorted(missing.items())
    ]
    if kernel.namespaces_enforced:
        return findings, []
    return [], [f"{finding.message}; {kernel.kernel} only warns of that" for finding in findings]


def _admitted(space: str, elf: ModuleElf) -> bool:
    if space.startswith("module:"):
        patterns = space.removeprefix("module:").split(",")
        return any(fnmatchcase(elf.first("name") or "", pattern) for pattern in patterns)
    return space in elf.modinfo.get("import_ns", ())
