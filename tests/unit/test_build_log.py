"""The output of a failed build step is boiled down to the lines that say why it failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.build_log import causes, code_of, is_the_products_fault
from kmatrix.values.engine import FailedStep

MAKE = "make[1]: *** [Makefile:10: main.o] Error 1"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["  CC main.o", "main.c:3:1: error: no such field", "note: here", MAKE],
            ("main.c:3:1: error: no such field",),
        ),
        (["main.c:1:10: fatal error: x.h: No such file", MAKE], ("main.c:1:10: fatal error: x.h: No such file",)),
        (['ERROR: modpost: "x" [beegfs.ko] undefined!', MAKE], ('ERROR: modpost: "x" [beegfs.ko] undefined!',)),
        (["ERROR: modpost: missing MODULE_LICENSE()", MAKE], ("ERROR: modpost: missing MODULE_LICENSE()",)),
        (["note: this is so", "the copy failed"], ("the copy failed",)),
        (
            ["build-module: error: source-missing: no folder", "x.c:1: error: y"],
            ("build-module: error: source-missing: no folder",),
        ),
        (
            ["x.c:9: error: expected ';'", "gcc: fatal error: Killed signal terminated program cc1", MAKE],
            ("gcc: fatal error: Killed signal terminated program cc1",),
        ),
        (["unpack-packages: stopped: step-killed: gpg"], ("unpack-packages: stopped: step-killed: gpg",)),
        (["write: No space left on device", MAKE], ("write: No space left on device",)),
        (["  CC a.o", MAKE], (MAKE,)),
        ([f"line {number}" for number in range(9)], tuple(f"line {number}" for number in range(4, 9))),
        (["", "   "], ()),
        ([], ()),
    ],
)
def test_the_lines_that_name_a_cause_are_kept(lines: list[str], expected: tuple[str, ...]) -> None:
    assert causes(lines) == expected


def test_the_first_few_are_kept_each_once_and_without_colours() -> None:
    lines = [f"\x1b[31mmain.c:{number // 2}: error: x\x1b[0m" for number in range(20)]
    assert causes(lines) == tuple(f"main.c:{number}: error: x" for number in range(5))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("unpack-packages: error: package-signature-bad: x: y", "package-signature-bad"),
        ("build-module: error: toolkit-lacks-kernel: none", "toolkit-lacks-kernel"),
        ("build-module: error: something else", "compile-error"),
        ("main.c:3:1: error: no such field", "compile-error"),
    ],
)
def test_a_cause_has_a_code(line: str, expected: str) -> None:
    assert code_of(line) == expected


COMPILE = FailedStep("/kmatrix/build-module 5.14.0 8 yes /module", 2)
CHECK = FailedStep("/kmatrix/unpack-packages AB /userland all a.rpm=a", 1)
INSTALL = FailedStep("/bin/sh -c microdnf install -y kmod", 1)


def fault(step: FailedStep, *output: str) -> bool:
    return is_the_products_fault(replace(step, output=output))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (COMPILE, "Main.c:7:2: error: implicit declaration of function 'super_setup_bdi'"),
        (COMPILE, 'ERROR: modpost: "rdma_create_qp" [beegfs.ko] undefined!'),
        (COMPILE, "make[1]: *** [Makefile:12: module] Error 2"),
        (COMPILE, "build-module: error: source-missing: the client package has no /opt/beegfs/src"),
        # What a source is called is nobody's end.
        (COMPILE, "CC [M]  Killed.o"),
        (CHECK, "unpack-packages: error: package-signature-bad: a.rpm: digests SIGNATURES NOT OK"),
        (CHECK, "unpack-packages: error: package-signature-missing: a.rpm is not signed with the key AB (digests OK)"),
        (CHECK, "unpack-packages: error: package-version-wrong: a.rpm is a-0:1-1.noarch, wanted is a-0:2-1.noarch"),
        (CHECK, "unpack-packages: error: package-key-revoked: its owner has revoked the key AB"),
        (CHECK, "unpack-packages: error: package-key-mismatch: the key file holds CD, the matrix names AB"),
        (CHECK, "unpack-packages: error: package-content-wrong: the packages hold no /opt/beegfs/src"),
        # What the compiler quotes of the sources, or says about them, is not what it met.
        (COMPILE, '    7 |   printk(KERN_ERR "out of memory\\n"); foo();'),
        (COMPILE, "    9 |   // returns: Input/output error"),
        (COMPILE, "      |           Error: No space left on device"),
        (COMPILE, "   * fails with: Input/output error"),
        (COMPILE, '   return "Input/output error";'),
        (COMPILE, "Ops.c:9:3: warning: the comment says: out of memory"),
        (COMPILE, "Ops.c:9:3: error: static assertion failed: out of memory"),
        (COMPILE, "Ops.c:9:3: note: #pragma message: Killed"),
        (COMPILE, "App.c:7:3: error: 'Killed' undeclared"),
        (COMPILE, "x Killed"),
        (COMPILE, "App.c:7:3: internal compiler error: in expand_expr, at expr.c:9"),
        (COMPILE, "LD [M]  /opt/beegfs/src/No space left on device"),
    ],
)
def test_the_compile_and_the_check_of_packages_can_fail_a_cell(step: FailedStep, said: str) -> None:
    assert fault(step, said, "make: *** [all] Error 2")


@pytest.mark.parametrize(
    "said",
    [
        "/usr/bin/ld: final link failed: No space left on device",
        "gcc: fatal error: Killed signal terminated program cc1",
        "cc1: out of memory allocating 65536 bytes after a total of 9 bytes",
        "virtual memory exhausted: Cannot allocate memory",
        "/kmatrix/build-module: line 39:    12 Killed                  make -C source",
        "make[2]: *** [scripts/Makefile.build:250: App.o] Killed",
        "make[2]: *** [scripts/Makefile.build:250: App.o] Error 137",
        "cp: error writing '/module/beegfs.ko': Input/output error",
        "bash: fork: retry: Resource temporarily unavailable",
        "\x1b[31mtar: write error: Disk quota exceeded\x1b[0m",
        "collect2: fatal error: ld terminated with signal 9 [Killed]",
        "gcc: internal compiler error: Killed (program cc1)",
        "a.c:7:3: internal compiler error: Segmentation fault",
        "The bug is not reproducible, so it is likely a hardware or OS problem.",
        "make[2]: *** [scripts/Makefile.build:250: App.o] Bus error",
        "make[2]: *** [scripts/Makefile.build:250: App.o] Segmentation fault (core dumped)",
        "make[2]: *** [scripts/Makefile.build:250: App.o] Error 139",
        "as: can't open x: File table overflow",
        "as: can't open x: Too many open files in system",
        "gcc: fatal error: cannot execute 'cc1': vfork: No child processes",
        "make: *** vfork: Resource temporarily unavailable.  Stop.",
        "cp: reading x: Remote I/O error",
        "cat: x: Structure needs cleaning",
        "a.c:1:10: fatal error: linux/fs.h: Input/output error",
        "a.c:9:1: fatal error: error writing to /tmp/ccX.s: No space left on device",
        "Killed",
    ],
)
def test_what_the_machine_did_to_a_compile_fails_nothing(said: str) -> None:
    assert not fault(COMPILE, said, "make: *** [all] Error 2")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (75, "unpack-packages: stopped: package-key-unusable: rpm cannot use the key AB: error"),
        (75, "unpack-packages: error: package-signature-bad: a.rpm"),
        (1, "unpack-packages: error: package-signature-bad: "),
        (1, "unpack-packages: error: package-key-unusable: rpm cannot use the key AB: error: import failed"),
        (1, "unpack-packages: error: package-missing: a.rpm is not in the build context"),
        (
            1,
            "unpack-packages: error: package-signature-bad: error: sqlite failure: database or disk is full; a.rpm: no",
        ),
        (1, "unpack-packages: error: package-signature-bad: a.rpm: Fread failed: Input/output error (5)"),
        (1, "note: unpack-packages: error: package-signature-bad: a.rpm"),
    ],
)
def test_the_check_of_packages_fails_a_cell_by_its_explicit_words_alone(code: int, said: str) -> None:
    assert not fault(replace(CHECK, status=code), said)


def test_a_compile_that_its_script_calls_stopped_fails_nothing() -> None:
    said = ["ar: x: file truncated", "build-module: stopped: disk-full: /tmp cannot be written to"]
    assert not fault(replace(COMPILE, status=75), *said)


@pytest.mark.parametrize(("step", "said"), [(INSTALL, "error: Failed to download metadata"), (CHECK, "rpm: Bus error")])
def test_a_step_that_needs_the_world_fails_nothing(step: FailedStep, said: str) -> None:
    assert not fault(step, said)
