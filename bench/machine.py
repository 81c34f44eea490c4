"""What the machine is that a measurement was made on; a number without it says little."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kmatrix.effects.engine import Engine


def machine(engine: Engine) -> dict[str, Any]:
    """Return facts on this machine, JSON-able."""
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
    """The average number of running tasks in the last minute: other people's work shows here."""
    return round(os.getloadavg()[0], 2)


def busy_seconds() -> float:
    """CPU seconds that this machine has spent on anything since it started; a difference says what a run cost it."""
    ticks = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    # user nice system idle iowait irq softirq steal ...: guests are in user already.
    busy = sum(int(tick) for position, tick in enumerate(ticks[:8]) if position not in (3, 4))
    return busy / os.sysconf("SC_CLK_TCK")


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
