"""The bench's arithmetic, and that its bare make runs the same commands as the product."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from bench.aims import AIMS, FULL_WEIGHT, Measures, Pulled, image_ratio, judge, kernel_change_bytes, overhead
from bench.bare import COMPILE
from bench.logs import counters
from bench.machine import busy_seconds, peak_of_children_mb
from bench.planning import CELLS, made_up_pins, made_up_profile
from bench.report import print_report, remarks, shown
from bench.report_site import LOADED, page_bytes
from kmatrix.decide.plan import make_plan
from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from kmatrix.effects.process import measured
from kmatrix.effects.process.measured import peak_rss_mb, run_program
from kmatrix.values.errors import InputError, ToolError
from kmatrix.values.lock import Lock, read_lock, write_lock
from tests.unit.support.made_up_report import small_report

ROOT = Path(__file__).parents[2]
GOOD = Measures(
    overhead_ratio=1.10,
    overhead_seconds_per_cell=3.0,
    second_run_seconds=2.99,
    second_run_builds=0,
    second_run_pulls=0,
    plan_render_5000_seconds=4.99,
    discovery_bytes=300_000,
    discovery_requests=8.0,
    discovery_warm_requests=1.0,
    discovery_warm_seconds=1.99,
    image_ratio=0.1,
    kernel_change_bytes=1_999_999,
    peak_rss_mb=199.9,
    boot_ratio=1.5,
    mount_ratio=1.25,
    boot_guest_mb=700,
    boot_peak_mb=700.0,
    matrix_gates_ratio=1.6,
    watch_ratio=1.15,
    sign_seconds_per_cell=1.5,
    secure_boot_ratio=2.0,
    report_bytes=1_999_999,
    report_first_paint_ms=999.9,
    report_seconds=59.9,
)
BAD = Measures(
    overhead_ratio=1.11,
    overhead_seconds_per_cell=3.01,
    second_run_seconds=3.0,
    second_run_builds=1,
    second_run_pulls=1,
    plan_render_5000_seconds=5.0,
    discovery_bytes=300_001,
    discovery_requests=8.01,
    discovery_warm_requests=1.01,
    discovery_warm_seconds=2.0,
    image_ratio=0.101,
    kernel_change_bytes=2_000_000,
    peak_rss_mb=200.0,
    boot_ratio=1.501,
    mount_ratio=1.251,
    boot_guest_mb=701,
    boot_peak_mb=700.1,
    matrix_gates_ratio=1.601,
    watch_ratio=1.151,
    sign_seconds_per_cell=1.501,
    secure_boot_ratio=2.001,
    report_bytes=2_000_000,
    report_first_paint_ms=1000.0,
    report_seconds=60.0,
)


def test_every_measure_has_an_aim_and_every_aim_a_measure() -> None:
    assert [aim.name for aim in AIMS] == list(Measures.__dataclass_fields__)


def test_aims_are_met_up_to_their_bounds_and_no_further() -> None:
    assert {entry.aim.name: entry.met for entry in judge(GOOD)} == dict.fromkeys(Measures.__dataclass_fields__, True)
    assert {entry.aim.name: entry.met for entry in judge(BAD)} == dict.fromkeys(Measures.__dataclass_fields__, False)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {entry.met for entry in judge(Measures())} == {None}
    assert remarks(judge(Measures()), None) == []


@pytest.mark.parametrize(
    ("tool", "bare", "cells", "jobs", "ratio", "per_cell"),
    [
        (110.0, 100.0, 4, 2, 1.10, 5.0),
        (110.0, 100.0, 4, 1, 1.10, 2.5),
        # No more cells are ever under way than there are.
        (110.0, 100.0, 2, 8, 1.10, 10.0),
        (99.0, 100.0, 4, 2, 0.99, -0.5),
    ],
)
def test_overhead(tool: float, bare: float, cells: int, jobs: int, ratio: float, per_cell: float) -> None:
    assert overhead(tool, bare, cells, jobs) == pytest.approx((ratio, per_cell))


def test_the_image_ratio_is_the_worst_cell_s() -> None:
    assert image_ratio([(10, 1000), (30, 500), (40, 4000)]) == pytest.approx(0.06)


def test_a_kernel_change_pulls_the_layers_that_differ_and_the_configuration() -> None:
    first = Pulled("8.98.1", 7, {"base": 1000, "userland": 100, "module a": 30})
    second = Pulled("8.98.1", 5, {"base": 1000, "userland": 100, "module b": 20})
    assert kernel_change_bytes([first, second]) == 37


def test_a_kernel_change_stays_within_a_client_version() -> None:
    here = Pulled("8.98.1", 7, {"base": 1000, "module a": 30})
    elsewhere = Pulled("7.98.1", 7, {"other base": 5000, "module b": 30})
    assert kernel_change_bytes([here, elsewhere]) == 0
    assert kernel_change_bytes([]) == 0


def test_a_layer_below_the_module_that_differs_counts_in_full() -> None:
    first = Pulled("8.98.1", 1, {"base": 1000, "userland": 100, "module a": 30})
    second = Pulled("8.98.1", 1, {"base": 1000, "userland again": 100, "module b": 30})
    assert kernel_change_bytes([first, second]) == 131


def test_counters_are_those_of_the_last_run() -> None:
    said = "builds: 8, pulls: 3. `nox`\nmore\nnox > builds: 1, pulls: 2. `nox -s report` shows\n"
    assert counters(said) == (1, 2)


def test_a_run_without_counters_is_no_run() -> None:
    with pytest.raises(ToolError, match="did not report"):
        counters("error: the image registry could not be asked")


def test_bare_make_is_what_the_product_runs() -> None:
    """Every line of the yardstick, but where the sources are, stands in build-module too."""
    script = (ROOT / "images" / "beegfs-client" / "build-module").read_text(encoding="utf-8")
    product = {line.strip() for line in script.splitlines()}
    lines = [line for line in COMPILE.strip().splitlines() if not line.startswith("source=")]
    assert [line for line in lines if line not in product] == []
    deciding = {line for line in product if line.startswith(("make ", "export ", "unset ", "arguments"))}
    assert sorted(deciding - set(lines)) == []
    assert any(line.startswith("make ") for line in deciding)


def test_the_made_up_matrix_has_as_many_cells_as_it_says() -> None:
    profile = made_up_profile()
    pins = made_up_pins(profile)
    written = Lock().with_profile("bench", pins)
    assert read_lock(write_lock(written)).profiles["bench"].inputs == pins.inputs
    assert len(make_plan("bench", profile, pins).cells) == CELLS == 5000


def test_the_bytes_of_a_report_are_those_of_its_first_page_and_of_what_that_loads(tmp_path: Path) -> None:
    files = dict(site_files(small_report(), lambda _: ()))
    replace_site(tmp_path / "report", files.items())
    assert page_bytes(tmp_path / "report") == sum(len(files[name].encode()) for name in LOADED)
    loaded = re.findall(r'(?:<script src|<link rel="stylesheet" href)="([^"]+)"', files["index.html"])
    assert sorted(loaded) == sorted(LOADED[1:])


def test_missed_aims_are_told_loudly_and_a_light_weight_too() -> None:
    console = Console(file=io.StringIO(), width=120)
    print_report(console, judge(BAD), 4)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert said.count("MISSED") == len(AIMS) + 1
    assert "kernel_change_bytes" in said.splitlines()[-2]
    assert f"weight 4, the aims assume {FULL_WEIGHT}" in said
    assert remarks(judge(GOOD), FULL_WEIGHT, 0.25) == []
    assert ["was busy before" in remark for remark in remarks(judge(GOOD), FULL_WEIGHT, 0.26)] == [True]


def test_a_run_costs_the_machine_what_it_works() -> None:
    before, start = busy_seconds(), time.process_time()
    while time.process_time() - start < 0.2:
        pass
    assert busy_seconds() - before > 0.1


def test_the_peak_of_a_child_counts_although_it_needs_less_by_now() -> None:
    code = "x = bytearray(200_000_000); del x; print('ready', flush=True); input()"
    assert peak_of_children_mb("python") == 0
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 200 <= peak_of_children_mb("python") < 400
        assert peak_of_children_mb("qemu-") == 0
        child.communicate(b"\n")


def test_values_for_people() -> None:
    by_name = {entry.aim.name: shown(entry) for entry in judge(GOOD)}
    assert by_name["kernel_change_bytes"] == "1,999,999 bytes"
    assert by_name["overhead_seconds_per_cell"] == "3.00 s"
    assert shown(judge(Measures())[0]) == "-"


def test_a_program_is_measured(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('said', file=sys.stderr); sys.exit(3)"
    ended = run_program([sys.executable, "-c", code], tmp_path, {}, tmp_path / "log")
    assert (ended.status, sorted(ended.output.split())) == (3, ["out", "said"])
    assert ended.seconds > 0


def test_the_peak_of_a_program_s_memory_is_its_own_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what this process used before, nor a child of the program, counts."""
    ours = bytearray(b"1" * 400_000_000)
    del ours

    def reading(process: int) -> float:
        found = peak_rss_mb(process)
        if found >= 150:
            (tmp_path / "read").touch()
        return found

    monkeypatch.setattr(measured, "peak_rss_mb", reading)
    child = "x = b'1' * 300_000_000"
    code = (
        "import pathlib, subprocess, sys, time\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
        "x = b'1' * 150_000_000; del x\n"
        "while not pathlib.Path('read').exists(): time.sleep(0.01)\n"
    )
    ended = run_program([sys.executable, "-c", code], tmp_path, {}, tmp_path / "log")
    assert ended.status == 0, ended.output
    assert 150 <= ended.peak_rss_mb < 200


