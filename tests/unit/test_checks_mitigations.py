"""A module is compared with how its kernel was compiled, and only as far as the kernel says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.checks.mitigations import compiler_family, compiler_text
from tests.unit.support.check_case import CELL, COMPILER, KO, TOOLKIT, VERMAGIC, Case, said
from tests.unit.support.elf_maker import AARCH64, Ko


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
    assert any("configuration" in note and "does not name its compiler" in note for note in report.notes)
    report = Case(replace(KO, drop=frozenset({".comment"}))).check()
    assert report.passed
    assert any("the module does not name its compiler" in note for note in report.notes)


def test_compiler_named_in_the_head_of_an_old_configuration() -> None:
    config = "# Compiler: gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-4)\nCONFIG_MODVERSIONS=y\n"
    report = Case(toolkit=replace(TOOLKIT, config=config)).check()
    assert report.passed
    assert any("the kernel with gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-4)" in note for note in report.notes)
    clang = replace(KO, comment=("clang version 16.0.6",))
    (finding,) = Case(clang, replace(TOOLKIT, config=config)).check().findings
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


@pytest.mark.parametrize(
    "comment",
    [
        "GCC: (GNU) 11.4.1 20231218 (Red Hat 11.4.1-4)",
        "GCC: (GNU) 11.4.1 20230605 (Red Hat 11.4.1-2)",
        "GCC: (GNU) 11.5.0 20240719 (Red Hat 11.5.0-2)",
        "GCC: (GNU) 14.2.1 20250110 (Red Hat 14.2.1-7)",
        "GCC: (Debian 12.2.0-14) 12.2.0",
    ],
)
def test_another_version_of_the_kernels_compiler_is_a_note(comment: str) -> None:
    """torvalds/linux, Makefile, target `prepare`: it compares the whole texts, warns, and goes on."""
    report = Case(replace(KO, comment=(comment,))).check()
    assert report.passed
    (note,) = [note for note in report.notes if "compiled with" in note]
    assert comment in note
    assert "the kernel with gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)" in note


@pytest.mark.parametrize(
    "other",
    ["GCC: (GNU) 11.3.1 20221121 (Red Hat 11.3.1-4)", "clang version 16.0.6", "rustc version 1.78.0", "ICC 19"],
)
def test_an_object_linked_in_from_elsewhere_is_a_note(other: str) -> None:
    report = Case(replace(KO, comment=(COMPILER, other))).check()
    assert report.passed
    (note,) = [note for note in report.notes if "compiled with" in note]
    assert note == f"the module also has objects that were compiled with {other}"
    # Neither the kernel's compiler nor one of another version is all that is in the module.
    older = "GCC: (GNU) 8.5.0 20210514 (Red Hat 8.5.0-4)"
    assert Case(replace(KO, comment=(older, other))).check().passed


def test_the_kernels_compiler_alone_makes_no_note() -> None:
    assert not any("compile" in note for note in Case().check().notes)


@pytest.mark.parametrize("comment", ["rustc version 1.78.0", "ICC 19"])
def test_a_compiler_of_no_known_family_is_not_judged(comment: str) -> None:
    report = Case(replace(KO, comment=(comment,))).check()
    assert report.passed
    assert any(comment in note for note in report.notes)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)", "gcc"),
        ("GCC: (GNU) 11.4.1 20231218 (Red Hat 11.4.1-3)", "gcc"),
        ("x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14) 12.2.0", "gcc"),
        ("gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "gcc"),
        ("cc (SUSE Linux) 7.5.0", "gcc"),
        ("clang version 16.0.6 (Red Hat 16.0.6-1.el9)", "clang"),
        ("Debian clang version 14.0.6", "clang"),
        ("Ubuntu clang version 18.1.3 (1ubuntu1)", "clang"),
        ("rustc version 1.78.0", ""),
        ("icc (ICC) 19.0", ""),
    ],
)
def test_families_are_told_from_the_texts(text: str, family: str) -> None:
    assert compiler_family(text) == family


def test_a_kernel_of_clang_refuses_a_module_of_gcc() -> None:
    clang = 'CONFIG_CC_VERSION_TEXT="clang version 16.0.6"\nCONFIG_MODVERSIONS=y\n'
    (finding,) = Case(toolkit=replace(TOOLKIT, config=clang)).check().findings
    assert (finding.code, finding.expected, finding.actual) == ("compiler-mismatch", "clang version 16.0.6", COMPILER)


def test_the_linkers_name_is_not_a_compilers() -> None:
    assert Case(replace(KO, comment=(COMPILER, "Linker: LLD 16.0.6"))).check().passed
