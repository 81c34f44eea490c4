"""Judge how a module was compiled: by a compiler of the kernel's family, with its mitigations (rule 9)."""

from __future__ import annotations

import re

from kmatrix.decide.checks.symbols import some
from kmatrix.values.cells import Finding
from kmatrix.values.module import KernelFacts, ModuleElf
from kmatrix.values.names import Arch

_PACKAGE_MARK = re.compile(r"\((?:GCC|GNU)\)\s*")
_GCC = re.compile(r"(?:\S*-)?g?cc(?:-[\d.]+)?\s|GCC:\s")


def compiler_text(text: str) -> str:
    """Reduce a compiler's version text to the part that CONFIG_CC_VERSION_TEXT and `.comment` have in common.

    `gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)` and `GCC: (GNU) 11.4.1 20231218 (Red Hat 11.4.1-3)` are
    one compiler; so are `x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14) 12.2.0` and
    `GCC: (Debian 12.2.0-14) 12.2.0`.
    The name of the command is not part of it; clang's text is the same on both sides.
    """
    words = " ".join(text.split())
    plain = re.sub(r"^(?:GCC:|\S*cc\S*)\s+", "gcc ", words)
    return _PACKAGE_MARK.sub("", plain, count=1)


def compiler_family(text: str) -> str:
    """Return gcc, clang, or an empty text for any other compiler.

    The kernel's Makefile recognises clang in the same manner: by the word in the version text.
    """
    if "clang" in text:
        return "clang"
    return "gcc" if _GCC.match(text) else ""


def check_mitigations(elf: ModuleElf, kernel: KernelFacts, arch: Arch) -> tuple[list[Finding], list[str]]:
    """Check rule 9: return trampolines as in the in-tree modules, and a compiler of the kernel's own family.

    Nothing in the loader compares compilers. The family must match nevertheless: features of clang alone or gcc alone
    (control flow integrity, shadow call stacks, plugins) are on or off in the complete kernel by CONFIG_CC_IS_CLANG and
    CONFIG_CC_IS_GCC. Versions of one family may differ: the kernel's Makefile (target `prepare`) warns of a text that
    differs and continues, a compiler that lacks an option of the kernel's configuration fails in the build, and so does
    one that cannot use the kernel's gcc plugins (plugins of another gcc refuse to run). So they are notes, and so
    are objects in the module that another compiler created.

    Returns:
        Findings, and notes on differences and on facts that could not be compared.
    """
    findings, notes = [], []
    if arch == "x86_64" and kernel.retpoline:
        if elf.first("retpoline") != "Y":
            message = "the module was built without return trampolines (retpoline), the kernel with them"
            findings.append(Finding("mitigations", "retpoline-missing", message, expected="retpoline=Y"))
    else:
        notes.append(f"retpoline is not required: {arch}, in-tree modules without it, or both")
    compilers, compiler_notes = _compare_compilers(elf, kernel)
    return [*findings, *compilers], [*notes, *compiler_notes]


def _compare_compilers(elf: ModuleElf, kernel: KernelFacts) -> tuple[list[Finding], list[str]]:
    compilers = [text for text in elf.comment if not text.startswith("Linker:")]
    if not kernel.compiler:
        return [], [f"the configuration of {kernel.kernel} does not name its compiler: not compared"]
    if not compilers:
        return [], ["the module does not name its compiler: not compared"]
    if any(compiler_text(text) == compiler_text(kernel.compiler) for text in compilers):
        others = [text for text in compilers if compiler_text(text) != compiler_text(kernel.compiler)]
        return [], [f"the module also has objects that were compiled with {some(others)}"] if others else []
    families = {compiler_family(text) for text in compilers} - {""}
    wanted = compiler_family(kernel.compiler)
    compared = f"the module was compiled with {some(compilers)}, the kernel with {kernel.compiler}"
    if wanted and families and wanted not in families:
        return [
            Finding("mitigations", "compiler-mismatch", compared, expected=kernel.compiler, actual=some(compilers)),
        ], []
    return [], [f"{compared}: the kernel's own build warns of that, and its loader accepts it"]
