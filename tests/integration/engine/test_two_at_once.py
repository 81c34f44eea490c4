"""Two checkouts build and bundle at the same time on one engine: neither removes images that the other needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, Site, SiteMaker

ROOT = Path(__file__).parents[3]


def at_once(sites: list[Site], *arguments: str) -> None:
    """Run a command in several projects at the same time; each must pass."""
    command = [sys.executable, "-m", "bench.without_boot", *arguments]
    running = [
        subprocess.Popen([*command, "--root", str(site.root)], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for site in sites
    ]
    try:
        ended = [each.communicate()[1] for each in running]
    finally:
        for each in running:
            each.kill()
    for each, said, site in zip(running, ended, sites, strict=True):
        site.note_steps()
        assert each.returncode == 0, said


def test_two_checkouts_on_one_engine(lab: Lab, new_site: SiteMaker) -> None:
    kernels = [lab.kernels.newer, lab.kernels.older]
    sites = [new_site(kernels=kernels, warm=False) for _ in range(2)]
    # Both create the same intermediate images: the first to end removes those that it created.
    at_once(sites, "build", "--jobs", "1")
    for kernel in kernels:
        cell = f"{NEWER_CLIENT}-{kernel}"
        layers = [site.registry.manifest(site.repository, cell)["layers"] for site in sites]
        assert layers[0] == layers[1]
    at_once(sites, "build", "--jobs", "1", "--force", "--only", f"{NEWER_CLIENT}-{kernels[0]}")
    for site in sites:
        (again,) = (cell for cell in site.results()["cells"] if cell["cell"] == f"{NEWER_CLIENT}-{kernels[0]}")
        assert set(again["stages"]) >= {"build", "push"}
