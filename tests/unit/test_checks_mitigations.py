"""A module is compared with how its kernel was compiled, and only as far as the kernel says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from checkcase import CELL, COMPILER, IN_TREE, KO, TOOLKIT, VERMAGIC, Case, said
from elfmaker import AARCH64, Ko

from kmatrix.decide.checks.mitigations import compiler_text


def test_retpoline_is_asked_for_only_where_the_kernel_has_it() -> None:
    without = Ko(modinfo=(("vermagic", VERMAGIC),), comment=(COMPILER,))
    report = Case(said(retpoline=None), replace(TOOLKIT, in_tree={"x": without.build()})).check()
    assert report.passed
    assert any("retpoline" in note for note in report.notes)
    arm = replace(CELL, arch="aarch64")
    assert Case(replace(said(retpoline=None), machine=AARCH64), cell=arm).check().passed


def test_compiler_that_cannot_be_compared_is_a_note() -> None:
    no_text = replace(TOOLKIT, config="CONFIG_MODVERSIONS=y\n")
    report = Case(toolkit=no_text).check()
    assert report.passed
    assert any("does not name its compiler" in note for note in report.notes)
    silent = {"x": replace(IN_TREE, drop=frozenset({".comment"})).build()}
    report = Case(replace(KO, drop=frozenset({".comment"})), replace(TOOLKIT, in_tree=silent)).check()
    assert report.passed
    assert any("name their compiler" in note for note in report.notes)


def test_compiler_named_in_the_head_of_an_old_configuration() -> None:
    config = "# Compiler: gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-4)\nCONFIG_MODVERSIONS=y\n"
    (finding,) = Case(toolkit=replace(TOOLKIT, config=config)).check().findings
    assert finding.code == "compiler-mismatch"
    assert finding.expected == "gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-4)"


@pytest.mark.parametrize(
    ("kernel", "comment"),
    [
        ("gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "GCC: (Debian 12.2.0-14+deb12u1) 12.2.0"),
        ("x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14) 12.2.0", "GCC: (Debian 12.2.0-14) 12.2.0"),
        ("gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)", COMPILER),
        ("clang version 16.0.6 (Red Hat 16.0.6-1.el9)", "clang version 16.0.6 (Red Hat 16.0.6-1.el9)"),
    ],
)
def test_compiler_texts_of_one_compiler_are_equal(kernel: str, comment: str) -> None:
    assert compiler_text(kernel) == compiler_text(comment)
    assert compiler_text(kernel) != compiler_text(comment.replace("1", "9"))


def test_a_compiler_that_is_named_is_compared_even_if_in_tree_modules_are_silent() -> None:
    silent = {"x": replace(IN_TREE, drop=frozenset({".comment"})).build()}
    case = Case(replace(KO, comment=("GCC: (GNU) 8.5.0",)), replace(TOOLKIT, in_tree=silent))
    assert [finding.code for finding in case.check().findings] == ["compiler-mismatch"]


def test_the_linkers_name_is_not_a_compilers() -> None:
    assert Case(replace(KO, comment=(COMPILER, "Linker: LLD 16.0.6"))).check().passed
