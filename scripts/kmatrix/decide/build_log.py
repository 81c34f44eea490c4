"""Reads in a build's log why it failed, and whose fault that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

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

# What an operation met that is for the machine to answer for, not for its input, as glibc's strerror and others say.
_REASONS = (
    "No space left on device|Disk quota exceeded|Read-only file system|(Remote )?Input/output error|Remote I/O error"
    "|Stale file handle|Structure needs cleaning|Transport endpoint is not connected|Host is down|File too large"
    "|Cannot allocate memory|memory exhausted|out of memory|Too many open files( in system)?|File table overflow"
    "|Resource temporarily unavailable|No child processes|Text file busy|database or disk is full|disk full\\?"
)
_SIGNALS = "Killed|Terminated|Hangup|Bus error|Segmentation fault|Illegal instruction|Aborted"
# Whole messages: a reason stands at the end, behind what it is the reason of; a name or a text of the sources may have
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
# What a compiler says about the sources, and what it quotes of them: behind a bar, before gcc 9 behind a blank. Its own
# troubles are fatal errors.
_ABOUT_SOURCES = re.compile(r"\s|\d*\s*\||.*: (warning|note|remark): |\S+:\d+(:\d+)?: error: ")
_STEP = re.compile(r"Step \d+/\d+ : ")
# The two steps whose own words say something about the product: the check of its packages, and its compile.
_COMPILE = re.compile(r"The command '[^']*/build-module ")
_PACKAGES = re.compile(r"The command '[^']*/unpack-packages ")
# With this, EX_TEMPFAIL, both scripts say that they reached no answer.
_NO_ANSWER = re.compile(r"returned a non-zero code: 75\b")
_AGAINST_PACKAGES = re.compile(
    rf"unpack-packages: error: ({'|'.join(code for code in _CODES if code.startswith('package-'))}): ."
)
# The machine's doings explain what the compiler complains of, and its own errors come before what make and the engine
# say afterwards, which only repeats that something failed.
_CAUSES = (
    re.compile(r"(unpack-packages|build-module): (error|stopped): "),
    re.compile(r": (fatal )?error: |^ERROR: modpost|error: .*undeclared|undefined reference|modpost: .*undefined!"),
    re.compile(r"(^|\s)(error|fatal|failed)\b", re.IGNORECASE),
)
_ENGINE = re.compile(r"Step \d|---> |Removing intermediate container |The command '")
_KEPT = 5


def causes(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the first few lines of the last step that name a cause; the last lines where none does."""
    step = _last_step(lines)
    told = [line.strip() for line in step]
    told = [line for line in told if line and not _ENGINE.match(line)]
    world = [line.strip() for line in step if _is_the_worlds(line)]
    for found in (world, *([line for line in told if pattern.search(line)] for pattern in _CAUSES)):
        if found:
            return tuple(dict.fromkeys(found))[:_KEPT]
    return tuple(told[-_KEPT:])


def is_the_products_fault(error: str, lines: Sequence[str]) -> bool:
    """Whether a build that a step ended says that the product is bad: its compile, or its packages' check, said no.

    A full disk, a killed compiler or a step that needs the network say nothing about it, whatever the step's exit code.

    Args:
        error: the engine's own words, which name the step's command and its exit code.
        lines: the build's log.
    """
    step = _last_step(lines)
    if _NO_ANSWER.search(error) or any(_is_the_worlds(line) for line in step):
        return False
    if _PACKAGES.search(error):
        return any(_AGAINST_PACKAGES.match(line) for line in step)
    return bool(_COMPILE.search(error))


def _last_step(lines: Sequence[str]) -> list[str]:
    last = max((number for number, line in enumerate(lines) if _STEP.match(line)), default=0)
    return [plain_line(line).rstrip() for line in lines[last:]]


def _is_the_worlds(line: str) -> bool:
    return bool(_WORLD.search(line)) and not _ABOUT_SOURCES.match(line)


def code_of(cause: str) -> BuildCode:
    """Return the finding code of a cause: the one that the image's scripts print, else `compile-error`."""
    match = re.search(r"(?:unpack-packages|build-module): error: ([a-z-]+): ", cause)
    return _CODES.get(match[1], "compile-error") if match else "compile-error"
