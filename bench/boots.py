"""Part `boot`: the boot gate against a bare boot of the same kernel; the lab's matrix with boots and without."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.aims import Measures
from bench.machine import load
from bench.setting import Setting
from bench.site import cold_site
from kmatrix.commands.boot import boot_run
from kmatrix.commands.pins import pins_for
from kmatrix.effects.process.measured import Ended
from kmatrix.effects.vm.boot_files import write_bare_initramfs
from kmatrix.effects.vm.qemu import Guest, Machines
from kmatrix.lab.state import lab_state
from kmatrix.stages.boot import BOOT_SECONDS, Subject, boot_image, prepare_guest, remove_guest
from kmatrix.stages.boot_subjects import find_subjects
from kmatrix.values.errors import ToolError

_ROUNDS = 3
_DEADLINE_SECONDS = 120.0
_ROLES = ("newer", "real_time", "next_line")


def measure_boots(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return the gate's ratio to a bare boot, its guest's memory (MB), and the matrix's ratio; and the raw runs.

    Raises:
        ToolError: a boot or a run failed.
    """
    raw: dict[str, Any] = {"load_before": load(), "kernels": {}}
    gate_seconds, bare_seconds, memory = 0.0, 0.0, 0
    machines = Machines("auto")
    newest = max(setting.chosen.effective.clients)
    run = boot_run(setting.call, setting.chosen, setting.engine)
    pins = pins_for(setting.call, setting.chosen)
    for role in _ROLES:
        cell = f"{newest}-{lab_state(setting.layout)['kernels'][role]}"
        (subject,) = find_subjects(run, pins, cell)
        found = _one_kernel(setting, machines, subject)
        gate_seconds += statistics.median(found["gate_seconds"])
        bare_seconds += statistics.median(found["bare_seconds"])
        memory = max(memory, found["guest_mb"])
        raw["kernels"][cell] = found
    with_boots, without = _matrix(setting)
    raw["matrix_seconds"] = {"with_boots": with_boots.seconds, "without": without.seconds}
    raw["peak_rss_mb"] = {"with_boots": with_boots.peak_rss_mb, "without": without.peak_rss_mb}
    measures = Measures(
        boot_ratio=round(gate_seconds / bare_seconds, 3),
        boot_guest_mb=memory,
        matrix_boot_ratio=round(with_boots.seconds / without.seconds, 3),
        # The largest process of a run with boots is QEMU, whose memory is boot_guest_mb.
        peak_rss_mb=without.peak_rss_mb,
    )
    return measures, raw


def _one_kernel(setting: Setting, machines: Machines, subject: Subject) -> dict[str, Any]:
    setting.folder.mkdir(parents=True, exist_ok=True)
    guest = prepare_guest(setting.engine, subject, setting.folder)
    remove_guest(guest)
    bare = setting.folder / "bare.cpio"
    write_bare_initramfs(bare)
    plain = Guest(guest.arch, guest.vmlinuz, bare, guest.memory_mb)
    setting.say(
        f"boot: {subject.module.kernel}, {_ROUNDS} bare boots and {_ROUNDS} gates ({machines.accelerator(plain)})"
    )

    def bare_boot() -> None:
        end = machines.boot(plain, BOOT_SECONDS, _DEADLINE_SECONDS, lambda _: None)
        if end.end != "powered-off":
            raise ToolError(
                f"the bare boot of {subject.module.kernel} ended as {end.end}",
                "Run the bench again when the machine does nothing else.",
            )

    def gate() -> None:
        report = boot_image(setting.engine, machines, subject, setting.folder, _DEADLINE_SECONDS, lambda _: None)
        if report.verdict != "passed":
            raise ToolError(
                f"the boot gate reports {report.code}: {report.message}",
                "Run `nox -s build`: the bench measures cells that pass.",
            )

    # Alternating, so that other load on the machine affects both.
    seconds: dict[str, list[float]] = {"bare_seconds": [], "gate_seconds": []}
    for _ in range(_ROUNDS):
        seconds["bare_seconds"].append(_timed(bare_boot))
        seconds["gate_seconds"].append(_timed(gate))
    size = Path(guest.vmlinuz).stat().st_size
    return {**seconds, "guest_mb": guest.memory_mb, "vmlinuz_bytes": size, "bare_initramfs_bytes": bare.stat().st_size}


def _matrix(setting: Setting) -> tuple[Ended, Ended]:
    """Run the complete matrix with every cell compiled, with boots and without; the stand-in as the lab has it."""
    with cold_site(replace(setting, weight=0)) as site:
        jobs = ("--jobs", str(setting.jobs))
        setting.say(f"boot: a matrix of {len(site.recipes)} cells without boots, then with")
        without = setting.tool("boot-without", "build", "--force", *jobs, root=site.root, module="bench.without_boot")
        with_boots = setting.tool("boot-with", "build", "--force", *jobs, root=site.root)
    return with_boots, without


def _timed(action: Callable[[], None]) -> float:
    start = time.monotonic()
    action()
    return round(time.monotonic() - start, 3)
