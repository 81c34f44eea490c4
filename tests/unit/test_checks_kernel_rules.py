"""Each refusal in the kernel's load path has a static check of ours, or a reason why there can be none.

The rows follow load_module in kernel/module/main.c, with signing.c, version.c, strict_rwx.c and module_signature.c,
of torvalds/linux as of 6.12 to 6.14, of Debian's 6.1 and 6.12, and of a 5.14 with Red Hat's patches
(ctrliq/kernel-src-tree); `since` is for what 5.14 lets pass.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import pytest

from kmatrix.decide.formats.elf import MalformedElfError, read_module
from tests.unit.support.check_case import (
    CELL,
    EXPORTS,
    IN_TREE,
    KERNEL,
    KO,
    TOOLKIT,
    USED,
    Case,
    exporting,
    said,
    versions,
)
from tests.unit.support.elf_maker import AARCH64, ALLOC, EXECUTE, NOBITS, SHARED, WRITE, Ko

_THIS_MODULE = ".gnu.linkonce.this_module"
_SIGNATURE = b"~Module signature appended~\n"
_BOOT = "the boot gate finds it"
_MACHINE = "a matter of the node or of its kernel's settings, not of the module"
_SECRET = exporting(perhaps_there=(0x99, "vmlinux", "EXPORT_SYMBOL", "SECRET"))
_WEAK_PRESENT = exporting(perhaps_there=(0x99, "vmlinux", "EXPORT_SYMBOL", ""))


def signed(info: str, size: int = 5) -> Case:
    """A module with a signature of five bytes and this description of it."""
    length = size.to_bytes(4, "big")
    return Case(image={"ko": KO.build() + b"pkcs7" + bytes.fromhex(info) + length + _SIGNATURE})


def table(*entries: tuple[str, int]) -> bytes:
    """Content of `__versions`."""
    return b"".join(struct.pack("<Q56s", crc, name.encode()) for name, crc in entries)


def with_header(offset: int, value: int, size: int = 2) -> Case:
    """The baseline's file with another value in the ELF header."""
    whole = bytearray(KO.build())
    whole[offset : offset + size] = value.to_bytes(size, "little")
    return Case(image={"ko": bytes(whole)})


def with_section_zero(offset: int) -> Case:
    """The baseline's file with a value in its empty section."""
    whole = bytearray(KO.build())
    whole[int.from_bytes(whole[40:48], "little") + offset] = 1
    return Case(image={"ko": bytes(whole)})


def with_symbol(offset: int, value: int, size: int) -> Case:
    """The baseline's file with another value in its first symbol of its own."""
    whole = KO.build()
    symbols = read_symbols(whole)
    start = symbols + 24 + offset
    return Case(image={"ko": whole[:start] + value.to_bytes(size, "little") + whole[start + size :]})


def read_symbols(whole: bytes) -> int:
    """Where the symbol table lies."""
    start = int.from_bytes(whole[40:48], "little")
    for entry in range(start, len(whole), 64):
        if int.from_bytes(whole[entry + 4 : entry + 8], "little") == 2:
            return int.from_bytes(whole[entry + 24 : entry + 32], "little")
    raise AssertionError("no symbol table")


def arm_like(*sections: str) -> Case:
    """A kernel all of whose modules have these sections."""
    in_tree = replace(IN_TREE, extra=tuple((name, ALLOC, b"\0") for name in sections))
    return Case(toolkit=replace(TOOLKIT, in_tree={"x": in_tree.build()}))


