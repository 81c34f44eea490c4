"""Modules that the kernel loads pass the static checks, and rules that only some kernels have apply to those alone."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from kmatrix.decide.formats.elf import MalformedElfError, read_module
from tests.unit.support.changed_modules import (
    MADE_UP_TOOLS,
    THIS_MODULE,
    WEAK_PRESENT,
    arm_like,
    signed,
    table,
)
from tests.unit.support.check_case import (
    CELL,
    EXPORTS,
    IN_TREE,
    KO,
    TOOLKIT,
    Case,
    said,
    versions,
)
from tests.unit.support.elf_maker import AARCH64, ALLOC, EXECUTE, WRITE, Ko

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
    "weak symbol that is exported": Case(replace(KO, versions=versions(perhaps_there=0x99)), WEAK_PRESENT),
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
    findings = [finding for finding in LOADED[what].check().findings if finding.code not in MADE_UP_TOOLS]
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
    ko = replace(KO, raw={THIS_MODULE: bytes(72)}, versions=versions(module_layout=1))
    assert [finding.code for finding in Case(ko).check().findings] == ["module-layout-mismatch"]


def test_struct_module_is_compared_also_where_the_kernel_has_no_crcs() -> None:
    config = TOOLKIT.config.replace("CONFIG_MODVERSIONS=y\n", "")
    ko = replace(KO, raw={THIS_MODULE: bytes(72)}, versions=versions(module_layout=1))
    (finding,) = Case(ko, replace(TOOLKIT, config=config)).check().findings
    assert (finding.code, finding.expected, finding.actual) == (
        "this-module-size",
        f"64 bytes in {THIS_MODULE}",
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
    """torvalds/linux, kernel/module/main.c (find_sec): sections that are not loaded are skipped."""
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
