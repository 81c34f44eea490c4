"""Part `boot`: the gates that boot, against a bare boot and each other; the lab's matrix with and without them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.aims import Measures
from bench.machine import load, peak_of_children_mb
from bench.setting import Setting
from bench.signing import measure_secure_boot
from bench.site import cold_site
from kmatrix.commands.boot import boot_run
from kmatrix.commands.pins import pins_for
from kmatrix.decide.boot import judge_boot
from kmatrix.effects.process.measured import Ended
from kmatrix.effects.vm.initramfs import write_bare_initramfs
from kmatrix.effects.vm.qemu import Guest, Machines
from kmatrix.lab.state import lab_state
from kmatrix.stages.boot import BOOT_SECONDS, Boot, boot_guest
from kmatrix.stages.boot_subjects import find_subjects
from kmatrix.stages.gates.mount import mount_report
from kmatrix.stages.guests import Guests
from kmatrix.stages.subject import Subject
from kmatrix.values.boot import BootReport
from kmatrix.values.errors import ToolError

_ROUNDS = 3
_DEADLINE_SECONDS = 120.0
_ROLES = ("newer", "real_time", "next_line")


def measure_boots(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return the ratios of the gates and of the matrix, and the memory (MB) of guest and machine; and the raw runs.

    Raises:
        ToolError: a boot or a run failed.
    """
    raw: dict[str, Any] = {"load_before": load(), "kernels": {}}
    seconds = dict.fromkeys(("bare_seconds", "boot_seconds", "both_seconds"), 0.0)
    memory, peak = 0, 0.0
    machines = Machines("auto")
    newest = max(setting.chosen.effective.clients)
    run = boot_run(setting.call, setting.chosen, setting.engine)
    pins = pins_for(setting.call, setting.chosen)
    for role in _ROLES:
        cell = f"{newest}-{lab_state(setting.layout)['kernels'][role]}"
        (named,) = find_subjects(run, pins, cell)
        found = _one_kernel(setting, machines, named.subject)
        seconds = {name: total + statistics.median(found[name]) for name, total in seconds.items()}
        memory, peak = max(memory, found["guest_mb"]), max(peak, found["peak_mb"])
        raw["kernels"][cell] = found
    with_gates, without = _matrix(setting)
    raw["matrix_seconds"] = {"with_gates": with_gates.seconds, "without": without.seconds}
    raw["peak_rss_mb"] = {"with_gates": with_gates.peak_rss_mb, "without": without.peak_rss_mb}
    secure_boot_ratio, raw["secure_boot_stages"] = measure_secure_boot(setting)
    measures = Measures(
        secure_boot_ratio=secure_boot_ratio,
        boot_ratio=round(seconds["boot_seconds"] / seconds["bare_seconds"], 3),
        mount_ratio=round(seconds["both_seconds"] / seconds["boot_seconds"], 3),
        boot_guest_mb=memory,
        boot_peak_mb=peak or None,
        matrix_gates_ratio=round(with_gates.seconds / without.seconds, 3),
        peak_rss_mb=with_gates.peak_rss_mb,
    )
    return measures, raw


def _one_kernel(setting: Setting, machines: Machines, subject: Subject) -> dict[str, Any]:
    setting.folder.mkdir(parents=True, exist_ok=True)
    with Guests(setting.engine, setting.folder) as guests:
        guest = guests.guest(subject)
    bare = setting.folder / "bare.cpio"
    write_bare_initramfs(bare)
    plain = Guest(guest.arch, guest.vmlinuz, bare, guest.memory_mb)
    setting.say(
        f"boot: {subject.module.kernel}, {_ROUNDS} boots of each kind: bare, boot, both ({machines.accelerator(plain)})"
    )

    def bare_boot() -> None:
        end = machines.boot(plain, BOOT_SECONDS, _DEADLINE_SECONDS, lambda _: None)
        if end.end != "powered-off":
            raise ToolError(
                f"the bare boot of {subject.module.kernel} ended as {end.end}",
                "Run the bench again when the machine does nothing else.",
            )

    peaks = [0.0]

    def watch(line: str) -> None:
        # The last step: the machine is still there, and has used whatever it uses.
        if "@kmatrix step end" in line:
            peaks.append(peak_of_children_mb("qemu-"))

    def boot(chosen: Subject) -> Boot:
        with Guests(setting.engine, setting.folder) as guests:
            return boot_guest(guests, machines, chosen, _DEADLINE_SECONDS, watch)

    def gate() -> None:
        made = boot(replace(subject, mount=None))
        _must_pass("boot", judge_boot(made.transcript, made.end, subject.module))

    def both_gates() -> None:
        made = boot(subject)
        _must_pass("boot", judge_boot(made.transcript, made.end, subject.module))
        _must_pass("mount", mount_report(made, subject))

    # Alternating, so that other load on the machine affects all.
    seconds: dict[str, list[float]] = {"bare_seconds": [], "boot_seconds": [], "both_seconds": []}
    for _ in range(_ROUNDS):
        seconds["bare_seconds"].append(_timed(bare_boot))
        seconds["boot_seconds"].append(_timed(gate))
        seconds["both_seconds"].append(_timed(both_gates))
    sizes = {"vmlinuz_bytes": Path(guest.vmlinuz).stat().st_size, "bare_initramfs_bytes": bare.stat().st_size}
    return {**seconds, "guest_mb": guest.memory_mb, "peak_mb": max(peaks), **sizes}


def _must_pass(gate: str, report: BootReport) -> None:
    if report.verdict != "passed":
        raise ToolError(
            f"the gate {gate} reports {report.code}: {report.message}",
            "Run `nox -s build`: the bench measures cells that pass.",
        )


def _matrix(setting: Setting) -> tuple[Ended, Ended]:
    """Run the complete matrix with every cell compiled, with all gates and without boots; the stand-in is the lab's."""
    with cold_site(replace(setting, weight=0)) as site:
        jobs = ("--jobs", str(setting.jobs))
        setting.say(f"boot: a matrix of {len(site.recipes)} cells without boots, then with every gate")
        without = setting.tool("boot-without", "build", "--force", *jobs, root=site.root, module="bench.without_boot")
        with_gates = setting.tool("boot-with", "build", "--force", *jobs, root=site.root)
    return with_gates, without


def _timed(action: Callable[[], None]) -> float:
    start = time.monotonic()
    action()
    return round(time.monotonic() - start, 3)
