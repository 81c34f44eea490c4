"""Judges how a module was compiled: with the kernel's own compiler and its mitigations (rule 9)."""

from __future__ import annotations

import re

from kmatrix.decide.checks.symbols import some
from kmatrix.values.cells import Finding
from kmatrix.values.module import KernelFacts, ModuleElf
from kmatrix.values.names import Arch

_PACKAGE_MARK = re.compile(r"\((?:GCC|GNU)\)\s*")


def compiler_text(text: str) -> str:
    """Reduce a compiler's name of itself to what CONFIG_CC_VERSION_TEXT and `.comment` have in common.

    `gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)` and `GCC: (GNU) 11.4.1 20231218 (Red Hat 11.4.1-3)` are
    one compiler; so are `x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14) 12.2.0` and
    `GCC: (Debian 12.2.0-14) 12.2.0`.
    The command's own spelling is not part of it; clang's text is the same on both sides.
    """
    words = " ".join(text.split())
    plain = re.sub(r"^(?:GCC:|\S*gcc\S*)\s+", "gcc ", words)
    return _PACKAGE_MARK.sub("", plain, count=1)


def check_mitigations(elf: ModuleElf, kernel: KernelFacts, arch: Arch) -> tuple[list[Finding], list[str]]:
    """Rule 9: return trampolines as in the in-tree modules, and the kernel's own compiler.

    Returns:
        Findings, and notes on what could not be compared.
    """
    findings, notes = [], []
    if arch == "x86_64" and kernel.retpoline:
        if elf.first("retpoline") != "Y":
            message = "the module was built without return trampolines (retpoline), the kernel with them"
            findings.append(Finding("mitigations", "retpoline-missing", message, expected="retpoline=Y"))
    else:
        notes.append(f"retpoline is not asked for: {arch}, in-tree modules without it, or both")
    compilers = [text for text in elf.comment if not text.startswith("Linker:")]
    if not kernel.compiler:
        notes.append(f"the configuration of {kernel.kernel} does not name its compiler: not compared")
    elif not compilers and not kernel.comments:
        notes.append("neither the module nor the in-tree modules name their compiler: not compared")
    elif not compilers:
        message = "the module does not name its compiler, in-tree modules do: section .comment was removed"
        findings.append(Finding("mitigations", "compiler-unknown", message, expected=kernel.compiler))
    elif wrong := [text for text in compilers if compiler_text(text) != compiler_text(kernel.compiler)]:
        message = f"the module was compiled with {some(wrong)}, the kernel with {kernel.compiler}"
        findings.append(
            Finding("mitigations", "compiler-mismatch", message, expected=kernel.compiler, actual=some(wrong))
        )
    return findings, notes
