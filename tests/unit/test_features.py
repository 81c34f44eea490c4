"""Features are compared along a line of kernels: the same cells give the same findings, in whatever order they come."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from kmatrix.decide.features import (
    CompiledFeatures,
    FeatureChange,
    change_of,
    changes,
    compared,
    gained_note,
    lost_finding,
)
from kmatrix.values.cells import CellResult, Finding

KERNELS = ("5.14.0-427.9.1.el9_4", "5.14.0-427.10.1.el9_4", "5.14.0-503.1.1.el9_5", "5.14.0-570.1.1.el9_6")


def compiled(kernel: str, *macros: str, **line: str) -> CompiledFeatures:
    of = {"client": "8.3.1", "stream": "el9", "arch": "x86_64", "flavour": "standard", **line}
    return CompiledFeatures(**of, kernel=kernel, macros=macros)


def along(*sets: Iterable[str]) -> list[CompiledFeatures]:
    """Return one cell for each set of macros, in the order of their kernels."""
    return [compiled(kernel, *sorted(macros)) for kernel, macros in zip(KERNELS, sets, strict=False)]


def losses(known: Iterable[CompiledFeatures], *, strict: bool = False) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return for each kernel that lost something what it is compared with, and its losses."""
    return {
        each.kernel: (change.before, change.lost)
        for each, change in changes(known, strict=strict).items()
        if change.lost
    }


def test_a_cell_is_compared_with_the_nearest_earlier_kernel_in_rpms_order() -> None:
    assert losses(along({"A", "B"}, {"A", "B"}, {"A"}, {"A"})) == {KERNELS[2]: (KERNELS[1], ("B",))}
    assert losses(along({"A"}, {"A", "B"}, {"A", "B"})) == {}


def test_a_loss_that_is_a_failure_does_not_become_the_measure() -> None:
    known = along({"A", "B"}, {"A"}, {"A"}, {"A", "B"})
    assert losses(known) == {KERNELS[1]: (KERNELS[0], ("B",))}
    assert losses(known, strict=True) == dict.fromkeys(KERNELS[1:3], (KERNELS[0], ("B",)))


@pytest.mark.parametrize(
    "line",
    [{"client": "8.4.0"}, {"stream": "el10"}, {"arch": "aarch64"}, {"flavour": "rt"}],
    ids=str,
)
def test_cells_of_other_lines_are_not_compared(line: dict[str, str]) -> None:
    known = [compiled(KERNELS[0], "A", **line), compiled(KERNELS[1])]
    assert changes(known, strict=False) == {}
    assert change_of(known[1], known, strict=False) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strict", [False, True])
def test_the_order_in_which_cells_finished_changes_nothing(seed: int, strict: bool) -> None:
    order = random.Random(seed)
    known = along(*({name for name in "ABCD" if order.random() < 0.7} for _ in KERNELS))
    expected = changes(known, strict=strict)
    for _ in range(10):
        order.shuffle(known)
        assert changes(known, strict=strict) == expected
        assert {each: change_of(each, known, strict=strict) for each in expected} == expected


def test_a_switch_that_appears_is_a_loss_and_one_that_goes_a_gain() -> None:
    known = along({"A"}, {"A", "BEEGFS_NO_RDMA"}, {"A"})
    first, second = (changes(known, strict=False)[cell] for cell in known[1:])
    assert (first.lost, first.gained) == (("BEEGFS_NO_RDMA",), ())
    assert (second.lost, second.gained) == ((), ("BEEGFS_NO_RDMA",))
    finding = lost_finding(first)
    assert finding.message == f"BEEGFS_NO_RDMA, which that of kernel {KERNELS[0]} has not, switches features off"
    assert finding.expected == "no BEEGFS_NO_RDMA"


