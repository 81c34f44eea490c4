"""Judge how a module lies in its image: place, modules.dep, host link, labels, output of its tools (rules 6, 12)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kmatrix.decide.checks.symbols import some
from kmatrix.decide.formats.kernel_tree import parse_modules_dep
from kmatrix.values.cells import Cell, Finding
from kmatrix.values.errors import ProtocolError
from kmatrix.values.labels import cell_labels
from kmatrix.values.module import (
    IMAGE_MODULES,
    MODULE_NAME,
    NODE_MODULES,
    Expectation,
    ImageFacts,
    KernelFacts,
    ModuleElf,
    ToolOutput,
    module_name,
)

_COMPARED = (
    "name",
    "version",
    "vermagic",
    "license",
    "depends",
    "srcversion",
    "alias",
    "import_ns",
    "retpoline",
)
_MODINFO_LINE = re.compile(r"([A-Za-z0-9_]+):\s*(.*)")
# An entry without a name is shown as a CRC alone, and must not take the next line for its name.
_MODVERSION_LINE = re.compile(r"^0x([0-9a-f]+)[ \t]+(\S+)", re.MULTILINE)


def check_place(image: ImageFacts, kernel: str) -> list[Finding]:
    """Check rule 12: exactly one beegfs.ko, below the directory of the cell's kernel."""
    below = f"{IMAGE_MODULES}/{kernel}/"
    match image.module_paths:
        case ():
            message = f"the image has no {MODULE_NAME}.ko"
            return [Finding("layout", "layout-no-module", message, expected=f"{below}extra/{MODULE_NAME}.ko")]
        case (only,):
            if only.startswith(below):
                return []
            message = f"the module lies outside of {below}, where the loader looks"
            return [Finding("layout", "layout-directory", message, expected=below, actual=only)]
    message = f"the image has {len(image.module_paths)} files of the module, one may be stale"
    return [Finding("layout", "layout-duplicate", message, expected="one file", actual=some(image.module_paths))]


def check_host_link(image: ImageFacts, kernel: str) -> list[Finding]:
    """Check rule 12: `host` points to the node's own modules, and `cp` is there, as KMM needs."""
    findings = []
    target = f"{NODE_MODULES}/{kernel}"
    if (image.host_link or "").rstrip("/") != target:
        link = f"{IMAGE_MODULES}/{kernel}/host"
        message = f"{link} does not point to the node's modules: in-tree dependencies would not be found"
        findings.append(
            Finding("layout", "host-link", message, expected=target, actual=image.host_link or "no symlink")
        )
    if not image.has_cp:
        message = "the image has no `cp`: Kernel Module Management cannot copy the module out"
        findings.append(Finding("layout", "layout-no-cp", message, expected="cp"))
    return findings


def check_modules_dep(image: ImageFacts, elf: ModuleElf, kernel: KernelFacts) -> list[Finding]:
    """Check rules 6 and 12: the image's modules.dep lists the module, and its in-tree dependencies below host/."""
    where = f"{IMAGE_MODULES}/{kernel.kernel}/modules.dep"
    advice = f"run depmod -b /opt {kernel.kernel} while the host link leads to the kernel's modules"
    if image.modules_dep is None:
        return [Finding("layout", "layout-modules-dep", f"there is no {where}; {advice}", expected=where)]
    try:
        entries = parse_modules_dep(image.modules_dep, where)
    except ProtocolError as fault:
        return [Finding("layout", "layout-modules-dep", f"{fault.message}; {advice}")]
    prefix = f"{IMAGE_MODULES}/{kernel.kernel}/"
    inside = [path.removeprefix(prefix) for path in image.module_paths if path.startswith(prefix)]
    mine = [path for path in entries if module_name(path) == MODULE_NAME]
    # A misplaced or repeated file is a finding of its own; its consequence here is not another.
    if len(image.module_paths) == 1 and inside and mine != inside:
        message = f"{where} does not list the module where it lies; {advice}"
        return [Finding("layout", "layout-modules-dep", message, expected=inside[0], actual=some(mine) or "not listed")]
    listed = {need for path in mine for need in entries[path]}
    in_host = {path.removeprefix("host/") for path in listed if path.startswith("host/")}
    found = {module_name(path) for path in in_host & kernel.dependencies.keys()}
    missing = sorted(_closure(elf, kernel) - found)
    if not missing:
        return []
    message = f"{where} does not lead the module to {some(missing)} below host/; {advice}"
    return [
        Finding(
            "layout",
            "layout-modules-dep",
            message,
            expected=some(f"host/…/{name}.ko" for name in missing),
            actual=some(sorted(listed)) or "no dependency",
        )
    ]


