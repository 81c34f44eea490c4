"""A bundle on its way to its tag: the order of writes, and that nothing has the tag before every boot."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kmatrix.decide.bundle import compose, manifest_list
from kmatrix.decide.bundle_bounds import Bounds
from kmatrix.decide.gate_record import record_tag
from kmatrix.effects.disk.files import cannot_write
from kmatrix.stages import bundle as stage
from kmatrix.stages.published import published_cells
from kmatrix.values.boot import BootReport
from kmatrix.values.errors import InterruptedRunError, ToolError
from kmatrix.values.gate_record import GateRecord
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe
from tests.unit.support.bundle_bench import PASSED, Bench
from tests.unit.support.cell_images import CLIENT, KERNELS, config_of, digest, image
from tests.unit.support.gate_records import put_manifest, put_record, record_of

pytestmark = pytest.mark.usefixtures("two_gates")
FAILED = BootReport("failed", "load-refused", "disagrees about version of symbol")
ERRORED = BootReport("errored", "no-boot", "the machine did not come up")
# The tags of the images for Kernel Module Management, which come before that of the bundle.
TAGS = [f"8.98.1-{kernel}" for kernel in KERNELS]


def test_the_tag_comes_last_and_is_the_digest_that_was_booted(bench: Bench) -> None:
    images = [bench.image(kernel) for kernel in KERNELS]
    result = bench.make(*images, missing=("8.98.1-9",))
    composed = compose(CLIENT, tuple(images))
    assert (result.verdict, result.digest) == ("passed", composed.manifest.digest)
    # Twice, as a registry may delete manifests without a tag while the kernels boot.
    twice = [composed.manifest.digest, composed.manifest.digest]
    assert bench.written == [*twice, *TAGS, record_tag(composed.manifest.digest), "8.98.1"]
    assert sorted(bench.booted) == sorted(each.cell.kernel for each in images)
    assert result.kernels == tuple(each.cell.kernel for each in images)
    assert (result.missing, result.dropped, result.findings) == (("8.98.1-9",), (), ())
    (measured,) = result.images
    assert (measured.bytes, measured.toolkit_bytes, set(measured.kernels.values())) == (113, 999, {1})
    assert bench.engine.pulled[0] == f"{bench.run.options.target}/beegfs-client@{composed.manifest.digest}"
    assert not bench.engine.held, "neither the bundle nor a toolkit was in the engine before"
    blob = f"/v2/site/beegfs-client/blobs/{composed.config.digest}"
    assert bench.server.blobs[blob] == composed.config.content


def test_the_same_cells_are_skipped_without_a_pull_a_boot_or_a_write(bench: Bench) -> None:
    images = [bench.image(kernel) for kernel in KERNELS]
    first = bench.make(*images)
    bench.booted.clear()
    bench.engine.pulled.clear()
    again = bench.make(*images)
    assert (again.verdict, again.digest) == ("skipped", first.digest)
    assert (bench.booted, bench.engine.pulled) == ([], [])
    assert {line.partition(" ")[0] for line in bench.server.sent()} == {"GET"}
    assert again.images == first.images


@pytest.mark.parametrize(
    ("reports", "verdict", "first"),
    [
        ([FAILED, PASSED], "failed", "load-refused"),
        ([ERRORED, FAILED], "failed", "load-refused"),
        ([PASSED, ERRORED], "errored", "no-boot"),
        ([ToolError("QEMU failed", "Do it."), PASSED], "errored", "no-verdict"),
        ([OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "build/boot/x"), PASSED], "errored", "no-verdict"),
        ([ZeroDivisionError("oh"), PASSED], "errored", "no-verdict"),
    ],
)
def test_a_kernel_that_does_not_load_leaves_the_tag_unchanged(
    bench: Bench, reports: list[BootReport | Exception], verdict: str, first: str
) -> None:
    images = [bench.image(kernel) for kernel in KERNELS[:2]]
    before = bench.make(images[0])
    bench.reports = {each.cell.kernel: report for each, report in zip(images, reports, strict=True)}
    result = bench.make(*images)
    assert (result.verdict, result.digest) == (verdict, "")
    assert result.findings[0].code == first
    assert result.reason.startswith(f"{first}: ")
    assert "not published" in result.reason
    assert set(bench.booted) == {each.cell.kernel for each in images}, "one that fails hides no other"
    assert "8.98.1" not in bench.written
    tag = ImageRef.parse(f"{bench.run.options.target}/beegfs-client:8.98.1")
    assert bench.run.registry.digest_of(tag) == before.digest


def test_more_than_one_architecture_is_booted_each_and_published_as_a_list(bench: Bench) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[0], "aarch64"), bench.image(KERNELS[1], "aarch64")]
    result = bench.make(*images)
    composed = [compose(CLIENT, tuple(images[:1])), compose(CLIENT, tuple(images[1:]))]
    assert (result.verdict, result.digest) == ("passed", manifest_list(composed).digest)
    digests = [each.manifest.digest for each in (*composed, *composed)]
    assert bench.written == [*digests, *TAGS[:2], record_tag(result.digest), "8.98.1"]
    assert (result.arches, len(bench.booted)) == (("x86_64", "aarch64"), 3)
    assert [measured.digest for measured in result.images] == [each.manifest.digest for each in composed]
    leaving = {(each.cell.arch, each.cell.kernel): "left matrix.yaml" for each in images[1:]}
    fewer = bench.make(images[0], bounds=Bounds(leaving))
    assert fewer.dropped == tuple(each.cell.kernel for each in images[1:])


def test_an_architecture_that_does_not_load_keeps_the_others_from_the_tag(bench: Bench) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[0], "aarch64")]
    bench.reports = {images[1].cell.kernel: FAILED}
    assert bench.make(*images).verdict == "failed"
    assert "8.98.1" not in bench.written


def test_a_module_that_was_built_from_other_inputs_is_included_and_named(bench: Bench) -> None:
    images = [bench.image(kernel) for kernel in KERNELS]
    images[0] = replace(images[0], current=False)
    result = bench.make(*images)
    assert (result.verdict, result.earlier, result.missing) == ("passed", (images[0].cell.id,), ())
    assert images[0].cell.kernel in bench.booted
    alone = bench.make(images[0])
    assert alone.verdict == "errored"
    assert "none of its 1 cells is published with its current inputs and every gate passed" in alone.reason


def test_published_cells_are_believed_by_the_record_of_exactly_their_image(bench: Bench) -> None:
    key, cell, other = digest("key"), image(KERNELS[0]).cell, image(KERNELS[1]).cell
    made = bench.publish(image(KERNELS[0]), gates=())
    recipe = cast("Recipe", SimpleNamespace(cell=cell, cell_key=key))
    path = bench.server.repository
    put_manifest(bench.server, path, cell.tag, made.manifest.content)
    again = "`nox -s build -- --profile lab --only 8.98.1-5.14.0-427.9.1.el9_4.x86_64`"
    cases: list[tuple[GateRecord | None, bool | str]] = [
        (None, f"has no record of passed gates that this project wrote for it; {again} builds it again"),
        (record_of(made.digest, cell.id, key), True),
        (record_of(made.digest, cell.id, digest("other inputs")), False),
        (record_of(made.digest, cell.id, key, ["static"]), f"has not passed gate boot; {again} runs the missing gates"),
        (record_of(made.digest, cell.id, "old", []), f"has not passed gates static, boot; {again} builds it again"),
        (record_of(made.digest, other.id, key), f"has the record of '{other.id}' instead of its own; {again} builds"),
    ]
    for record, current in cases:
        if record is not None:
            put_record(bench.server, path, record)
        found = published_cells(bench.run, [recipe])
        assert found.unread == {}
        assert [each.current for each in found.images] == ([] if isinstance(current, str) else [current]), record
        assert [*found.lacking] == ([cell.id] if isinstance(current, str) else [])
        assert str(current) in found.lacking.get(cell.id, str(current))


def test_a_record_of_another_image_is_named_and_not_believed(bench: Bench) -> None:
    made = bench.publish(image(KERNELS[0]), gates=())
    recipe = cast("Recipe", SimpleNamespace(cell=made.cell, cell_key=digest("key")))
    path = bench.server.repository
    put_manifest(bench.server, path, made.cell.tag, made.manifest.content)
    record = record_of("sha256:" + "b" * 64, made.cell.id, digest("key"))
    put_record(bench.server, path, record, tag=record_tag(made.digest))
    assert "has no record" in published_cells(bench.run, [recipe]).lacking[made.cell.id]
    assert f"{record_tag(made.digest)} is not believed as a record of passed gates: it is about" in bench.said


def test_a_configuration_that_cannot_be_read_is_reported(bench: Bench) -> None:
    made = bench.publish(image(KERNELS[0]), gates=())
    recipe = cast("Recipe", SimpleNamespace(cell=made.cell, cell_key=digest("key")))
    path = bench.server.repository
    put_manifest(bench.server, path, made.cell.tag, made.manifest.content)
    put_record(bench.server, path, record_of(made.digest, made.cell.id, digest("key")))
    bench.server.blobs = {name: blob for name, blob in bench.server.blobs.items() if blob != config_of(made)}
    found = published_cells(bench.run, [recipe])
    assert (found.images, [*found.unread], found.lacking) == ([], [made.cell.id], {})
    assert "does not exist, but the image's manifest names it" in found.unread[made.cell.id]


def test_a_bundle_without_a_record_is_booted_and_published_again(bench: Bench) -> None:
    images = [bench.image(kernel) for kernel in KERNELS]
    first = bench.make(*images)
    bench.forget_record(first.digest)
    bench.booted.clear()
    again = bench.make(*images)
    assert (again.verdict, again.digest, sorted(bench.booted)) == ("passed", first.digest, sorted(first.kernels))
    assert bench.written.index(record_tag(first.digest)) < bench.written.index("8.98.1")
    assert bench.make(*images).verdict == "skipped"


@pytest.mark.parametrize("recorded", ["absent", "of another client", "static alone"])
def test_a_kernel_of_a_bundle_without_a_record_is_neither_believed_nor_dropped(bench: Bench, recorded: str) -> None:
    images = [bench.image(kernel) for kernel in KERNELS]
    first = bench.make(*images)
    bench.forget_record(first.digest)
    if recorded != "absent":
        name, gates = ("8.98.2", ["boot"]) if "client" in recorded else ("8.98.1", ["static"])
        put_record(bench.server, bench.server.repository, record_of(first.digest, name, gates=gates))
    result = bench.make(*images[:2])
    assert (result.verdict, result.digest, bench.written) == ("errored", "", [])
    assert "no record of this project's that this was booted" in result.reason
    assert f"no published cell with every gate passed has its kernels {first.kernels[2]}" in result.reason
    assert f"nox -s build -- --profile lab --only {images[2].cell.id}" in result.reason
    assert f"--forget {first.kernels[2]}" in result.reason
    assert bench.names("8.98.1") == first.digest


def test_a_toolkit_that_the_engine_had_stays_and_one_for_two_kernels_is_kept_for_both(bench: Bench) -> None:
    images = [bench.image(kernel) for kernel in KERNELS]
    images[1] = replace(images[1], cell=replace(images[1].cell, toolkit=images[0].cell.toolkit))
    bench.engine.held.add(images[2].cell.toolkit.pinned)
    assert bench.make(*images).verdict == "passed"
    assert bench.engine.held == {images[2].cell.toolkit.pinned}
    assert bench.engine.lost == []


def test_a_toolkit_of_unknown_size_makes_no_skipped_bundle_errored(bench: Bench) -> None:
    made = bench.image(KERNELS[0])
    gone = replace(made.cell.toolkit, digest=digest("no such toolkit"))
    made = replace(made, cell=replace(made.cell, toolkit=gone))
    first = bench.make(made)
    again = bench.make(made)
    assert (first.verdict, again.verdict) == ("passed", "skipped")
    assert again.images[0].toolkit_bytes == 0


def test_a_client_without_cells_has_no_bundle_and_queries_nothing(bench: Bench) -> None:
    result = bench.make(missing=("8.98.1-a", "8.98.1-b"))
    assert (result.verdict, result.digest, result.kernels) == ("errored", "", ())
    assert "none of its 2 cells is published" in result.reason
    assert bench.server.sent() == []


def test_cells_that_are_not_run_alike_are_an_error_of_that_bundle_alone(bench: Bench) -> None:
    images = [bench.image(kernel) for kernel in KERNELS[:2]]
    config = images[0].config
    images[0] = replace(images[0], config={**config, "config": {**config["config"], "Cmd": ["other"]}})
    result = bench.make(*images)
    assert result.verdict == "errored"
    assert f"differs from {images[0].cell.id} in Cmd" in result.reason
    assert "nox -s build" in result.reason
    assert bench.written == []


def test_a_fault_of_the_tool_is_an_error_of_that_bundle_alone_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    made = bench.image(KERNELS[0])
    monkeypatch.setattr(stage, "keep_kernels", broken)
    result = bench.make(made)
    assert (result.verdict, result.digest) == ("errored", "")
    assert result.reason == "internal error: ZeroDivisionError: oh. Report the traceback in the output as a bug"
    assert "in broken" in bench.said, "a person needs the traceback to report it"


def test_a_boot_on_a_full_disk_reports_the_full_path_and_the_next_step(bench: Bench) -> None:
    made = bench.image(KERNELS[0])
    bench.reports = {made.cell.kernel: cannot_write(Path("build/boot/x"), OSError(errno.ENOSPC, "No space left"))}
    result = bench.make(made)
    assert result.verdict == "errored"
    assert "cannot write build/boot/x: No space left. Make room on that disk" in result.reason


def test_a_run_that_is_told_to_stop_leaves_no_verdict_and_no_tag(bench: Bench) -> None:
    images = [bench.image(kernel) for kernel in KERNELS]

    def ended_by_the_run() -> BootReport:
        assert bench.engine.told.wait(60), "nothing ended this boot"
        raise InterruptedRunError

    bench.reports = {each.cell.kernel: ended_by_the_run for each in images[1:]}
    bench.reports[images[0].cell.kernel] = InterruptedRunError()
    with pytest.raises(InterruptedRunError):
        bench.make(*images)
    assert bench.engine.stopping
    assert "8.98.1" not in bench.written
    assert not bench.engine.held, "neither the bundle nor a toolkit was in the engine before"


@pytest.mark.parametrize("lost", ["manifest", "configuration"])
def test_a_published_bundle_that_cannot_be_read_does_not_pass_for_one_without_kernels(bench: Bench, lost: str) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[0], "aarch64")]
    before = bench.make(*images)
    of_arm = compose(CLIENT, (images[1],))
    if lost == "manifest":
        del bench.server.manifests[f"/v2/site/beegfs-client/manifests/{of_arm.manifest.digest}"]
    else:
        del bench.server.blobs[f"/v2/site/beegfs-client/blobs/{of_arm.config.digest}"]
    result = bench.make(images[0], missing=(images[1].cell.id,))
    assert (result.verdict, bench.written) == ("errored", [])
    assert "does not exist, but the image's manifest" in result.reason
    assert bench.names("8.98.1") == before.digest
