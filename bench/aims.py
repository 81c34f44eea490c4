"""Measures, aims, and whether a measure meets its aim: plain arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FULL_WEIGHT = 48


@dataclass(frozen=True)
class Measures:
    """The measured values under their names in build/bench.json; None if a part was not run."""

    overhead_ratio: float | None = None
    overhead_seconds_per_cell: float | None = None
    second_run_seconds: float | None = None
    second_run_builds: int | None = None
    second_run_pulls: int | None = None
    plan_render_5000_seconds: float | None = None
    discovery_bytes: int | None = None
    discovery_requests: float | None = None
    discovery_warm_requests: float | None = None
    discovery_warm_seconds: float | None = None
    image_ratio: float | None = None
    kernel_change_bytes: int | None = None
    peak_rss_mb: float | None = None
    boot_ratio: float | None = None
    mount_ratio: float | None = None
    boot_guest_mb: int | None = None
    boot_peak_mb: float | None = None
    matrix_gates_ratio: float | None = None
    watch_ratio: float | None = None
    sign_seconds_per_cell: float | None = None
    secure_boot_ratio: float | None = None
    report_bytes: int | None = None
    report_first_paint_ms: float | None = None
    report_seconds: float | None = None


@dataclass(frozen=True)
class Aim:
    """One aim: the measure's name and human-readable label, its bound, and whether the bound itself meets the aim."""

    name: str
    label: str
    bound: float
    unit: str = ""
    inclusive: bool = False

    def met(self, value: float) -> bool:
        """Return whether a measured value meets the aim."""
        return value <= self.bound if self.inclusive else value < self.bound

    @property
    def text(self) -> str:
        """The human-readable aim: `at most 1.10`."""
        return f"{'at most' if self.inclusive else 'under'} {self.bound:,} {self.unit}".rstrip()


AIMS = (
    Aim("overhead_ratio", "cold matrix, against bare make", 1.10, inclusive=True),
    Aim("overhead_seconds_per_cell", "a cell beyond its compile", 3, "s", inclusive=True),
    Aim("second_run_seconds", "second run", 3, "s"),
    Aim("second_run_builds", "engine builds of the second run", 0, inclusive=True),
    Aim("second_run_pulls", "pulls of the second run", 0, inclusive=True),
    Aim("plan_render_5000_seconds", "plan and render 5,000 cells", 5, "s"),
    Aim("discovery_bytes", "discovery, for each release", 300_000, "bytes", inclusive=True),
    Aim("discovery_requests", "requests of discovery, for each release", 8, inclusive=True),
    Aim("discovery_warm_requests", "requests of a second discovery, for each channel", 1, inclusive=True),
    Aim("discovery_warm_seconds", "second discovery", 2, "s"),
    Aim("image_ratio", "largest image, against its toolkit", 0.1, inclusive=True),
    Aim("kernel_change_bytes", "pulled when only the kernel changes", 2_000_000, "bytes"),
    Aim("peak_rss_mb", "peak memory of the tool", 200, "MB"),
    Aim("boot_ratio", "boot gate, against a bare boot", 1.5, inclusive=True),
    Aim("mount_ratio", "gates boot and mount, against boot alone", 1.25, inclusive=True),
    Aim("boot_guest_mb", "memory of a guest", 700, "MB", inclusive=True),
    Aim("boot_peak_mb", "peak memory of its virtual machine", 700, "MB", inclusive=True),
    Aim("matrix_gates_ratio", "cold matrix with every gate, against no boots", 1.6, inclusive=True),
    Aim("watch_ratio", "a new release by watch, against its cells in build", 1.15, inclusive=True),
    Aim("sign_seconds_per_cell", "signing and attesting a cell", 1.5, "s", inclusive=True),
    Aim("secure_boot_ratio", "gate secure-boot, against gate boot", 2, inclusive=True),
    Aim("report_bytes", "first page of a report on 10,000 cells", 2_000_000, "bytes"),
    Aim("report_first_paint_ms", "its first paint", 1000, "ms"),
    Aim("report_seconds", "writing that report", 60, "s"),
)


@dataclass(frozen=True)
class Judged:
    """An aim with its measured value; `met` is None if nothing was measured."""

    aim: Aim
    value: float | None
    met: bool | None


def judge(measures: Measures) -> tuple[Judged, ...]:
    """Compare every measure with its aim."""
    values = [getattr(measures, aim.name) for aim in AIMS]
    return tuple(
        Judged(aim, value, None if value is None else aim.met(value)) for aim, value in zip(AIMS, values, strict=True)
    )


def overhead(tool_seconds: float, bare_seconds: float, cells: int, jobs: int) -> tuple[float, float]:
    """Return the tool's wall time as a multiple of bare make's, and the seconds a cell costs beyond its compile.

    Args:
        tool_seconds: wall time of the complete matrix by the tool.
        bare_seconds: the same by bare make.
        cells: number of cells.
        jobs: cells that ran at a time, so that a cell's seconds are so many times its share of the wall time.
    """
    return tool_seconds / bare_seconds, (tool_seconds - bare_seconds) * min(jobs, cells) / cells


def seconds_per_cell(cells: Sequence[Mapping[str, float]], stage: str) -> float:
    """Return the mean of the seconds that a stage of each cell took; there is at least one cell.

    Args:
        cells: the seconds of each cell's stages, as build/results.json has them.
        stage: its name; in a cell that does not have it, it took no time.
    """
    return sum(cell.get(stage, 0.0) for cell in cells) / len(cells)


def image_ratio(sizes: Iterable[tuple[int, int]]) -> float:
    """Return the largest ratio of an image's size to its toolkit's, from pairs of bytes; there is at least one."""
    return max(image / toolkit for image, toolkit in sizes)


@dataclass(frozen=True)
class Pulled:
    """The download sizes of one cell's image: client version, bytes of its configuration and of each layer."""

    client: str
    config_bytes: int
    layers: Mapping[str, int]


def kernel_change_bytes(cells: Sequence[Pulled]) -> int:
    """Return the largest download of a node that has one cell's image and pulls another kernel's of the same client.

    It counts the compressed layers that the two images do not share, and the configuration; 0 if no client has two
    cells.
    """
    return max((_difference(old, new) for old in cells for new in cells if old.client == new.client), default=0)


def _difference(old: Pulled, new: Pulled) -> int:
    if old is new:
        return 0
    return new.config_bytes + sum(size for digest, size in new.layers.items() if digest not in old.layers)
