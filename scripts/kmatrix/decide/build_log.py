"""Reads in the output of a failed build step why it failed, and whose fault that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from kmatrix.values.engine import FailedStep
from kmatrix.values.text import plain_line

# The finding codes of a build: a compiler's errors, and those that the image's scripts unpack-packages and build-module
# report with a code of their own.
BuildCode = Literal[
    "compile-error",
    "module-missing",
    "package-content-wrong",
    "package-key-mismatch",
    "package-key-revoked",
    "package-signature-bad",
    "package-signature-missing",
    "package-version-wrong",
    "source-missing",
    "toolkit-lacks-kernel",
]
_CODES: Mapping[str, BuildCode] = {code: code for code in get_args(BuildCode)}

# Reasons for which the machine is at fault and not the input, in the words of glibc's strerror and others.
_REASONS = (
    "No space left on device|Disk quota exceeded|Read-only file system|(Remote )?Input/output error|Remote I/O error"
    "|Stale file handle|Structure needs cleaning|Transport endpoint is not connected|Host is down|File too large"
    "|Cannot allocate memory|memory exhausted|out of memory|Too many open files( in system)?|File table overflow"
    "|Resource temporarily unavailable|No child processes|Text file busy|database or disk is full|disk full\\?"
)
_SIGNALS = "Killed|Terminated|Hangup|Bus error|Segmentation fault|Illegal instruction|Aborted"
# Whole messages: a reason stands at the end, after the operation that failed; a name or a text of the sources may have
# the same words. They are those of gcc (gcc/gcc.cc, gcc/collect-utils.cc, libiberty/xmalloc.c), make (src/job.c,
# child_error) and bash.
_WORLD = re.compile(
    rf"(:|\() *({_REASONS})\)?( \(\d+\))?\.?( +Stop\.)?(;|$)"
    rf"| - ({_REASONS})$"
    r"|: out of memory allocating \d+ bytes"
    rf"|: ({_SIGNALS}) signal terminated program |internal compiler error: ({_SIGNALS})\b"
    r"| terminated with signal \d+ \[|The bug is not reproducible, so it is likely a hardware or OS problem"
    rf"|^({_SIGNALS})( \(core dumped\))?$|line \d+: +\d+ ({_SIGNALS})( |$)"
    rf"|\*\*\* \[.*\] (({_SIGNALS})( \(core dumped\))?|Error 1(29|[3-8]\d|9[0-2]))$",
    re.IGNORECASE,
)
# A compiler's messages about the sources, and its quotes of them: behind a bar, before gcc 9 behind a blank. Its own
# troubles are fatal errors.
_ABOUT_SOURCES = re.compile(r"\s|\d*\s*\||.*: (warning|note|remark): |\S+:\d+(:\d+)?: error: ")
# The two commands whose own output says something about the product: the check of its packages, and its compile.
_COMPILE = re.compile(r"[^']*/build-module ")
_PACKAGES = re.compile(r"[^']*/unpack-packages ")
# With this, EX_TEMPFAIL of sysexits.h, both scripts report that they reached no answer.
_NO_ANSWER = 75
_AGAINST_PACKAGES = re.compile(
    rf"unpack-packages: error: ({'|'.join(code for code in _CODES if code.startswith('package-'))}): ."
)
# The messages of container runtimes about a first program that the kernel cannot start: runc up to 1.0
# (standard_init_linux.go) and from 1.1 on (libcontainer/system), crun (src/libcrun/linux.c). A compile that cannot
# start one of the toolkit's programs reports it in other words, and the toolkit is at fault.
_CANNOT_START = re.compile(
    r"(exec user process caused:? \"?|^exec /\S+: |exec container process `[^`]+`: )exec format error", re.IGNORECASE
)
# The machine's doings explain the compiler's complaints, and its own errors come before those of make, which only
# repeat that something failed.
_CAUSES = (
    re.compile(r"(unpack-packages|build-module): (error|stopped): "),
    re.compile(r": (fatal )?error: |^ERROR: modpost|error: .*undeclared|undefined reference|modpost: .*undefined!"),
    re.compile(r"(^|\s)(error|fatal|failed)\b", re.IGNORECASE),
)
_KEPT = 5


def causes(output: Sequence[str]) -> tuple[str, ...]:
    """Return the first few lines that name a cause; the last lines where none does.

    Args:
        output: the lines that the programs of the failed step wrote.
    """
    lines = _plain(output)
    shown = [line.strip() for line in lines if line.strip()]
    world = [line.strip() for line in lines if _is_the_worlds(line)]
    for found in (world, *([line for line in shown if pattern.search(line)] for pattern in _CAUSES)):
        if found:
            return tuple(dict.fromkeys(found))[:_KEPT]
    return tuple(shown[-_KEPT:])


def is_the_products_fault(step: FailedStep) -> bool:
    """Return whether a failed step shows that the product is bad: its compile, or the check of its packages, failed.

    A full disk, a killed compiler or a step that needs the network show nothing of it, whatever the step's exit code.
    """
    lines = _plain(step.output)
    if step.status == _NO_ANSWER or any(_is_the_worlds(line) for line in lines):
        return False
    if _PACKAGES.match(step.command):
        return any(_AGAINST_PACKAGES.match(line) for line in lines)
    return bool(_COMPILE.match(step.command))


def cannot_start(output: Sequence[str]) -> bool:
    """Return whether the machine could not start a container's program, because it is of another architecture.

    Args:
        output: the lines that the container wrote.
    """
    return any(_CANNOT_START.search(line) for line in _plain(output))


def _plain(output: Sequence[str]) -> list[str]:
    return [plain_line(line).rstrip() for line in output]


def _is_the_worlds(line: str) -> bool:
    return bool(_WORLD.search(line)) and not _ABOUT_SOURCES.match(line)


def code_of(cause: str) -> BuildCode:
    """Return the finding code of a cause: the one that the image's scripts print, else `compile-error`."""
    match = re.search(r"(?:unpack-packages|build-module): error: ([a-z-]+): ", cause)
    return _CODES.get(match[1], "compile-error") if match else "compile-error"