def test_the_finding_names_the_features_the_kernel_and_what_is_new() -> None:
    finding = lost_finding(FeatureChange(KERNELS[0], tuple(f"KERNEL_HAS_{n}" for n in range(12)), ("OFED_NEW",)))
    shown = ", ".join(f"KERNEL_HAS_{n}" for n in range(8))
    assert (finding.check, finding.code) == ("features", "feature-lost")
    assert finding.message == f"the module of kernel {KERNELS[0]} has {shown} and 4 more, and this one has not"
    assert (finding.expected.count("KERNEL_HAS_"), finding.actual) == (12, "new: OFED_NEW")
    assert gained_note(FeatureChange("k", (), ("A", "B"))) == "features that kernel k has not: A, B"
    assert gained_note(FeatureChange("k", ("A",), ())) == ""


def result(number: int, *macros: str, **changed: object) -> CellResult:
    kernel = KERNELS[number]
    made = CellResult(
        cell=f"8.3.1-{kernel}",
        client="8.3.1",
        kernel=kernel,
        releases=("4.16.3",),
        verdict="passed",
        reason="every check passed",
        digest="sha256:" + "a" * 64,
        arch="x86_64",
        flavour="standard",
        stream="el9",
        features=macros,
    )
    return replace(made, **changed)  # type: ignore[arg-type]  # tests name fields by keyword


def run(*results: CellResult, cells: Iterable[int] | None = None, fails: bool = False) -> dict[str, CellResult]:
    known = {each.cell: each for each in results}
    names = {each.cell for number, each in enumerate(results) if cells is None or number in cells}
    return compared(known, names, fails=fails, again=lambda cell: f"`build {cell}`")


def test_cells_that_were_built_side_by_side_are_compared_at_the_end() -> None:
    before = [result(0, "A"), result(1)]
    changed = run(*before)
    (after,) = changed.values()
    assert after.cell == before[1].cell
    assert [warning.code for warning in after.warnings] == ["feature-lost"]
    assert replace(after, warnings=()) == before[1]
    assert run(before[0], after) == {}, "a second look changes nothing"


def test_a_warning_of_an_earlier_comparison_goes_and_the_others_stay() -> None:
    other, old = Finding("x", "other", "m"), Finding("features", "feature-lost", "an earlier one")
    (after,) = run(result(0, "A"), result(1, "A", warnings=(old, other))).values()
    assert after.warnings == (other,)


def test_cells_of_other_runs_are_the_measure_and_stay_as_they_are() -> None:
    assert [*run(result(0, "A"), result(1), result(2), cells=[2])] == []
    assert [*run(result(0, "A"), result(1), cells=[1])] == [result(1).cell]


def test_a_cell_without_known_features_is_passed_over() -> None:
    (after,) = run(result(0, "A"), result(1, features=None), result(2)).values()
    assert (after.cell, KERNELS[0] in after.warnings[0].message) == (result(2).cell, True)


@pytest.mark.parametrize(
    ("changed", "stays"),
    [({}, True), ({"verdict": "skipped"}, True), ({"digest": "", "image_id": "sha256:1"}, False)],
    ids=["pushed", "skipped", "withheld"],
)
def test_a_loss_can_be_a_failure(changed: dict[str, object], stays: bool) -> None:
    (after,) = run(result(0, "A"), result(1, **changed), fails=True).values()
    assert (after.verdict, after.warnings) == ("failed", ())
    assert after.next_step.endswith(f" `build {after.cell}` builds the cell again.")
    assert [finding.code for finding in after.findings] == ["feature-lost"]
    assert after.reason.startswith("feature-lost: the module of kernel ")
    assert after.reason.endswith("; the image is published already, and stays") == stays
    assert run(result(0, "A"), after, fails=True) == {}


def test_a_cell_that_failed_or_errored_keeps_its_verdict() -> None:
    for verdict in ("failed", "errored"):
        (after,) = run(result(0, "A"), result(1, verdict=verdict, reason="r"), fails=True).values()
        assert (after.verdict, after.reason, len(after.warnings)) == (verdict, "r", 1)


def test_a_loss_that_the_gate_found_is_named_once() -> None:
    refused = result(1, verdict="failed", digest="", findings=(Finding("features", "feature-lost", "m"),))
    assert run(result(0, "A"), refused, fails=True) == {}
