"""Details of findings, and cases that the checks leave alone on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.checks import check_module
from kmatrix.decide.checks.layout import parse_modinfo
from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.values.cells import Finding
from kmatrix.values.labels import CELL_KEY, cell_labels
from kmatrix.values.module import Expectation, ToolOutput, module_name
from kmatrix.values.names import ClientVersion
from tests.unit.support.check_case import (
    CELL,
    COMPILER,
    EXPORTS,
    KERNEL,
    KO,
    TOOLKIT,
    TREE,
    USED,
    VERMAGIC,
    Case,
    exporting,
    said,
    versions,
)
from tests.unit.support.elf_maker import AARCH64, S390, Ko


def only(case: Case) -> Finding:
    """Return the one finding of a case."""
    (finding,) = case.check().findings
    return finding


@pytest.mark.parametrize(
    ("vermagic", "words"),
    [
        ("6.1.0-56-amd64 SMP preempt mod_unload modversions ", ("6.1.0-56-amd64", KERNEL)),
        (f"{KERNEL} SMP preempt_rt mod_unload modversions ", ("real-time kernel, not for a standard",)),
        (f"{KERNEL}+rt SMP preempt_rt mod_unload modversions ", (f"{KERNEL}+rt", "real-time kernel")),
        (f"{KERNEL} SMP preempt mod_unload ", ("flags 'SMP preempt mod_unload'",)),
        (VERMAGIC.rstrip(), ("blanks",)),
        ("", ("built for kernel (none)",)),
    ],
)
def test_vermagic_names_the_cause(vermagic: str, words: tuple[str, ...]) -> None:
    finding = only(Case(said(vermagic=vermagic)))
    assert (finding.expected, finding.actual) == (VERMAGIC, vermagic)
    assert all(word in finding.message for word in words)


def test_standard_module_on_real_time_kernel() -> None:
    magic = f"{KERNEL} SMP preempt_rt mod_unload modversions "
    in_tree = Ko(modinfo=(("vermagic", magic), ("retpoline", "Y")), comment=(COMPILER,))
    finding = only(Case(toolkit=replace(TOOLKIT, in_tree={"x": in_tree.build()})))
    assert "built for a standard kernel, not for a real-time one" in finding.message


def test_many_crcs_make_one_finding_with_module_layout_first() -> None:
    wrong = {name: crc ^ 1 for name, crc in versions().items()}
    finding = only(Case(replace(KO, versions=wrong)))
    assert finding.message.startswith(f"{len(wrong)} symbols with another CRC")
    assert f"{KERNEL}: module_layout, " in finding.message
    assert "and 5 more" in finding.message
    assert "struct module itself differs" in finding.message
    assert finding.expected.startswith("module_layout 0x11111111")
    assert finding.actual.startswith("module_layout 0x11111110")


def test_foreign_rdma_headers_are_named() -> None:
    assert "OFED" in only(Case(replace(KO, versions=versions(__ib_alloc_pd=1)))).message
    assert "OFED" not in only(Case(replace(KO, versions=versions(__ib_alloc_pd=1, _printk=1)))).message


def test_extended_versions_alone_suffice() -> None:
    assert Case(replace(KO, versions=None, extended=versions())).check().passed
    # modprobe of an older kmod shows the basic table only.
    both = Case(replace(KO, extended=versions()))
    assert Case(both.ko, image={"modversions": Case().facts().modversions}).check().passed


def test_without_modversions_rule_4_says_that_it_does_not_apply() -> None:
    bare = exporting(**{name: (0, *rest) for name, (_, *rest) in EXPORTS.items()})  # type: ignore[arg-type]
    toolkit = replace(bare, config=TOOLKIT.config.replace("CONFIG_MODVERSIONS=y", "# CONFIG_MODVERSIONS is not set"))
    failed = {"modversions": ToolOutput(1, "0x00000001\tnever_read\n")}
    report = Case(replace(KO, versions=None), toolkit, image=failed).check()
    assert report.passed
    assert any("rule 4 does not apply" in note for note in report.notes)
    assert not any("rule 4" in note for note in Case().check().notes)


def test_system_map_is_used_where_it_is_one() -> None:
    own = [name for name, (_, module, *_) in EXPORTS.items() if module == "vmlinux"]
    full = "".join(f"ffffffff81000000 r __ksymtab_{name}\n" for name in own)
    stub = "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n"
    report = Case(toolkit=replace(TOOLKIT, system_map=full)).check()
    assert report.passed
    assert not report.notes
    lacking = full.replace("__ksymtab__printk", "_printk")
    assert only(Case(toolkit=replace(TOOLKIT, system_map=lacking))).actual == "_printk"
    (note,) = Case(toolkit=replace(TOOLKIT, system_map=stub)).check().notes
    assert "System.map" in note


def test_weak_and_linker_made_symbols_are_exempt() -> None:
    assert Case(replace(KO, undefined=(*USED, "_GLOBAL_OFFSET_TABLE_"))).check().passed
    assert Case(replace(KO, weak=("not_exported_anywhere",))).check().passed


def test_module_only_namespace_admits_by_name() -> None:
    crc = EXPORTS["_printk"][0]
    assert Case(toolkit=exporting(_printk=(crc, "vmlinux", "EXPORT_SYMBOL", "module:kvm,bee*"))).check().passed


def test_module_without_a_name_is_admitted_nowhere() -> None:
    toolkit = exporting(_printk=(EXPORTS["_printk"][0], "vmlinux", "EXPORT_SYMBOL", "module:bee*"))
    found = {finding.code for finding in Case(said(name=None), toolkit).check().findings}
    assert found == {"modinfo-missing", "namespace-not-imported"}


def test_builtin_providers_count_as_present() -> None:
    rest = {path: needs for path, needs in TREE.items() if "libcrc32c" not in path}
    toolkit = replace(
        TOOLKIT,
        present=frozenset(rest),
        modules_dep="".join(f"{path}: {needs}\n" for path, needs in rest.items()),
        modules_builtin="kernel/lib/libcrc32c.ko\n",
    )
    assert Case(toolkit=toolkit).check().passed
    assert Case(said(depends="ib_core,rdma_cm"), toolkit).check().passed


def test_builtin_rdma_is_not_off() -> None:
    builtin = "kernel/a/ib_core.ko\nkernel/a/rdma_cm.ko\n"
    case = Case(said(depends="libcrc32c"), replace(TOOLKIT, modules_builtin=builtin))
    assert case.check().passed


@pytest.mark.parametrize(
    ("image", "actual"),
    [
        ({"host_link": None}, "no symlink"),
        ({"host_link": f"/host/lib/modules/{KERNEL}"}, f"/host/lib/modules/{KERNEL}"),
        ({"modules_dep": "extra/other.ko:\n"}, "not listed"),
        ({"modules_dep": "old/beegfs.ko:\n"}, "old/beegfs.ko"),
        ({"modules_dep": "extra/beegfs.ko:\n"}, "no dependency"),
        ({"modules_dep": "extra/beegfs.ko: host/a.ko\n"}, "host/a.ko"),
        ({"labels": {**cell_labels(CELL, "sha256:key"), CELL_KEY: ""}}, "no such label"),
        ({"labels": {**cell_labels(CELL, "sha256:key"), CELL_KEY: "x"}}, "x"),
    ],
)
def test_findings_show_what_is_there(image: dict[str, object], actual: str) -> None:
    assert only(Case(image=image)).actual == actual


def test_other_machine_is_described() -> None:
    assert only(Case(replace(KO, machine=AARCH64))).actual == "EM_AARCH64, 64 bits, little endian"
    assert only(Case(replace(KO, order=">"))).actual == "EM_X86_64, 64 bits, big endian"


def test_module_without_any_crc_is_told_from_one_with_gaps() -> None:
    assert "no symbol CRCs at all" in only(Case(replace(KO, versions=None))).message
    assert "1 symbol without a CRC" in only(Case(replace(KO, versions=versions(_printk=None)))).message


def test_disagreeing_tools_are_shown_side_by_side() -> None:
    other = Case(replace(said(srcversion=None), versions=versions(_printk=1))).facts()
    finding = only(Case(image={"modinfo": other.modinfo}))
    assert finding.message.endswith("disagree about srcversion")
    assert (finding.expected, finding.actual) == ("srcversion: 533BB7E5866E52F63B9ACCB", "srcversion: (none)")
    assert only(Case(image={"modversions": other.modversions})).message.endswith("CRCs of _printk")


def test_absent_values_are_told_apart_from_wrong_ones() -> None:
    assert Case(said(srcversion=None)).check().srcversion == ""
    assert "there is no /opt" in only(Case(image={"modules_dep": None})).message


def test_rdma_not_asked_for_is_not_missed() -> None:
    undefined = tuple(name for name in USED if "infiniband" not in EXPORTS[name][1])
    assert Case(replace(said(depends="libcrc32c"), undefined=undefined), rdma=False).check().passed


def test_licence_matters_only_for_gpl_exports() -> None:
    undefined = tuple(name for name in USED if not EXPORTS[name][2].endswith("_GPL"))
    assert Case(replace(said(license="Proprietary"), undefined=undefined)).check().passed


def test_first_release_of_a_line_goes_without_its_zero() -> None:
    cell = replace(CELL, client=ClientVersion(7, 2, 0))
    assert Case(said(version="7.2"), cell=cell).check().passed
    assert Case(said(version="7.2.0"), cell=cell).check().passed


def test_big_endian_modules_are_read() -> None:
    made = replace(KO, machine=S390, order=">", extended=versions())
    assert Case(made, cell=replace(CELL, arch="s390x")).check().passed


def test_btf_is_noted() -> None:
    report = Case(replace(KO, raw={".BTF": b"\x9f\xeb"})).check()
    assert report.passed
    assert any("BTF" in note for note in report.notes)


def test_facts_of_another_kernel_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot judge"):
        check_module(
            Expectation(replace(CELL, kernel="6.1.0-1-amd64"), ""),
            Case().facts(),
            kernel_facts(KERNEL, TOOLKIT),
        )


def test_modinfo_output_with_signature_lines() -> None:
    text = "alias:          b\nalias:          a\nsignature:      12:AB:\n\t\t34:CD\nvermagic:       x SMP \n"
    assert parse_modinfo(text) == {"alias": ["a", "b"], "signature": ["12:AB:"], "vermagic": ["x SMP"]}


@pytest.mark.parametrize("path", ["kernel/net/nf-log.ko.xz", "nf_log.ko.zst", "net/nf-log", "nf_log", "a/nf_log.ko.gz"])
def test_module_names_are_one(path: str) -> None:
    assert module_name(path) == "nf_log"
