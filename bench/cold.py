"""Part `cold`: the wall time of a matrix that has nothing yet, against bare make; and the tool's peak memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

from bench.aims import Measures, overhead
from bench.bare import bare_make, module_of_image, warm_toolkits
from bench.machine import busy_seconds, load
from bench.setting import PROFILE, Setting
from bench.site import Site, cold_site
from kmatrix.stages.run import default_jobs
from kmatrix.values.errors import ToolError
from kmatrix.values.names import ImageRef


def measure_cold(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return ratio, seconds per cell and peak memory, and the raw runs.

    Raises:
        ToolError: a run failed, or did not do the work it is measured for.
    """
    with cold_site(setting) as site:
        cells = len(site.recipes)
        # As the command line shares the cores.
        make_jobs = max(1, default_jobs() // setting.jobs)
        warm_toolkits(setting, site)
        setting.say(f"cold: bare make of {cells} modules, {setting.jobs} at a time with -j{make_jobs}")
        loads = {"bare": load()}
        clock = [busy_seconds()]
        bare = bare_make(setting, site, make_jobs)
        clock.append(busy_seconds())
        setting.say(f"cold: bare make took {bare.seconds:.1f} s; now the tool")
        loads["tool"] = load()
        clock.append(busy_seconds())
        try:
            # The ratio is of building and checking; the cost of the boot gate is measured by itself.
            tool = setting.tool(
                "cold-build",
                "build",
                "--force",
                "--jobs",
                str(setting.jobs),
                root=site.root,
                module="bench.without_boot",
            )
        finally:
            clock.append(busy_seconds())
            _keep_logs(setting, site)
        setting.say(f"cold: the tool took {tool.seconds:.1f} s")
        results = {entry["cell"]: entry for entry in _results(site)}
        _check_cold(setting, site)
        same = {
            recipe.cell.id: bare.modules[recipe.cell.id]
            == module_of_image(setting, published(results[recipe.cell.id]), recipe)
            for recipe in site.recipes
        }
    ratio, per_cell = overhead(tool.seconds, bare.seconds, cells, setting.jobs)
    measures = Measures(
        overhead_ratio=round(ratio, 4), overhead_seconds_per_cell=round(per_cell, 2), peak_rss_mb=tool.peak_rss_mb
    )
    raw = {
        "weight": setting.weight,
        "cells": cells,
        "jobs": setting.jobs,
        "make_jobs": make_jobs,
        "load_before": loads,
        # With nothing else running, the difference is the work of the tool and the engine; where these are far from
        # the cores' capacity in the wall time of the other side, other work was on the machine.
        "busy_cpu_seconds": {"bare": round(clock[1] - clock[0], 1), "tool": round(clock[3] - clock[2], 1)},
        "bare_seconds": round(bare.seconds, 3),
        "bare_cells": bare.cells,
        "tool_seconds": round(tool.seconds, 3),
        "tool_peak_rss_mb": tool.peak_rss_mb,
        "tool_stages": {name: entry["stages"] for name, entry in sorted(results.items())},
        "same_module_bytes": same,
    }
    return measures, raw


def published(result: Mapping[str, Any]) -> str:
    """Return the pinned reference of the image that a result names."""
    return ImageRef.parse(result["image"]).with_digest(result["digest"]).pinned


def _results(site: Site) -> list[dict[str, Any]]:
    content = json.loads((site.root / "build" / "results.json").read_text(encoding="utf-8"))
    cells: list[dict[str, Any]] = content["cells"]
    return cells


def _check_cold(setting: Setting, site: Site) -> None:
    """Make sure that no cache of an earlier run did the work: every compile ran, every group was unpacked."""
    logs = site.root / "build" / "logs" / PROFILE
    done = {
        recipe.cell.id: setting.engine.steps_done(
            (logs / f"{recipe.cell.id}.log").read_text(encoding="utf-8").splitlines()
        )
        for recipe in site.recipes
    }
    cached = [cell for cell, steps in done.items() if not any("build-module" in step for step in steps)]
    groups: dict[str, bool] = {}
    for recipe in site.recipes:
        unpacked = any("unpack-packages" in step and step.startswith("RUN") for step in done[recipe.cell.id])
        groups[recipe.group] = groups.get(recipe.group, False) or unpacked
    cached += [group for group, unpacked in groups.items() if not unpacked]
    if cached:
        raise ToolError(
            f"the engine's cache answered for {', '.join(cached)}: that was no cold run",
            "Something holds images of an earlier bench; `docker images --all` shows them.",
        )


def _keep_logs(setting: Setting, site: Site) -> None:
    shutil.copytree(site.root / "build" / "logs" / PROFILE, setting.logs / "cells", dirs_exist_ok=True)
