"""The page of kernels: classes of interchangeable modules, reuse, and the features that differ."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.decide.report.kernels_page import kernels_page
from kmatrix.decide.report.paths import cell_path
from kmatrix.decide.report.sharing import MOST_CLASSES, MOST_KERNELS, MOST_MACROS, MOST_PAIRS, sharing
from kmatrix.values.cells import CellResult
from tests.unit.support.made_up_report import GATES, NEWER, NEXT, OLDER, cell, large_report, small_report
from tests.unit.support.parsed_page import links, tagged


def known(kernel: str, abi: str = "a" * 16, features: tuple[str, ...] | None = ("KERNEL_HAS_A",)) -> CellResult:
    return replace(cell("8.3.1", kernel), abi=abi, features=features, reusable_from=None)


def show(*cells: CellResult) -> str:
    return kernels_page(replace(small_report(), cells=cells))


def rows(text: str) -> list[str]:
    return [each.words for each in tagged(text, "tr")]


def test_the_page_says_that_nothing_is_published_by_it() -> None:
    (note,) = tagged(kernels_page(small_report()), "p", "note")
    assert "nothing is published by it" in note.words


def test_kernels_with_equal_needs_are_one_class_the_largest_first() -> None:
    text = show(known(OLDER), known(NEWER, "b" * 16), known("5.14.0-428.1.1.el9_4.x86_64"))
    assert rows(text)[1:3] == [
        f"{'a' * 16} el9 x86_64 standard 2 5.14.0-428.1.1.el9_4.x86_64 {OLDER}",
        f"{'b' * 16} el9 x86_64 standard 1 {NEWER}",
    ]
    assert "3 modules are known, in 2 classes." in text
    assert links(text)[NEWER] == cell_path(f"8.3.1-{NEWER}")


def test_a_module_that_the_static_gate_refused_is_in_no_class() -> None:
    refused = replace(known(NEWER), gates={"static": "failed"})
    (one,) = sharing([known(OLDER), refused])
    assert (one.modules, one.classes[0].cells.total) == (1, 1)


def test_kernels_of_other_lines_and_clients_are_other_classes() -> None:
    other = replace(known(OLDER), client="7.4.6", cell=f"7.4.6-{OLDER}")
    found = sharing([known(OLDER), known(NEXT), other])
    assert [(each.client, each.class_count) for each in found] == [("8.3.1", 2), ("7.4.6", 1)]


def test_a_kernel_that_would_load_a_module_of_another_class_is_named() -> None:
    loads = replace(known(NEWER, "b" * 16), reusable_from=(f"8.3.1-{OLDER}",))
    text = show(known(OLDER), loads)
    assert f"{NEWER} {OLDER}" in rows(text)
    same = show(known(OLDER), replace(loads, abi="a" * 16))
    assert f"{NEWER} {OLDER}" not in rows(same)
    uncompiled = replace(loads, verdict="failed", abi="", gates={}, features=None)
    assert f"{NEWER} {OLDER}" in rows(show(known(OLDER), uncompiled))


def test_only_differing_macros_are_listed_with_the_kernels_on_both_sides() -> None:
    text = show(known(OLDER, features=("KERNEL_A", "KERNEL_B")), known(NEWER, features=("KERNEL_A", "KERNEL_C")))
    assert rows(text)[-2:] == [f"KERNEL_B {OLDER} {NEWER}", f"KERNEL_C {NEWER} {OLDER}"]
    assert "KERNEL_A" not in text


def test_kernels_without_known_features_are_on_neither_side() -> None:
    (one,) = sharing([known(OLDER, features=("KERNEL_B",)), known(NEWER, features=()), known(NEXT, features=None)])
    assert [(each.having.total, each.lacking.total) for each in one.macros] == [(1, 1)]
    assert one.compared == 2


def test_what_is_not_known_is_said() -> None:
    text = show(replace(known(OLDER, "", None), gates={}))
    assert "No module is known yet" in text
    assert "The feature macros of no module are known." in text
    assert "all 2 modules whose macros are known were compiled with the same" in show(known(OLDER), known(NEWER))
    assert "There are no cells yet." in show()


def test_a_large_matrix_is_shortened() -> None:
    cells = [
        replace(
            each,
            abi=f"{number % 60:016x}",
            gates=dict.fromkeys(GATES, "passed"),
            features=tuple(f"KERNEL_HAS_{macro}" for macro in range(50) if macro != number % 50),
            reusable_from=(f"{each.client}-{each.kernel[:-4]}x", large_first(each)),
        )
        for number, each in enumerate(large_report(1, 250).cells)
    ]
    (one,) = sharing(cells)
    assert (len(one.classes), len(one.reuses), len(one.macros)) == (MOST_CLASSES, MOST_PAIRS, MOST_MACROS)
    assert max(len(each.cells.cells) for each in one.classes) <= MOST_KERNELS
    assert (one.macro_count, one.compared) == (50, 250)
    text = show(*cells)
    assert f"Shortened: {MOST_MACROS} of 50 macros." in text
    assert "and 241 older kernels" in text
    assert len(text) < 60_000


def large_first(each: CellResult) -> str:
    return f"{each.client}-{large_report(1, 1).cells[0].kernel}"


def test_hostile_text_stays_text() -> None:
    nasty = '"><script>alert(1)</script>'
    odd = replace(known(nasty, nasty, (nasty,)), client=nasty, stream=nasty, cell=nasty, reusable_from=(nasty,))
    text = show(odd, replace(odd, kernel="x", cell="x", abi="y", features=()))
    assert [each.attributes["src"] for each in tagged(text, "script")] == ["assets/report.js"]
    assert text.count("&lt;script&gt;") > 5
