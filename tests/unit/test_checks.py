"""Each check reports its own code, and that alone, when exactly one thing is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.values.labels import ARCH, CELL_KEY, CLIENT, VERSION, cell_labels
from kmatrix.values.labels import KERNEL as KERNEL_LABEL
from kmatrix.values.module import ToolOutput
from tests.unit.support.check_case import (
    CELL,
    EXPORTS,
    IMAGE_DEP,
    KERNEL,
    KO,
    OPT,
    TOOLKIT,
    TREE,
    USED,
    Case,
    exporting,
    modules_dep,
    said,
    versions,
)
from tests.unit.support.elf_maker import AARCH64, SHARED

_NO_RDMA = tuple(name for name in USED if "infiniband" not in EXPORTS[name][1])
_LABELS = cell_labels(CELL, "sha256:key")
_KSYMTAB = "".join(
    f"ffffffff8{number:07x} r __ksymtab_{name}\n" for number, name in enumerate(EXPORTS) if name != "_printk"
)

ONE_FAULT = {
    "elf-garbage": [Case(image={"ko": b"#!/bin/sh\n"}), Case(image={"ko": b""})],
    "elf-truncated": [
        Case(image={"ko": KO.build()[:-1]}),
        Case(image={"ko": KO.build()[:40]}),
        Case(image={"ko": KO.build() + b"\0"}),
    ],
    "elf-malformed": [
        Case(replace(KO, raw={"__versions": bytes(63)})),
        Case(replace(KO, extended={"_printk": 1}, raw={"__version_ext_crcs": bytes(8)})),
        Case(replace(KO, drop=frozenset({".strtab"}))),
    ],
    "elf-wrong-arch": [Case(replace(KO, machine=AARCH64)), Case(replace(KO, order=">"))],
    "elf-not-relocatable": [Case(replace(KO, kind=SHARED))],
    "elf-no-symbols": [
        Case(replace(KO, drop=frozenset({".symtab", ".strtab"}))),
        Case(replace(KO, raw={".symtab": bytes(24)})),
    ],
    "elf-no-modinfo": [Case(replace(KO, drop=frozenset({".modinfo"})))],
    "elf-no-this-module": [Case(replace(KO, drop=frozenset({".gnu.linkonce.this_module"})))],
    "modinfo-missing": [
        Case(said(name=None)),
        Case(said(version=None)),
        Case(said(vermagic=None)),
        Case(said(license=None)),
    ],
    "name-wrong": [Case(said(name="beegfs_old"))],
    "version-wrong": [Case(said(version="7.4.5")), Case(said(version="7.4"))],
    "vermagic-mismatch": [
        Case(said(vermagic=f"6.1.0-56-amd64{KO.modinfo[-1][1].removeprefix(KERNEL)}")),
        Case(said(vermagic=f"{KERNEL} SMP preempt_rt mod_unload modversions ")),
        Case(said(vermagic=f"{KERNEL} SMP preempt mod_unload ")),
        Case(said(vermagic=KO.modinfo[-1][1].rstrip())),
        Case(said(vermagic="")),
    ],
    "symbol-unknown": [Case(replace(KO, undefined=(*USED, "no_such_symbol")))],
    "symbol-not-in-kernel": [Case(toolkit=replace(TOOLKIT, system_map=_KSYMTAB))],
    "crc-missing": [
        Case(replace(KO, versions=None)),
        Case(replace(KO, versions=versions(_printk=None))),
        Case(replace(KO, versions=versions(module_layout=None))),
        Case(replace(KO, extended=versions(_printk=None))),
    ],
    "crc-mismatch": [
        Case(replace(KO, versions=versions(_printk=1))),
        # Not even undefined in the module, and still looked at.
        Case(replace(KO, versions=versions(unused=1))),
        Case(replace(KO, extended=versions(_printk=1))),
        # The word is 64 bits wide and compared as such.
        Case(replace(KO, versions=versions(_printk=EXPORTS["_printk"][0] | 1 << 32))),
    ],
    "module-layout-mismatch": [Case(replace(KO, versions=versions(module_layout=1, _printk=1)))],
    "version-unknown": [Case(replace(KO, versions=versions(gone_since=1)))],
    "provider-missing": [Case(toolkit=replace(TOOLKIT, present=frozenset(TREE) - {"kernel/lib/libcrc32c.ko.xz"}))],
    "depends-missing": [Case(said(depends="ib_core,rdma_cm"))],
    "depends-open": [
        Case(toolkit=replace(TOOLKIT, modules_dep=modules_dep({k: v for k, v in TREE.items() if "crc" not in k}))),
        Case(toolkit=replace(TOOLKIT, present=frozenset(path for path in TREE if "iw-cm" not in path))),
        Case(said(depends="ib_core,rdma_cm,libcrc32c,not_there")),
    ],
    "alias-missing": [Case(said(alias=None)), Case(said(alias="fs-other"))],
    "rdma-off": [
        Case(replace(said(depends="libcrc32c"), undefined=_NO_RDMA)),
        Case(replace(said(depends="libcrc32c,ib_core"), undefined=_NO_RDMA)),
    ],
    "licence-incompatible": [Case(said(license="Proprietary"))],
    "namespace-not-imported": [
        Case(said(import_ns=None)),
        Case(said(import_ns="OTHER")),
        Case(toolkit=exporting(_printk=(EXPORTS["_printk"][0], "vmlinux", "EXPORT_SYMBOL", "module:kvm,xfs*"))),
    ],
    "retpoline-missing": [Case(said(retpoline=None)), Case(said(retpoline="N"))],
    "compiler-mismatch": [
        Case(replace(KO, comment=("clang version 16.0.6 (Red Hat 16.0.6-1.el9)",))),
        Case(replace(KO, comment=("Debian clang version 14.0.6", "Linker: Debian LLD 14.0.6"))),
        Case(replace(KO, comment=("clang version 16.0.6", "rustc version 1.78.0"))),
    ],
    "srcversion-missing": [Case(said(srcversion=None)), Case(said(srcversion=""))],
    "layout-no-module": [Case(image={"module_paths": (), "ko": None})],
    "layout-directory": [
        Case(image={"module_paths": (f"/lib/modules/{KERNEL}/extra/beegfs.ko",)}),
        Case(image={"module_paths": ("/opt/lib/modules/5.14.0-70.el9.x86_64/extra/beegfs.ko",)}),
    ],
    "layout-duplicate": [Case(image={"module_paths": (f"{OPT}/beegfs.ko", f"{OPT}/extra/beegfs.ko.xz")})],
    "layout-modules-dep": [
        Case(image={"modules_dep": None}),
        Case(image={"modules_dep": ""}),
        Case(image={"modules_dep": "not a dependency file\n"}),
        Case(image={"modules_dep": IMAGE_DEP.replace("extra/", "old/")}),
        Case(image={"modules_dep": "extra/beegfs.ko:\n"}),
        Case(image={"modules_dep": IMAGE_DEP.replace("host/", "")}),
        Case(image={"modules_dep": IMAGE_DEP.replace("host/kernel/lib", "host/updates")}),
        Case(image={"modules_dep": IMAGE_DEP.replace("iw-cm", "iw-xx")}),
    ],
    "label-mismatch": [
        *(
            Case(image={"labels": {**_LABELS, label: "other"}})
            for label in (VERSION, CLIENT, KERNEL_LABEL, ARCH, CELL_KEY)
        ),
        Case(image={"labels": {key: value for key, value in _LABELS.items() if key != CELL_KEY}}),
    ],
    "host-link": [Case(image={"host_link": None}), Case(image={"host_link": f"/host/lib/modules/{KERNEL}"})],
    "layout-no-cp": [Case(image={"has_cp": False})],
    "modinfo-failed": [Case(image={"modinfo": ToolOutput(1, "")})],
    "modinfo-disagrees": [
        Case(image={"modinfo": ToolOutput(0, "")}),
        Case(image={"modinfo": ToolOutput(0, Case(said(srcversion="OTHER")).facts().modinfo.text)}),
    ],
    "modversions-failed": [Case(image={"modversions": ToolOutput(1, "")})],
    "modversions-disagree": [
        Case(image={"modversions": ToolOutput(0, "")}),
        Case(
            image={
                "modversions": ToolOutput(0, Case(replace(KO, versions=versions(_printk=1))).facts().modversions.text)
            }
        ),
    ],
}


def test_baseline_passes() -> None:
    report = Case().check()
    assert report.findings == ()
    assert report.passed
    assert report.srcversion == "533BB7E5866E52F63B9ACCB"


@pytest.mark.parametrize(
    ("code", "case"),
    [pytest.param(code, case, id=code) for code, cases in ONE_FAULT.items() for case in cases],
)
def test_one_fault_gives_its_code_alone(code: str, case: Case) -> None:
    report = case.check()
    assert [finding.code for finding in report.findings] == [code]
    assert not report.passed
    finding = report.findings[0]
    assert finding.check
    assert finding.message
    assert "\n" not in finding.message


def test_a_module_without_depends_field_is_reported() -> None:
    assert "modinfo-missing" in {finding.code for finding in Case(said(depends=None)).check().findings}
