"""The order of versions, held to rpm's own vectors and to the program where it is installed."""

from __future__ import annotations

import itertools
import random
import subprocess

import pytest

from kmatrix.decide.formats.rpm_versions import evr_order, natural, rpm_order
from tests.unit.support.programs import needs

# Rows of rpm-software-management/rpm, tests/rpmvercmp.at (those with a caret from rpm 4.15 on): one text, another, and
# rpm.vercmp's result.
VECTORS = [
    ("1.0", "1.0", 0),
    ("1.0", "2.0", -1),
    ("2.0", "2.0.1", -1),
    ("2.0.1a", "2.0.1", 1),
    ("5.5p1", "5.5p10", -1),
    ("10xyz", "10.1xyz", -1),
    ("xyz10", "xyz10.1", -1),
    ("xyz.4", "8", -1),
    ("xyz.4", "2", -1),
    ("5.5p2", "5.6p1", -1),
    ("5.6p1", "6.5p1", -1),
    ("6.0.rc1", "6.0", 1),
    ("10b2", "10a1", 1),
    ("1.0a", "1.0aa", -1),
    ("10.0001", "10.1", 0),
    ("10.0001", "10.0039", -1),
    ("4.999.9", "5.0", -1),
    ("20101121", "20101122", -1),
    ("2_0", "2.0", 0),
    ("a+", "a_", 0),
    ("+a", "_a", 0),
    ("+", "_", 0),
    ("1.0~rc1", "1.0", -1),
    ("1.0~rc1", "1.0~rc2", -1),
    ("1.0~rc1~git123", "1.0~rc1", -1),
    ("1.0^", "1.0", 1),
    ("1.0^git1", "1.01", -1),
]


def compared(one: str, other: str) -> int:
    return (rpm_order(one) > rpm_order(other)) - (rpm_order(one) < rpm_order(other))


@pytest.mark.parametrize(("one", "other", "expected"), VECTORS)
def test_rpms_own_vectors(one: str, other: str, expected: int) -> None:
    assert compared(one, other) == expected
    assert compared(other, one) == -expected


@needs("rpm")
def test_the_order_is_that_of_the_rpm_program() -> None:
    """`rpm.vercmp` splits [EPOCH:]VERSION[-RELEASE] itself, so the texts hold neither `:` nor `-`."""
    draw = random.Random(1)
    parts = ("1", "2", "01", "10", "a", "b", "rc", ".", "_", "~", "^", "+", "el9", "Z", "0")
    texts = ["".join(draw.choices(parts, k=draw.randint(1, 6))) for _ in range(60)]
    pairs = list(itertools.product(texts, repeat=2))
    calls = ",".join(f'rpm.vercmp("{one}","{other}")' for one, other in pairs)
    macro = "%{lua: print(table.concat({" + calls + "}, ' '))}"
    said = subprocess.run(["rpm", "--eval", macro], capture_output=True, text=True, check=True).stdout.split()
    assert [compared(one, other) for one, other in pairs] == [int(word) for word in said]


def test_numbers_in_epochs_and_releases_are_numbers() -> None:
    assert evr_order(3, "8.1", "1") < evr_order(21, "8.1", "1")
    assert evr_order(0, "8.1", "9.el9") < evr_order(0, "8.1", "10.el9")
    assert evr_order(0, "8.1", "99") < evr_order(0, "8.1.1", "1") < evr_order(1, "1", "1")


def test_a_number_longer_than_python_converts_is_compared() -> None:
    assert rpm_order("1" * 5000) < rpm_order("2" * 5000)


def test_kernels_are_in_the_order_of_their_packages() -> None:
    kernels = [
        "5.14.0-427~rc1.el9.x86_64",
        "5.14.0-427.el9.x86_64",
        "5.14.0-427.9.1.el9_4.x86_64",
        "5.14.0-427.13.1.el9_4.x86_64",
        "5.14.0-427.13.1.el9_4.x86_64+rt",
    ]
    shuffled = [kernels[place] for place in (4, 1, 3, 0, 2)]
    assert sorted(shuffled, key=natural) == kernels
