"""Judge whether the kernel's loader accepts the form of a module file (rule 1, and exports of rules 3 and 4)."""

from __future__ import annotations

from kmatrix.decide.checks.crcs import LAYOUT_SYMBOL
from kmatrix.decide.checks.symbols import count, some
from kmatrix.values.cells import Finding
from kmatrix.values.module import THIS_MODULE, KernelFacts, ModuleElf
from kmatrix.values.names import Arch

# Machine, bits, little endian (binutils' names for the ELF machine).
_ELF_OF_ARCH: dict[Arch, tuple[str, int, bool]] = {
    "x86_64": ("EM_X86_64", 64, True),
    "aarch64": ("EM_AARCH64", 64, True),
    "ppc64le": ("EM_PPC64", 64, True),
    "s390x": ("EM_S390", 64, False),
}
_REQUIRED_SECTIONS = {".modinfo": "elf-no-modinfo", THIS_MODULE: "elf-no-this-module"}
# The relocations that apply_relocate_add of arch/x86/kernel/module.c and arch/arm64/kernel/module.c can apply, the same
# from 5.14 to 6.12; the numbers are those of the processors' ELF supplements. The boot gate judges other architectures.
_RELOCATIONS = {
    "EM_X86_64": frozenset({0, 1, 2, 4, 10, 11, 24}),
    "EM_AARCH64": frozenset({0, *range(256, 281), *range(282, 294), 299}),
}
# The kernel's linker discards these, and the loader accepts a common symbol of that name.
_LTO_MARK = "__gnu_lto"


def check_elf(elf: ModuleElf, arch: Arch) -> list[Finding]:
    """Check that the file is a relocatable of the cell's architecture with the parts that loading needs."""
    form = (elf.machine, elf.bits, elf.little_endian)
    findings = []
    if form != _ELF_OF_ARCH[arch]:
        findings.append(
            Finding(
                "elf",
                "elf-wrong-arch",
                f"the module is not built for {arch}",
                expected=_form(_ELF_OF_ARCH[arch]),
                actual=_form(form),
            )
        )
    if not elf.relocatable:
        findings.append(
            Finding("elf", "elf-not-relocatable", "the file is not a relocatable object", expected="ET_REL")
        )
    if not elf.symbol_count:
        findings.append(
            Finding(
                "elf",
                "elf-no-symbols",
                "the module has no symbol table: it was stripped of more than debugging information",
                expected="strip --strip-debug at most",
            )
        )
    for section, code in _REQUIRED_SECTIONS.items():
        if finding := _check_required(elf, section, code):
            findings.append(finding)
    return findings


def _check_required(elf: ModuleElf, name: str, code: str) -> Finding | None:
    """Check a section that every module has exactly once.

    Linux 5.14 takes the first such section that is loaded, 6.12 requires exactly one (elf_validity_cache_index_mod).
    """
    found = elf.named(name)
    if not found:
        message = f"section {name} is missing: this is not a finished kernel module"
        return Finding("elf", code, message, expected=name)
    if len(found) > 1:
        message = f"the module has {len(found)} sections {name}: two modules were linked into one file"
        return Finding("elf", "elf-section-repeated", message, expected="one", actual=str(len(found)))
    if not found[0].loaded or not found[0].has_content:
        lacks = "is not marked as loaded" if found[0].has_content else "has no content"
        return Finding("elf", code, f"section {name} {lacks}: the kernel would not find it", expected=name)
    return None


def _form(form: tuple[str, int, bool]) -> str:
    machine, bits, little = form
    return f"{machine}, {bits} bits, {'little' if little else 'big'} endian"


def check_against_loader(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    """Check a file of sound form against this kernel's loader, except for the symbols it needs."""
    return [
        *_check_this_module(elf, kernel),
        *_check_sections(elf, kernel),
        *_check_relocations(elf),
        *_check_common(elf),
        *_check_exports(elf, kernel),
    ]


def _check_this_module(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    """Check the size of struct module.

    Linux 6.4 and newer refuse another size. An older kernel would use memory beyond the end of a shorter struct; it
    would load a longer one, which is refused here too: the headers were another kernel's, and its fields lie elsewhere.
    """
    (section,) = elf.named(THIS_MODULE)
    layout, wanted = elf.versions.get(LAYOUT_SYMBOL), kernel.exports.get(LAYOUT_SYMBOL)
    # The CRC of module_layout covers struct module: where it differs, that is the finding and not the size.
    if kernel.modversions and layout is not None and wanted is not None and layout != wanted.crc:
        return []
    if not kernel.this_module_size or section.size == kernel.this_module_size:
        return []
    message = f"struct module has another size than in {kernel.kernel}: built against the headers of another kernel"
    return [
        Finding(
            "elf",
            "this-module-size",
            message,
            expected=f"{kernel.this_module_size} bytes in {THIS_MODULE}",
            actual=f"{section.size} bytes",
        )
    ]


def _check_sections(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    findings = []
    writable = [section.name for section in elf.sections if section.writable_code]
    if kernel.strict_rwx and writable:
        message = f"{some(writable)} can be both written and run, which {kernel.kernel} refuses"
        findings.append(
            Finding("elf", "elf-writable-code", message, expected="no section with both flags", actual=some(writable))
        )
    lacking = sorted(name for name in kernel.loader_sections if not elf.named(name))
    if lacking:
        message = f"the module lacks {some(lacking)}: it was not linked with the kernel's script for modules"
        findings.append(Finding("elf", "elf-no-loader-section", message, expected=some(lacking), actual="no section"))
    return findings


def _check_relocations(elf: ModuleElf) -> list[Finding]:
    unknown = sorted(elf.relocation_types - _RELOCATIONS.get(elf.machine, elf.relocation_types))
    if not unknown:
        return []
    listed = some(map(str, unknown))
    message = f"the module has relocations of type {listed}, which the kernel's loader does not know"
    expected = "compiled with the kernel's own flags, without -fPIC"
    return [Finding("elf", "elf-relocation-unknown", message, expected=expected, actual=listed)]


def _check_common(elf: ModuleElf) -> list[Finding]:
    common = [name for name in elf.common if not name.startswith(_LTO_MARK)]
    if not common:
        return []
    message = f"{count(common)} left to the linker ({some(common)}), which the kernel's loader cannot place"
    return [Finding("symbols", "symbol-common", message, expected="compiled with -fno-common", actual=some(common))]


def _check_exports(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    """Check the module's own exports: no name of the kernel's, and CRCs if the kernel has them.

    kernel/module/main.c: verify_exported_symbols, check_export_symbol_versions.
    """
    findings = []
    twice = sorted(elf.exported & kernel.exports.keys())
    if twice:
        message = f"the module exports {some(twice)}, as {kernel.kernel} or a module of it already does"
        findings.append(Finding("symbols", "export-repeated", message, expected="names of its own", actual=some(twice)))
    bare = [
        name
        for name, crcs in (("__ksymtab", "__kcrctab"), ("__ksymtab_gpl", "__kcrctab_gpl"))
        if (table := elf.loaded(name)) and table.size and not elf.loaded(crcs)
    ]
    if kernel.modversions and bare:
        message = f"the module exports symbols ({some(bare)}) without CRCs, which {kernel.kernel} refuses"
        findings.append(Finding("crcs", "export-without-crc", message, expected="section __kcrctab", actual=some(bare)))
    return findings
