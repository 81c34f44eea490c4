"""Judge the facts that a module states about itself (rules 2, 6, 9, 10 and part of 1)."""

from __future__ import annotations

from collections.abc import Mapping

from kmatrix.decide.checks.mitigations import check_mitigations
from kmatrix.decide.checks.symbols import providers, some
from kmatrix.values.cells import Finding
from kmatrix.values.module import (
    FILESYSTEM_ALIAS,
    MODULE_NAME,
    RDMA_MODULES,
    Expectation,
    KernelFacts,
    ModuleElf,
    module_name,
)
from kmatrix.values.names import ClientVersion

_REQUIRED = ("name", "version", "vermagic", "license", "depends")
_REAL_TIME = "preempt_rt"
# scripts/mod/modpost.c writes each of these once per module, and sources state one version. The kernel and kmod take
# the first of several, so the others would be false. Each source may state a licence.
_STATED_ONCE = ("name", "version", "vermagic", "depends", "srcversion", "retpoline", "intree")


def check_identity(elf: ModuleElf, client: ClientVersion) -> list[Finding]:
    """Check rule 1, second half: the module states once that it is beegfs of the cell's client version."""
    findings = []
    missing = [key for key in _REQUIRED if elf.first(key) is None]
    if missing:
        findings.append(
            Finding(
                "elf",
                "modinfo-missing",
                f"the module does not state its {some(missing)}",
                expected=", ".join(_REQUIRED),
                actual=", ".join(sorted(elf.modinfo)),
            )
        )
    repeated = [key for key in _STATED_ONCE if len(set(elf.modinfo.get(key, ()))) > 1]
    if repeated:
        findings.append(
            Finding(
                "elf",
                "modinfo-repeated",
                f"the module states more than one {some(repeated)}: parts of another module were linked into it",
                expected="one value of each",
                actual="; ".join(f"{key}: {', '.join(elf.modinfo[key])}" for key in repeated),
            )
        )
    name, version = elf.first("name"), elf.first("version")
    if name is not None and name != MODULE_NAME:
        message = f"the module calls itself {name}"
        findings.append(Finding("elf", "name-wrong", message, expected=MODULE_NAME, actual=name))
    # The vendor's first release of a minor version is written without its zero (7.2).
    accepted = {str(client), str(client).removesuffix(".0")}
    if version is not None and version not in accepted:
        message = f"the module is of client version {version}, the cell of {client}: wrong or stale sources"
        findings.append(Finding("elf", "version-wrong", message, expected=str(client), actual=version))
    return findings


def check_vermagic(elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    """Check rule 2: the complete vermagic is that of the in-tree modules.

    Stricter than the kernel, which skips the release if there are CRCs (kernel/module/version.c, same_magic).
    """
    actual = elf.first("vermagic")
    if actual is None or actual == kernel.vermagic:
        return []
    found_release, *found_flags = actual.split() or [""]
    release, *flags = kernel.vermagic.split()
    causes = []
    if found_release != release:
        causes.append(f"built for kernel {found_release or '(none)'}, not for {release}")
    if (_REAL_TIME in found_flags) != (_REAL_TIME in flags):
        kinds = ("a standard kernel, not for a real-time one", "a real-time kernel, not for a standard one")
        causes.append(f"built for {kinds[_REAL_TIME in found_flags]} (PREEMPT_RT)")
    elif found_flags != flags:
        causes.append(f"built with flags {' '.join(found_flags)!r}, not {' '.join(flags)!r}")
    message = f"the module was {'; '.join(causes)}" if causes else "vermagic differs in its blanks"
    return [Finding("vermagic", "vermagic-mismatch", message, expected=kernel.vermagic, actual=actual)]


def check_depends(elf: ModuleElf, kernel: KernelFacts, rdma: bool) -> list[Finding]:
    """Check rule 6: `depends` is complete, closes in the target tree, has RDMA if wanted; the alias is there."""
    findings = []
    used = providers(elf, kernel)
    unlisted = sorted(used.keys() - set(elf.depends) - kernel.builtin)
    if unlisted:
        findings.append(
            Finding(
                "depends",
                "depends-missing",
                f"the module uses exports of {some(unlisted)} without naming them in `depends`",
                expected=",".join(sorted(used)),
                actual=",".join(elf.depends),
            )
        )
    paths = {module_name(path): path for path in kernel.dependencies}
    for name in elf.depends:
        broken = [] if name in kernel.builtin else _open_ends(name, paths, kernel, used)
        if broken:
            message = f"dependency {name} is incomplete in the tree of {kernel.kernel}: no {some(broken)}"
            findings.append(
                Finding(
                    "depends",
                    "depends-open",
                    message,
                    expected="listed in modules.dep, file present",
                    actual=name,
                )
            )
    without = [name for name in RDMA_MODULES if name not in elf.depends and name not in kernel.builtin]
    if rdma and without:
        message = f"built without RDMA, which the profile wants: the module does not depend on {some(without)}"
        findings.append(
            Finding("depends", "rdma-off", message, expected=",".join(RDMA_MODULES), actual=",".join(elf.depends))
        )
    aliases = elf.modinfo.get("alias", ())
    if FILESYSTEM_ALIAS not in aliases:
        message = f"alias {FILESYSTEM_ALIAS} is missing: mount would not load the module by itself"
        findings.append(
            Finding("depends", "alias-missing", message, expected=FILESYSTEM_ALIAS, actual=", ".join(aliases))
        )
    return findings


def _open_ends(name: str, paths: dict[str, str], kernel: KernelFacts, used: Mapping[str, object]) -> list[str]:
    if name not in paths:
        return [name]
    closure = [name, *(module_name(path) for path in kernel.dependencies[paths[name]])]
    # An absent file of a module whose exports are used is rule 5's finding, not this one's as well.
    known = (paths.keys() & (kernel.present | used.keys())) | kernel.builtin
    return [module for module in closure if module not in known]


def check_srcversion(elf: ModuleElf) -> list[Finding]:
    """Check rule 10: the file has a digest of its sources, by which a stale loaded module is recognised."""
    if elf.first("srcversion"):
        return []
    message = "the module has no srcversion: a stale loaded module could not be recognised"
    return [Finding("srcversion", "srcversion-missing", message, expected="srcversion in .modinfo")]


def check_module_file(elf: ModuleElf, expectation: Expectation, kernel: KernelFacts) -> tuple[list[Finding], list[str]]:
    """Check rules 2, 6, 9 and 10 and the second half of 1, on a file of sound form.

    Returns:
        Findings, and notes on facts that could not be compared.
    """
    mitigations, notes = check_mitigations(elf, kernel, expectation.cell.arch)
    findings = [
        *check_identity(elf, expectation.cell.client),
        *check_vermagic(elf, kernel),
        *check_depends(elf, kernel, expectation.rdma),
        *mitigations,
        *check_srcversion(elf),
    ]
    return findings, notes
