"""Part `watch`: from the start of a watch to the last push of a new release's cells, against the same in `build`."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.aims import Measures
from bench.logs import counters
from bench.machine import load
from bench.setting import Setting
from bench.site import CLIENTS, Site, cold_site
from kmatrix.values.errors import ToolError

_PUBLISHED = re.compile(r"^lab: published (\S+) in ", re.MULTILINE)


def measure_watch(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return the ratio of both times, and the raw runs.

    Each way brings one new release with one new kernel, so of as many cells as there are clients, to its last push; all
    other cells are published. The kernels are two of the package archive: what one way compiled or pulled would be the
    other's cache. `build` runs after `discover`, whose time does not count; in the watch it does. The stand-in has the
    weight of the lab's, so that the compile hides little.

    Raises:
        ToolError: a run failed, or did other work than it is measured for.
    """
    made: list[str] = []
    raw: dict[str, Any] = {"load_before": load()}
    try:
        with cold_site(replace(setting, weight=0)) as site:
            jobs = ("--jobs", str(setting.jobs))
            setting.say(f"watch: publishing the {len(site.recipes)} cells of the releases before")
            setting.tool("watch-before", "watch", *jobs, root=site.root)
            made.append(_release(setting, "watch-release-1"))
            setting.tool("watch-discover", "discover", root=site.root)
            raw["build"] = _timed(setting, site, "build", *jobs)
            made.append(_release(setting, "watch-release-2"))
            raw["watch"] = _timed(setting, site, "watch", *jobs)
    finally:
        for number, version in enumerate(made, 1):
            setting.nox(f"watch-retract-{number}", "-s", "lab", "--", "retract", "--release", version)
    ratio = raw["watch"]["seconds_to_last_push"] / raw["build"]["seconds_to_last_push"]
    return Measures(watch_ratio=round(ratio, 3)), raw


def _release(setting: Setting, name: str) -> str:
    """Publish a release with another kernel in the lab, and return its version."""
    setting.say("watch: publishing a new release in the lab")
    ended = setting.nox(name, "-s", "lab", "--", "release")
    found = _PUBLISHED.search(ended.output)
    if found is None:
        raise ToolError("`nox -s lab -- release` names no version", "Read its output in build/logs/bench.")
    return found[1]


def _timed(setting: Setting, site: Site, command: str, *arguments: str) -> dict[str, Any]:
    """Run a command that publishes the cells of one kernel; return the time to their last push, and the run."""
    path = site.root / "build" / "results.json"
    known = _passed(path)
    start = time.time()
    ended = setting.tool(f"watch-{command}", command, *arguments, root=site.root)
    # A cell's result is written as soon as the cell is pushed, and nothing is written to this file after the last.
    seconds = path.stat().st_mtime - start
    builds, pulls = counters(ended.output)
    new = sorted(_passed(path) - known)
    if len(new) != len(CLIENTS):
        raise ToolError(
            f"{command} published {', '.join(new) or 'nothing'} instead of {len(CLIENTS)} cells of one kernel",
            "Read its output in build/logs/bench.",
        )
    return {
        "seconds_to_last_push": round(seconds, 3),
        "seconds": round(ended.seconds, 3),
        "cells": new,
        "builds": builds,
        "pulls": pulls,
    }


def _passed(path: Path) -> set[str]:
    """Return the cells that are published."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {cell["cell"] for cell in cells if cell["digest"]}
