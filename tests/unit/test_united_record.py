"""Several signed test results of one image are one record, whatever order the registry has them in."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from kmatrix.decide.united_record import adds_nothing, united
from kmatrix.values.cells import Finding
from kmatrix.values.gate_record import GatePass, GateRecord, RecordedModule, TestedKernel

IMAGE = "sha256:" + "a" * 64
MODULE = RecordedModule(("KERNEL_HAS_A",), {"_printk": 1}, (), "GPL")
KERNEL = TestedKernel(f"r.example/dtk@{IMAGE}", "sha256:" + "b" * 64, "6.1.0")
WARNING = Finding("features", "feature-lost", "m")


def at(day: int) -> GatePass:
    return GatePass(f"2026-01-{day:02}T00:00:00Z", "0.1.0")


GATES = {"static": at(1), "boot": at(1)}
FIRST = GateRecord(IMAGE, "cell", "key", GATES, MODULE, warnings=(WARNING,), revision="1" * 40)
SECOND = GateRecord(IMAGE, "cell", "key", {"mount": at(2), "boot": at(2)}, None, (KERNEL,), (WARNING,), "2" * 40)
THIRD = GateRecord(IMAGE, "cell", "key", {"secure-boot": at(3)}, None, (KERNEL,))


@pytest.mark.parametrize("records", list(permutations((FIRST, SECOND, THIRD))))
def test_every_entry_of_every_record_counts_and_the_later_pass_of_a_gate(records: tuple[GateRecord, ...]) -> None:
    assert united(records) == GateRecord(
        IMAGE,
        "cell",
        "key",
        {"static": at(1), "boot": at(2), "mount": at(2), "secure-boot": at(3)},
        MODULE,
        (KERNEL,),
        (WARNING,),
        "2" * 40,
    )


def test_no_record_is_none() -> None:
    assert united(()) is None


@pytest.mark.parametrize("changed", [{"name": "other"}, {"cell_key": "other"}])
@pytest.mark.parametrize("first", [True, False])
def test_the_gates_of_another_cell_or_key_are_not_mixed_in(changed: dict[str, str], first: bool) -> None:
    other = replace(SECOND, **changed)  # type: ignore[arg-type]
    assert united((other, FIRST) if first else (FIRST, other)) == other


@pytest.mark.parametrize(
    ("record", "there", "nothing"),
    [
        (FIRST, FIRST, True),
        (FIRST, replace(FIRST, gates={**FIRST.gates, "mount": at(9)}), True),
        (FIRST, replace(FIRST, gates={"static": at(1)}), False),
        (FIRST, replace(FIRST, module=None), False),
        (replace(FIRST, module=None), FIRST, True),
        (replace(FIRST, module=replace(MODULE, depends=("ib_core",))), FIRST, False),
        (FIRST, replace(FIRST, module=replace(MODULE, depends=())), True),
        (replace(FIRST, kernels=(KERNEL,)), FIRST, False),
        (FIRST, replace(FIRST, cell_key="other"), False),
        (FIRST, replace(FIRST, name="other"), False),
        (FIRST, None, False),
        # The time of a pass alone is no news.
        (replace(FIRST, gates=dict.fromkeys(FIRST.gates, at(7))), FIRST, True),
    ],
)
def test_a_record_is_news_only_where_it_has_more(record: GateRecord, there: GateRecord | None, nothing: bool) -> None:
    assert adds_nothing(record, there) is nothing
