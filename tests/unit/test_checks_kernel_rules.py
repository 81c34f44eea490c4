"""Each refusal in the kernel's load path has a static check of ours, or a reason why there can be none.

The rows follow load_module in kernel/module/main.c, with signing.c, version.c, strict_rwx.c and module_signature.c,
of torvalds/linux as of 6.12 to 6.14, of Debian's 6.1 and 6.12, and of a 5.14 with Red Hat's patches
(ctrliq/kernel-src-tree); `since` marks rules that 5.14 lacks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import pytest

from tests.unit.support.changed_modules import (
    MADE_UP_TOOLS,
    SECRET,
    THIS_MODULE,
    WEAK_PRESENT,
    arm_like,
    signed,
    table,
    with_header,
    with_section_zero,
    with_symbol,
)
from tests.unit.support.check_case import (
    KERNEL,
    KO,
    USED,
    Case,
    said,
    versions,
)
from tests.unit.support.elf_maker import ALLOC, EXECUTE, NOBITS, SHARED, WRITE

_BOOT = "the boot gate finds it"
_MACHINE = "a matter of the node or of its kernel's settings, not of the module"


@dataclass(frozen=True)
class Refusal:
    """A place where the kernel refuses: its function, the refused case, and our code or why we have none."""

    function: str
    what: str
    code: str = ""
    case: Case | None = None
    why_none: str = ""
    since: str = "5.14"


REFUSALS = [
    # signing.c, module_signature.c
    Refusal("mod_check_sig", "length beyond the file", "elf-truncated", signed("0000020000000000", 1 << 20)),
    Refusal("mod_check_sig", "not PKCS#7", "signature-malformed", signed("0000010000000000")),
    *(
        Refusal(
            "mod_check_sig",
            f"byte {at} of the description",
            "signature-malformed",
            signed(bytes(2 if index == 2 else int(index == at) for index in range(8)).hex()),
        )
        for at in (0, 1, 3, 4, 5, 6, 7)
    ),
    Refusal("verify_pkcs7_signature", "signer unknown, or the file changed", why_none="where modules are signed"),
    Refusal("mod_is_hash_blacklisted", "hash on the node's list", why_none=_MACHINE),
    Refusal("module_sig_check", "unsigned, under enforcement or lockdown", why_none="the Secure Boot gate finds it"),
    # elf_validity_ehdr and elf_validity_cache_sechdrs, before 6.14 elf_validity_check
    Refusal("elf_validity_ehdr", "no whole header", "elf-truncated", Case(image={"ko": KO.build()[:40]})),
    Refusal("elf_validity_ehdr", "not ELF", "elf-garbage", Case(image={"ko": b"#!/bin/sh\n"})),
    Refusal("elf_validity_ehdr", "not relocatable", "elf-not-relocatable", Case(replace(KO, kind=SHARED))),
    Refusal("elf_validity_ehdr", "another architecture", "elf-wrong-arch", Case(replace(KO, machine=183))),
    Refusal("elf_validity_cache_sechdrs", "size of an entry", "elf-malformed", with_header(58, 63)),
    Refusal("elf_validity_cache_sechdrs", "section table beyond the end", "elf-truncated", with_header(60, 99)),
    Refusal("elf_validity_cache_sechdrs", "section 0 has a type", "elf-malformed", with_section_zero(4)),
    Refusal("elf_validity_cache_sechdrs", "section 0 has a size", "elf-malformed", with_section_zero(32)),
    Refusal("elf_validity_cache_sechdrs", "section 0 has an address", "elf-malformed", with_section_zero(16)),
    Refusal(
        "validate_section_offset",
        "section beyond the end",
        "elf-truncated",
        Case(image={"ko": KO.build()[:-1]}),
    ),
    Refusal("elf_validity_cache_secstrings", "no table of names", "elf-malformed", with_header(62, 0)),
    Refusal("elf_validity_cache_secstrings", "table of names not there", "elf-malformed", with_header(62, 500)),
    # elf_validity_cache_index_*, before 6.14 setup_load_info
    Refusal(
        "elf_validity_cache_index_info",
        "two sections .modinfo",
        "elf-section-repeated",
        Case(replace(KO, extra=((".modinfo", ALLOC, b"vermagic=x\0"),))),
        since="6.4",
    ),
    Refusal(
        "elf_validity_cache_index_mod",
        "no this_module",
        "elf-no-this-module",
        Case(replace(KO, drop=frozenset({THIS_MODULE}))),
    ),
    Refusal(
        "elf_validity_cache_index_mod",
        "two of it",
        "elf-section-repeated",
        Case(replace(KO, extra=((THIS_MODULE, ALLOC, bytes(64)),))),
        since="6.4",
    ),
    Refusal(
        "elf_validity_cache_index_mod",
        "it has no content",
        "elf-no-this-module",
        Case(replace(KO, kinds={THIS_MODULE: NOBITS})),
        since="6.4",
    ),
    Refusal(
        "elf_validity_cache_index_mod",
        "it is not loaded",
        "elf-no-this-module",
        Case(replace(KO, flags={THIS_MODULE: WRITE})),
    ),
    *(
        Refusal(
            "elf_validity_cache_index_mod",
            f"its size is {size}, not that of struct module",
            "this-module-size",
            Case(replace(KO, raw={THIS_MODULE: bytes(size)})),
            since="6.4",
        )
        for size in (1, 63, 65, 128)
    ),
    Refusal(
        "elf_validity_cache_index_sym",
        "no symbol table",
        "elf-no-symbols",
        Case(replace(KO, drop=frozenset({".symtab", ".strtab"}))),
    ),
    Refusal(
        "elf_validity_cache_index_sym",
        "two symbol tables",
        "elf-malformed",
        Case(replace(KO, raw={".more": KO.build()[:24]}, kinds={".more": 2})),
        since="6.4",
    ),
    Refusal(
        "elf_validity_cache_index_str",
        "no names of symbols",
        "elf-malformed",
        Case(replace(KO, drop=frozenset({".strtab"}))),
    ),
    Refusal(
        "elf_validity_cache_index_versions",
        "more CRCs than names",
        "elf-malformed",
        Case(replace(KO, extended={"_printk": 1}, raw={"__version_ext_crcs": bytes(8)})),
        since="6.14",
    ),
    Refusal(
        "elf_validity_cache_index_versions",
        "CRCs without names",
        "elf-malformed",
        Case(replace(KO, extended=versions(), drop=frozenset({"__version_ext_names"}))),
        since="6.14",
    ),
    Refusal(
        "elf_validity_cache_index_versions",
        "names without CRCs",
        "elf-malformed",
        Case(replace(KO, extended=versions(), drop=frozenset({"__version_ext_crcs"}))),
        since="6.14",
    ),
    Refusal(
        "elf_validity_cache_strtab",
        "names of symbols do not begin with zero",
        "elf-malformed",
        Case(replace(KO, raw={".strtab": b"x" * 999 + b"\0"})),
        since="6.14",
    ),
    Refusal(
        "elf_validity_cache_strtab",
        "nor end with it",
        "elf-malformed",
        Case(replace(KO, raw={".strtab": b"\0" + b"x" * 999})),
        since="6.14",
    ),
    Refusal(
        "elf_validity_cache_strtab",
        "name outside",
        "elf-malformed",
        with_symbol(0, 1 << 20, 4),
        since="6.14",
    ),
    # early_mod_check
    Refusal("blacklisted", "on the kernel's command line", why_none=_MACHINE),
    Refusal(
        "check_modstruct_version",
        "module_layout",
        "module-layout-mismatch",
        Case(replace(KO, versions=versions(module_layout=1))),
    ),
    Refusal("check_modinfo", "no vermagic", "modinfo-missing", Case(said(vermagic=None))),
    Refusal("check_modinfo", "another vermagic", "vermagic-mismatch", Case(said(vermagic=f"{KERNEL} SMP "))),
    Refusal("check_modinfo_livepatch", "livepatch where there is none", why_none="the client is no livepatch"),
    Refusal("module_patient_check_exists", "loaded already", why_none=_MACHINE),
    # layout_and_allocate
    *(
        Refusal(
            "module_frob_arch_sections, module_init_ftrace_plt",
            f"section {name} missing (arm64, powerpc)",
            "elf-no-loader-section",
            arm_like(name),
        )
        for name in (".plt", ".init.plt", ".text.ftrace_trampoline", ".stubs")
    ),
    Refusal(
        "module_enforce_rwx_sections",
        "a section to write and to run",
        "elf-writable-code",
        Case(replace(KO, extra=((".text.bad", ALLOC | WRITE | EXECUTE, b"\xc3"),))),
    ),
    Refusal("move_module, percpu_modalloc", "no memory", why_none=_BOOT),
    # find_module_sections and later
    Refusal("find_module_sections", ".ctors and .init_array", why_none="kernels with KASAN or GCOV alone"),
    Refusal(
        "check_export_symbol_versions",
        "exports without CRCs",
        "export-without-crc",
        Case(replace(KO, extra=(("__ksymtab_gpl", ALLOC, bytes(12)),))),
    ),
    # simplify_symbols, resolve_symbol
    Refusal("simplify_symbols", "a common symbol", "symbol-common", Case(replace(KO, common=("buffer",)))),
    Refusal("simplify_symbols", "section of a symbol", "elf-malformed", with_symbol(6, 200, 2), since="6.12"),
    Refusal("simplify_symbols", "unknown", "symbol-unknown", Case(replace(KO, undefined=(*USED, "gone")))),
    Refusal("simplify_symbols", "without a name", "symbol-unknown", Case(replace(KO, undefined=(*USED, "")))),
    Refusal("find_symbol", "GPL-only", "licence-incompatible", Case(said(license="Proprietary"))),
    Refusal("inherit_taint", "of a proprietary module", why_none="no module of the kernel's own tree is"),
    Refusal("check_version", "CRC", "crc-mismatch", Case(replace(KO, versions=versions(_printk=1)))),
    Refusal("check_version", "no table", "crc-missing", Case(replace(KO, versions=None))),
    Refusal(
        "check_version",
        "table not loaded",
        "crc-missing",
        Case(replace(KO, flags={"__versions": 0}), image={"modversions": Case().facts().modversions}),
    ),
    Refusal(
        "check_version",
        "first of two CRCs",
        "crc-mismatch",
        Case(replace(KO, raw={"__versions": table(("_printk", 0xDEAD), *versions().items())})),
    ),
    Refusal(
        "check_version",
        "first of two CRCs, extended",
        "crc-mismatch",
        Case(
            replace(
                KO,
                extended={},
                raw={
                    "__version_ext_names": b"".join(f"{name}\0".encode() for name in ("_printk", *versions())),
                    "__version_ext_crcs": struct.pack(f"<{len(versions()) + 1}I", 7, *versions().values()),
                },
            )
        ),
        since="6.14",
    ),
    Refusal(
        "check_version",
        "CRC of a weak symbol that is there",
        "crc-mismatch",
        Case(replace(KO, versions=versions(perhaps_there=0x98)), WEAK_PRESENT),
    ),
    Refusal("verify_namespace_is_imported", "namespace", "namespace-not-imported", Case(said(import_ns=None))),
    Refusal(
        "verify_namespace_is_imported",
        "namespace of a weak symbol",
        "namespace-not-imported",
        Case(replace(KO, versions=versions(perhaps_there=0x99)), SECRET),
    ),
    Refusal("ref_module", "provider going away", why_none=_MACHINE),
    *(
        Refusal(
            "apply_relocate_add",
            f"relocation of type {kind}, as of -fPIC",
            "elf-relocation-unknown",
            Case(replace(KO, relocations=(2, kind))),
        )
        for kind in (9, 41, 42)
    ),
    Refusal("apply_relocate_add", "overflow, place not zero", why_none=_BOOT),
    Refusal("module_finalize", "what the architecture adds", why_none=_BOOT),
    # complete_formation and the rest
    Refusal(
        "verify_exported_symbols",
        "export of the kernel's",
        "export-repeated",
        Case(replace(KO, exported=("_printk",))),
    ),
    Refusal("module_bug_finalize, ftrace, btf_module_notify, parse_args, mod_sysfs_setup, init", "all", why_none=_BOOT),
]


@pytest.mark.parametrize(
    "refusal", [pytest.param(row, id=f"{row.function}: {row.what}") for row in REFUSALS if row.case is not None]
)
def test_what_the_kernel_refuses_is_found(refusal: Refusal) -> None:
    assert refusal.case is not None
    report = refusal.case.check()
    codes = {finding.code for finding in report.findings} - MADE_UP_TOOLS
    assert codes == {refusal.code}


def test_each_refusal_has_a_check_or_a_reason() -> None:
    for row in REFUSALS:
        assert bool(row.code) == (row.case is not None) != bool(row.why_none), row
