"""A bundle's record names every kernel that it was booted in, by the toolkit's name in its release."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from kmatrix.stages.run_context import RunContext
from kmatrix.values.gate_record import BOOT_GATE, GateRecord, TestedKernel
from tests.unit.support.bundle_bench import PASSED, Bench
from tests.unit.support.cell_images import KERNELS

pytestmark = pytest.mark.usefixtures("two_gates")


def test_a_bundle_is_recorded_with_each_kernel_that_answered_in_its_boots(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [bench.image(kernel) for kernel in KERNELS]
    public = images[0].cell.toolkit.pinned
    host, _, path = public.partition("/")
    bench.run.options = replace(bench.run.options, revision="a" * 40)
    for number, made in enumerate(images):
        kernel = TestedKernel(f"mirror.example/{path}", f"sha256:{number}", made.cell.kernel)
        bench.reports[made.cell.kernel] = replace(PASSED, kernel=kernel)
    added: list[GateRecord] = []
    records = SimpleNamespace(add=lambda _, record: added.append(record), find=bench.run.records.find)
    monkeypatch.setattr(RunContext, "records", records)
    result = bench.make(*images)
    assert result.verdict == "passed", result.reason
    (record,) = [each for each in added if each.digest == result.digest]
    assert (record.name, set(record.gates), record.revision) == ("8.98.1", {BOOT_GATE}, "a" * 40)
    assert record.kernels == tuple(
        TestedKernel(public, f"sha256:{number}", made.cell.kernel) for number, made in enumerate(images)
    )
    assert host != "mirror.example"
