"""Facts about the machine of a measurement; a number means little without them."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kmatrix.effects.engine import Engine
from kmatrix.effects.process.measured import peak_rss_mb


def machine(engine: Engine) -> dict[str, Any]:
    """Return facts about this machine, as JSON values."""
    version = str(engine.in_use())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": version,
        "load": load(),
    }


def load() -> float:
    """Return the average number of running tasks in the last minute, which includes other work on the machine."""
    return round(os.getloadavg()[0], 2)


def busy_seconds() -> float:
    """Return the CPU seconds that this machine has used since it started; a difference is the cost of a run."""
    ticks = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    # user nice system idle iowait irq softirq steal ...: user includes guests.
    busy = sum(int(tick) for position, tick in enumerate(ticks[:8]) if position not in (3, 4))
    return busy / os.sysconf("SC_CLK_TCK")


def peak_of_children_mb(name: str) -> float:
    """Return the largest peak of memory (MB, resident) of this process's children whose name begins so; 0 for none."""
    peaks = [0.0]
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines())
        except (FileNotFoundError, ProcessLookupError):
            continue
        if facts["PPid"].strip() == str(os.getpid()) and facts["Name"].strip().startswith(name):
            peaks.append(peak_rss_mb(int(facts["Pid"])))
    return max(peaks)


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
