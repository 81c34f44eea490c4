"""Two checkouts build and bundle at the same time on one engine: neither removes an image that the other needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, UNBOOTED, Site, SiteMaker

pytestmark = pytest.mark.engine


def at_once(sites: list[Site], *arguments: str) -> None:
    """Run a command in several projects at the same time; each must pass."""
    command = [sys.executable, "-m", "kmatrix", *arguments]
    running = [
        subprocess.Popen([*command, "--root", str(site.root)], stderr=subprocess.PIPE, text=True) for site in sites
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
    # Both make the very same steps: whoever ends first removes the steps it made.
    at_once(sites, "build", "--jobs", "1", *UNBOOTED)
    for kernel in kernels:
        cell = f"{NEWER_CLIENT}-{kernel}"
        layers = [site.registry.manifest(site.repository, cell)["layers"] for site in sites]
        assert layers[0] == layers[1]
    at_once(sites, "build", "--jobs", "1", "--force", *UNBOOTED)
    assert all(set(site.results()["cells"][0]["stages"]) >= {"build", "push"} for site in sites)
