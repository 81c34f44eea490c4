"""Judge a built image without loading its module: facts in, findings out; nothing is run or read.

The rules have the numbers that modules, tests and docs/findings.md use; for each, that page states its demand, the
kernel source that it stands for, and its codes.

- Rule 1: ELF (`form`, `modinfo`)
- Rule 2: vermagic (`modinfo`)
- Rule 3: symbols (`symbols`, `form`)
- Rule 4: CRCs (`crcs`, `form`)
- Rule 5: providers (`symbols`)
- Rule 6: dependencies (`modinfo`, `layout`)
- Rule 7: licence and namespaces (`symbols`)
- Rule 8: signature (`signature`, and its form in `formats/elf_form`)
- Rule 9: mitigations (`mitigations`)
- Rule 10: srcversion (`modinfo`)
- Rule 11: BTF (a note; loading shows it)
- Rule 12: layout (`layout`)

They are those of the kernel's module loader; tests/unit/test_checks_kernel_rules.py lists its refusals beside them.
Four are stricter than the loader on purpose; no complete module that was built for its cell breaks them:

- the release in vermagic, which the kernel skips where there are CRCs, and entries of `__versions` for symbols that the
  module does not use: both show that it was built against another kernel;
- a struct module of another size, which kernels before 6.4 do not compare, shows the same;
- bytes after the ELF part that are no signature, which the kernel ignores, show that the file was damaged.
"""

from __future__ import annotations

from kmatrix.decide.checks import crcs, form, layout, modinfo, symbols
from kmatrix.decide.formats.elf import MalformedElfError, read_module
from kmatrix.values.cells import Finding
from kmatrix.values.module import CheckReport, Expectation, ImageFacts, KernelFacts, ModuleElf

__all__ = ["check_module"]

_NOT_JUDGED = "rules 2 to 10 were not applied: there is no sound module file to apply them to"


def check_module(expectation: Expectation, image: ImageFacts, kernel: KernelFacts) -> CheckReport:
    """Judge a built image against its cell and the cell's kernel.

    A damaged module file is a finding, never an exception.

    Args:
        expectation: the properties the image must have.
        image: the facts read from it.
        kernel: the toolkit's facts about the kernel.

    Raises:
        ValueError: `kernel` is not the kernel of the cell (a bug of the caller).
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
        damaged = Finding("elf", fault.code, fault.message, expected="a complete ELF file")
        return CheckReport((*place, damaged, *rest), notes=(_NOT_JUDGED,))
    unsound = form.check_elf(elf, cell.arch)
    if unsound:
        return CheckReport((*place, *unsound, *rest), notes=(_NOT_JUDGED,))
    judged, notes = _judge(elf, expectation, image, kernel)
    # The first finding becomes the cell's reason; a tool that fails on a misplaced module is only its consequence.
    return CheckReport((*place, *judged, *rest), elf.first("srcversion") or "", tuple(notes), elf.depends)


def _judge(
    elf: ModuleElf, expectation: Expectation, image: ImageFacts, kernel: KernelFacts
) -> tuple[list[Finding], list[str]]:
    described, described_notes = modinfo.check_module_file(elf, expectation, kernel)
    known, known_notes = symbols.check_symbols(elf, kernel)
    versions, version_notes = crcs.check_crcs(elf, kernel)
    spaces, space_notes = symbols.check_namespaces(elf, kernel)
    notes = [*described_notes, *known_notes, *version_notes, *space_notes]
    if elf.has_btf:
        notes.append("the module carries BTF, which is not compared with the kernel's here: loading shows it")
    findings = [
        *described,
        *form.check_against_loader(elf, kernel),
        *known,
        *versions,
        *symbols.check_providers(elf, kernel),
        *symbols.check_licence(elf, kernel),
        *spaces,
        *layout.check_modules_dep(image, elf, kernel),
        *layout.check_tools(image, elf, kernel.modversions),
    ]
    if expectation.certificate:
        # Its libraries take 20 MB of memory, which a run without signed modules need not spend.
        from kmatrix.decide.checks.signature import check_signature

        findings += check_signature(image.ko or b"", image, expectation)
    return findings, notes
