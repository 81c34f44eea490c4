"""A build's log is boiled down to the lines that say why it failed."""

from __future__ import annotations

import pytest

from kmatrix.decide.buildlog import causes, code_of

MAKE = "make[1]: *** [Makefile:10: main.o] Error 1"
ENGINE = "The command '/kmatrix/build-module' returned a non-zero code: 2"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["Step 3/9 : RUN x", "  CC main.o", "main.c:3:1: error: no such field", "note: here", MAKE, ENGINE],
            ("main.c:3:1: error: no such field",),
        ),
        (["main.c:1:10: fatal error: x.h: No such file", MAKE], ("main.c:1:10: fatal error: x.h: No such file",)),
        (['ERROR: modpost: "x" [beegfs.ko] undefined!', MAKE], ('ERROR: modpost: "x" [beegfs.ko] undefined!',)),
        (["ERROR: modpost: missing MODULE_LICENSE()", MAKE], ("ERROR: modpost: missing MODULE_LICENSE()",)),
        (["note: this is so", "the copy failed"], ("the copy failed",)),
        (
            ["build-module: error: source-missing: no folder", "x.c:1: error: y", ENGINE],
            ("build-module: error: source-missing: no folder",),
        ),
        (["cc1: fatal: Killed", MAKE], ("cc1: fatal: Killed",)),
        (["write: No space left on device", MAKE], ("write: No space left on device",)),
        (["  CC a.o", MAKE, ENGINE], (MAKE,)),
        ([f"line {number}" for number in range(9)], tuple(f"line {number}" for number in range(4, 9))),
        ([" ---> abc", "Removing intermediate container abc", "", "   "], ()),
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
