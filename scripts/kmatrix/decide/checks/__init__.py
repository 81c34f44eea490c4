"""Every check of a built image short of loading its module: facts in, findings out, nothing is run or read.

The rules go by number: 1 ELF, 2 vermagic, 3 symbols, 4 CRCs, 5 providers,
6 dependencies, 7 licence and namespaces, 9 mitigations, 10 srcversion, 12 layout.
They are those of the kernel's module loader; tests/unit/test_checks_kernel_rules.py sets its refusals beside them.
Four are stricter than it on purpose; no module that was built for its cell, and came whole, breaks them:
- the release in vermagic, which the kernel skips where there are CRCs, and entries of `__versions` for symbols that the
  module does not use, show that it was built against another kernel;
- so does a struct module of another size, which kernels before 6.4 do not compare;
- bytes that follow the ELF part and are no signature, which the kernel passes over, show that the file was damaged.
"""

from __future__ import annotations

from kmatrix.decide.checks import form, layout, modinfo, symbols
from kmatrix.decide.formats.elf import MalformedElfError, read_module
from kmatrix.values.cells import Finding
from kmatrix.values.module import CheckReport, Expectation, ImageFacts, KernelFacts, ModuleElf

__all__ = ["check_module"]

_NOT_JUDGED = "rules 2 to 10 were not applied: there is no sound module file to apply them to"


def check_module(expectation: Expectation, image: ImageFacts, kernel: KernelFacts) -> CheckReport:
    """Judge a built image against its cell and the cell's kernel.

    A damaged module file is a finding, never an exception.

    Args:
        expectation: what the image must be.
        image: what was read out of it.
        kernel: what the toolkit says about the kernel.

    Raises:
        ValueError: `kernel` is not the kernel of the cell (a fault of the caller).
    """
    cell = expectation.cell
    if kernel.kernel != cell.kernel:
        raise ValueError(f"facts about kernel {kernel.kernel} cannot judge cell {cell.id}")
    place = layout.check_place(image, cell.kernel)
    rest = [*layout.check_host_link(image, cell.kernel), *layout.check_labels(image, expectation)]
    if image.ko is None:
        return CheckReport((*place, *rest), notes=(_NOT_JUDGED,))
    try:
        elf = read_module(image.ko)
    except MalformedElfError as fault:
        damaged = Finding("elf", fault.code, fault.message, expected="a whole ELF file")
        return CheckReport((*place, damaged, *rest), notes=(_NOT_JUDGED,))
    unsound = form.check_elf(elf, cell.arch)
    if unsound:
        return CheckReport((*place, *unsound, *rest), notes=(_NOT_JUDGED,))
    judged, notes = _judge(elf, expectation, image, kernel)
    # The first finding is the reason people read: a tool that fails on a misplaced module is only its consequence.
    return CheckReport((*place, *judged, *rest), elf.first("srcversion") or "", tuple(notes), elf.depends)


def _judge(
    elf: ModuleElf, expectation: Expectation, image: ImageFacts, kernel: KernelFacts
) -> tuple[list[Finding], list[str]]:
    described, described_notes = modinfo.check_module_file(elf, expectation, kernel)
    known, known_notes = symbols.check_symbols(elf, kernel)
    crcs, crc_notes = symbols.check_crcs(elf, kernel)
    spaces, space_notes = symbols.check_namespaces(elf, kernel)
    notes = [*described_notes, *known_notes, *crc_notes, *space_notes]
    if elf.has_btf:
        notes.append("the module carries BTF, which is not compared with the kernel's here: loading shows it")
    findings = [
        *described,
        *form.check_against_loader(elf, kernel),
        *known,
        *crcs,
        *symbols.check_providers(elf, kernel),
        *symbols.check_licence(elf, kernel),
        *spaces,
        *layout.check_modules_dep(image, elf, kernel),
        *layout.check_tools(image, elf, kernel.modversions),
    ]
    return findings, notes