def _closure(elf: ModuleElf, kernel: KernelFacts) -> set[str]:
    """Return every in-tree module that must be loaded first, as far as the tree has it."""
    wanted: set[str] = set()
    for path, needs in kernel.dependencies.items():
        if module_name(path) in elf.depends:
            wanted |= {module_name(path), *(module_name(need) for need in needs)}
    return wanted - kernel.builtin


def check_labels(image: ImageFacts, expectation: Expectation) -> list[Finding]:
    """Check rule 12: the labels of the image name its cell; the tag is derived from the cell when it is pushed."""
    cell: Cell = expectation.cell
    findings = []
    for label, value in cell_labels(cell, expectation.cell_key).items():
        actual = image.labels.get(label)
        if actual != value:
            message = f"label {label} is not that of cell {cell.id}"
            findings.append(
                Finding("layout", "label-mismatch", message, expected=value, actual=actual or "no such label")
            )
    return findings


def parse_modinfo(text: str) -> dict[str, list[str]]:
    """Parse the output of `modinfo FILE`: key to sorted values, blanks at their ends removed.

    Continuation lines, which a signature's hexadecimal digits take, are left out.
    """
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := _MODINFO_LINE.fullmatch(line):
            fields.setdefault(match[1], []).append(match[2].rstrip())
    return {key: sorted(values) for key, values in fields.items()}


def check_tools(image: ImageFacts, elf: ModuleElf, modversions: bool) -> list[Finding]:
    """Check that the image's own modinfo and modprobe read the same facts from the file (rule 12).

    They read it by path, so this finds a file that was replaced after, or differs from, the one examined.
    """
    findings = _tool_failures(image, modversions)
    if findings:
        return findings
    shown = parse_modinfo(image.modinfo.text)
    here = {key: sorted(value.rstrip() for value in values) for key, values in elf.modinfo.items()}
    different = [key for key in _COMPARED if shown.get(key) != here.get(key)]
    if different:
        findings.append(
            Finding(
                "elf",
                "modinfo-disagrees",
                f"modinfo in the image and the file read out of it disagree about {some(different)}",
                expected="; ".join(f"{key}: {', '.join(here.get(key, ['(none)']))}" for key in different),
                actual="; ".join(f"{key}: {', '.join(shown.get(key, ['(none)']))}" for key in different),
            )
        )
    return [*findings, *(_compare_versions(image.modversions, elf) if modversions else [])]


def _tool_failures(image: ImageFacts, modversions: bool) -> list[Finding]:
    ran = (
        ("modinfo-failed", "modinfo", image.modinfo, True),
        # Without CRCs in the kernel there is nothing to dump, and modprobe reports that by its exit code.
        ("modversions-failed", "modprobe --dump-modversions", image.modversions, modversions),
    )
    return [
        Finding(
            "elf",
            code,
            f"`{command}` ends with exit code {output.exit_code} on the module, in the image",
            expected="exit code 0",
            actual=f"exit code {output.exit_code}",
        )
        for code, command, output, judged in ran
        if judged and output.exit_code
    ]


def _compare_versions(output: ToolOutput, elf: ModuleElf) -> list[Finding]:
    """Compare the complete tables, with the entries that the kernel ignores: modprobe shows these too."""
    shown = _entries((name, int(crc, 16)) for crc, name in _MODVERSION_LINE.findall(output.text))
    both = _entries([*elf.version_entries, *elf.extended_entries])
    # kmod before 34 knows the basic table alone; it cannot have shown a table that is absent.
    tables = [both, *(_entries(table) for table in (elf.version_entries, elf.extended_entries) if table)]
    if shown in tables:
        return []
    different = sorted({name for name, _ in {*shown} ^ {*both}} or {name for name, _ in both})
    message = f"modprobe in the image and the file read out of it disagree about CRCs of {some(different)}"
    return [
        Finding(
            "crcs",
            "modversions-disagree",
            message,
            expected=f"{len(both)} entries",
            actual=f"{len(shown)} entries",
        )
    ]


def _entries(entries: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    # kmod drops the dot that names of function descriptors have on some machines (libkmod/libkmod-elf.c).
    return sorted((name.removeprefix("."), crc) for name, crc in entries if name)