@dataclass(frozen=True)
class Refusal:
    """One place where the kernel says no: its function, what it refuses, and our code or why we have none."""

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
        Case(replace(KO, drop=frozenset({_THIS_MODULE}))),
    ),
    Refusal(
        "elf_validity_cache_index_mod",
        "two of it",
        "elf-section-repeated",
        Case(replace(KO, extra=((_THIS_MODULE, ALLOC, bytes(64)),))),
        since="6.4",
    ),
    Refusal(
        "elf_validity_cache_index_mod",
        "it has no content",
        "elf-no-this-module",
        Case(replace(KO, kinds={_THIS_MODULE: NOBITS})),
        since="6.4",
    ),
    Refusal(
        "elf_validity_cache_index_mod",
        "it is not loaded",
        "elf-no-this-module",
        Case(replace(KO, flags={_THIS_MODULE: WRITE})),
    ),
    *(
        Refusal(
            "elf_validity_cache_index_mod",
            f"its size is {size}, not that of struct module",
            "this-module-size",
            Case(replace(KO, raw={_THIS_MODULE: bytes(size)})),
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
    # find_module_sections and what follows
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
        Case(replace(KO, versions=versions(perhaps_there=0x98)), _WEAK_PRESENT),
    ),
    Refusal("verify_namespace_is_imported", "namespace", "namespace-not-imported", Case(said(import_ns=None))),
    Refusal(
        "verify_namespace_is_imported",
        "namespace of a weak symbol",
        "namespace-not-imported",
        Case(replace(KO, versions=versions(perhaps_there=0x99)), _SECRET),
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
    codes = {finding.code for finding in report.findings} - _TOOLS
    assert codes == {refusal.code}


# The image's own modinfo and modprobe are made up from what the test asked for, not from the file's bytes.
_TOOLS = {"modinfo-disagrees", "modversions-disagree"}


def test_each_refusal_has_a_check_or_a_reason() -> None:
    for row in REFUSALS:
        assert bool(row.code) == (row.case is not None) != bool(row.why_none), row


LOADED = {
    "empty entry at the head of __versions": Case(replace(KO, raw={"__versions": table(("", 0), *versions().items())})),
    "second CRC of a symbol, behind the right one": Case(
        replace(KO, raw={"__versions": table(*versions().items(), ("_printk", 0xDEAD))})
    ),
    "empty name in the extended table": Case(
        replace(
            KO,
            extended={},
            raw={
                "__version_ext_names": b"\0" + b"".join(f"{name}\0".encode() for name in versions()) + b"\0",
                "__version_ext_crcs": struct.pack(f"<{len(versions()) + 1}I", 7, *versions().values()),
            },
        )
    ),
    "weak symbol that nobody exports": Case(replace(KO, weak=("nowhere",))),
    "weak symbol that is exported": Case(replace(KO, versions=versions(perhaps_there=0x99)), _WEAK_PRESENT),
    "common symbol of the compiler's link-time optimisation": Case(replace(KO, common=("__gnu_lto_slim",))),
    "second import of a namespace": Case(
        replace(KO, modinfo=(*KO.modinfo, ("import_ns", "ANOTHER"), ("import_ns", "THIRD")))
    ),
    "licence stated by each source": Case(replace(KO, modinfo=(*KO.modinfo, ("license", "GPL")))),
    "same vermagic twice": Case(replace(KO, modinfo=(*KO.modinfo, KO.modinfo[-1]))),
    "export of its own": Case(
        replace(KO, exported=("beegfs_hook",), extra=(("__ksymtab", ALLOC, bytes(12)), ("__kcrctab", ALLOC, bytes(4))))
    ),
    "relocations of the kernel's own code": Case(replace(KO, relocations=(0, 1, 2, 4, 10, 11, 24))),
    "relocations of a section that is not loaded": Case(replace(KO, relocations=(9,), relocated=".comment")),
    "signature": signed("0000020000000000"),
}


@pytest.mark.parametrize("what", LOADED)
def test_what_the_kernel_loads_passes(what: str) -> None:
    findings = [finding for finding in LOADED[what].check().findings if finding.code not in _TOOLS]
    assert findings == []


def test_entries_that_the_kernel_ignores_are_noted() -> None:
    assert not any("ignores" in note for note in Case().check().notes)
    report = Case(replace(KO, raw={"__versions": table(("", 0), *versions().items(), ("_printk", 1))})).check()
    (note,) = [note for note in report.notes if "ignores" in note]
    assert note.startswith(f"2 of {len(versions()) + 2} CRCs")


def test_modprobes_table_is_compared_as_it_is() -> None:
    """kmod-project/kmod, libkmod/libkmod-elf.c (kmod_elf_get_modversions): all entries, in their order."""
    entries = (("", 0), ("_printk", EXPORTS["_printk"][0]), *versions().items())
    dump = "".join(f"0x{crc:08x}\t{name}\n" for name, crc in entries)
    ko = replace(KO, raw={"__versions": table(*entries)})
    image = {"modversions": replace(Case().facts().modversions, text=dump)}
    assert Case(ko, image=image).check().findings == ()
    (finding,) = Case(ko).check().findings
    assert finding.code == "modversions-disagree"


@pytest.mark.parametrize("key", ["vermagic", "name", "version", "depends", "srcversion", "retpoline"])
def test_two_answers_to_one_question_are_a_finding(key: str) -> None:
    ko = replace(KO, modinfo=(*KO.modinfo, (key, "another")))
    (finding,) = Case(ko).check().findings
    assert finding.code == "modinfo-repeated"
    assert finding.actual.startswith(f"{key}: ")
    assert finding.actual.endswith(", another")


def test_relocations_go_by_the_architecture() -> None:
    """torvalds/linux, arch/arm64/kernel/module.c: 311 is one through a table that modules do not have."""
    arm = replace(CELL, arch="aarch64")
    known = replace(KO, machine=AARCH64, relocations=(257, 275, 283, 299))
    assert Case(known, cell=arm).check().passed
    (finding,) = Case(replace(known, relocations=(257, 311)), cell=arm).check().findings
    assert (finding.code, finding.actual) == ("elf-relocation-unknown", "311")
    power = replace(CELL, arch="ppc64le")
    assert Case(replace(KO, machine=21, relocations=(999,)), cell=power).check().passed


def test_another_struct_module_is_one_finding() -> None:
    ko = replace(KO, raw={_THIS_MODULE: bytes(72)}, versions=versions(module_layout=1))
    assert [finding.code for finding in Case(ko).check().findings] == ["module-layout-mismatch"]


def test_struct_module_is_compared_also_where_the_kernel_has_no_crcs() -> None:
    config = TOOLKIT.config.replace("CONFIG_MODVERSIONS=y\n", "")
    ko = replace(KO, raw={_THIS_MODULE: bytes(72)}, versions=versions(module_layout=1))
    (finding,) = Case(ko, replace(TOOLKIT, config=config)).check().findings
    assert (finding.code, finding.expected, finding.actual) == (
        "this-module-size",
        f"64 bytes in {_THIS_MODULE}",
        "72 bytes",
    )


def test_a_kernel_that_only_warns_of_namespaces_makes_notes() -> None:
    config = TOOLKIT.config + "CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y\n"
    report = Case(said(import_ns=None), replace(TOOLKIT, config=config)).check()
    assert report.passed
    assert any("only warns" in note for note in report.notes)


def test_a_kernel_without_strict_permissions_takes_writable_code() -> None:
    config = TOOLKIT.config.replace("CONFIG_STRICT_MODULE_RWX=y\n", "")
    ko = replace(KO, extra=((".text.bad", ALLOC | WRITE | EXECUTE, b"\xc3"),))
    assert Case(ko, replace(TOOLKIT, config=config)).check().passed


def test_exports_need_no_crcs_where_the_kernel_has_none() -> None:
    config = TOOLKIT.config.replace("CONFIG_MODVERSIONS=y\n", "")
    ko = replace(KO, exported=("beegfs_hook",), extra=(("__ksymtab", ALLOC, bytes(12)),))
    assert Case(ko, replace(TOOLKIT, config=config)).check().passed


def test_loader_sections_are_asked_for_only_if_every_module_has_them() -> None:
    bare = IN_TREE.build()
    case = arm_like(".plt")
    mixed = replace(case.toolkit, in_tree={**case.toolkit.in_tree, "y": bare})
    assert Case(toolkit=mixed).check().passed
    assert Case(replace(KO, extra=((".plt", ALLOC, b"\0"),)), case.toolkit).check().passed


def test_a_symbol_that_is_both_weak_and_strong_must_be_there() -> None:
    elf = read_module(Ko(undefined=("both",), weak=("both",)).build())
    assert (elf.undefined, elf.weak) == (frozenset({"both"}), frozenset())


def test_the_kernels_own_section_is_the_first_that_is_loaded() -> None:
    """torvalds/linux, kernel/module/main.c (find_sec): one that is not loaded is passed over."""
    good = table(*versions().items())
    ko = replace(KO, flags={"__versions": 0}, raw={"__versions": bytes(64)}, extra=(("__versions", ALLOC, good),))
    assert read_module(ko.build()).versions == versions()


def test_names_of_sections_must_be_whole() -> None:
    whole = bytearray(KO.build())
    table_start = int.from_bytes(whole[40:48], "little")
    index = int.from_bytes(whole[62:64], "little")
    entry = table_start + 64 * index
    names = int.from_bytes(whole[entry + 24 : entry + 32], "little")
    size = int.from_bytes(whole[entry + 32 : entry + 40], "little")
    whole[names + size - 1] = ord("x")
    with pytest.raises(MalformedElfError, match="names of sections"):
        read_module(bytes(whole))
