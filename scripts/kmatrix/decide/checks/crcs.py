"""Judge the CRCs of a module's symbols against its kernel's (rule 4)."""

from __future__ import annotations

from collections.abc import Iterable

from kmatrix.decide.checks.symbols import VMLINUX, count, needed_symbols, resolved_symbols, some
from kmatrix.values.cells import Finding
from kmatrix.values.module import KernelFacts, ModuleElf, module_name

LAYOUT_SYMBOL = "module_layout"


def check_crcs(elf: ModuleElf, kernel: KernelFacts) -> tuple[list[Finding], list[str]]:
    """Check rule 4: the module's symbol CRCs are those of the kernel (kernel/module/version.c, check_version).

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
    """Note entries that the kernel never reads: without a name, or after another of the same symbol."""
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
                f"the module has CRCs of symbols that {kernel.kernel} does not export: {some(stray)}",
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
    if VMLINUX in owners:
        return "built against other headers or another Module.symvers"
    return f"all are of {some(owners)}: built against foreign headers of these, such as an OFED package"
