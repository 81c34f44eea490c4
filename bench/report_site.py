"""Part `report`: the size of a report's first page, its first paint, and the seconds that writing the report takes.

The report has 40 client versions on 250 kernels, and no logs. First paint is `first-contentful-paint` of the
Performance API (W3C, Paint Timing), in a new headless Chromium for each load, from a file.
"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, sync_playwright

from bench.aims import Measures
from bench.machine import load
from bench.setting import Setting
from kmatrix.decide.report.paths import INDEX, MATRIX_SCRIPT, SCRIPT, STYLE
from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from kmatrix.values.errors import ToolError
from tests.unit.support.made_up_report import large_report

CLIENTS = 40
KERNELS = 250
LOADED = (INDEX, STYLE, SCRIPT, MATRIX_SCRIPT)
_LOADS = 3
_CHROMIUM = "/usr/bin/chromium"
_PAINT = """() => new Promise(resolve => new PerformanceObserver(list => {
  for (const entry of list.getEntriesByName("first-contentful-paint")) resolve(entry.startTime);
}).observe({type: "paint", buffered: true}))"""


def measure_report(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return the bytes and the first paint of the first page, and the seconds of writing the complete site.

    Raises:
        ToolError: Chromium cannot be started, or shows nothing.
    """
    folder = setting.folder / "report"
    setting.say(f"report: {CLIENTS} clients on {KERNELS} kernels")
    report = large_report(CLIENTS, KERNELS)
    try:
        before = load()
        started = time.perf_counter()
        written = replace_site(folder, site_files(report, lambda _: ()))
        seconds = time.perf_counter() - started
        paints = [first_paint_ms(folder / INDEX) for _ in range(_LOADS)]
        size = page_bytes(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    raw = {
        "cells": len(report.cells),
        "load_before": before,
        "site_bytes": written,
        "seconds": round(seconds, 3),
        "first_paints_ms": paints,
        "how": "bytes of the first page, its style sheet and its scripts; first paint is the median of cold loads "
        "from a file; seconds are those of making and writing all pages in this process",
    }
    return Measures(
        report_bytes=size,
        report_first_paint_ms=round(statistics.median(paints), 1),
        report_seconds=round(seconds, 3),
    ), raw


def page_bytes(folder: Path) -> int:
    """Return the bytes of a report's first page and of everything that it loads."""
    return sum((folder / name).stat().st_size for name in LOADED)


def first_paint_ms(page: Path) -> float:
    """Return the milliseconds until a new Chromium paints the first content of a page.

    Raises:
        ToolError: it cannot be started, or shows nothing.
    """
    try:
        with sync_playwright() as playwright:
            # Chromium's own sandbox needs privileges that containers lack; the page is ours.
            browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
            shown = browser.new_page()
            shown.goto(page.as_uri())
            return round(float(shown.evaluate(_PAINT)), 1)
    except Error as error:
        raise ToolError(
            f"Chromium did not show {page}: {error.message}",
            "Run `./scripts/bootstrap nox -s bench`, which installs it.",
        ) from error