def test_a_program_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot be started") as caught:
        run_program([str(tmp_path / "nothing")], tmp_path, {}, tmp_path / "log")
    assert "scripts/bootstrap" in caught.value.hint


def test_a_measured_program_s_log_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*: Is a directory"):
        run_program([sys.executable, "-c", ""], tmp_path, {}, tmp_path)


def test_ctrl_c_ends_the_program_and_lets_it_clean_up(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "try:\n    pathlib.Path('ready').touch(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    pathlib.Path('cleaned').touch()\n"
    )

    def interrupt() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_program([sys.executable, "-c", code], tmp_path, {}, tmp_path / "log")
    assert (tmp_path / "cleaned").exists()


def test_the_aims_read_as_the_issue_states_them() -> None:
    assert {aim.name: aim.text for aim in AIMS} == {
        "overhead_ratio": "at most 1.1",
        "overhead_seconds_per_cell": "at most 3 s",
        "second_run_seconds": "under 3 s",
        "second_run_builds": "at most 0",
        "second_run_pulls": "at most 0",
        "plan_render_5000_seconds": "under 5 s",
        "discovery_bytes": "at most 300,000 bytes",
        "discovery_requests": "at most 8",
        "discovery_warm_requests": "at most 1",
        "discovery_warm_seconds": "under 2 s",
        "image_ratio": "at most 0.1",
        "kernel_change_bytes": "under 2,000,000 bytes",
        "peak_rss_mb": "under 200 MB",
        "boot_ratio": "at most 1.5",
        "mount_ratio": "at most 1.25",
        "boot_guest_mb": "at most 700 MB",
        "boot_peak_mb": "at most 700 MB",
        "matrix_gates_ratio": "at most 1.6",
        "watch_ratio": "at most 1.15",
        "sign_seconds_per_cell": "at most 1.5 s",
        "secure_boot_ratio": "at most 2",
        "report_bytes": "under 2,000,000 bytes",
        "report_first_paint_ms": "under 1,000 ms",
        "report_seconds": "under 60 s",
    }
