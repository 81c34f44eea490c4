"""watch: a new release is found, built, checked, booted, pushed and bundled by one command, and nothing else is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest
import yaml

from kmatrix import cli
from kmatrix.values.errors import Exit
from tests.integration.support.lab import Lab
from tests.integration.support.project.granted_boots import boots_taken_for_granted
from tests.integration.support.project.site import NEWER_CLIENT, PROFILE, Run, Site, SiteMaker
from tests.integration.support.session import Session

# No other test's profile has it, so the releases in it are this test's alone.
CHANNEL = "fast-4.97"
Release = Callable[..., str]


@pytest.fixture
def release(lab: Lab, session: Session) -> Iterator[Release]:
    """A function that publishes a release in the lab and returns its version; all of them are taken back."""
    places = ("--graph", lab.profile.graph, "--packages", lab.profile.packages, "--base", str(lab.profile.base))
    made: list[str] = []

    def act(*arguments: str) -> str:
        printed = io.StringIO()
        with session.locked("lab-releases"), redirect_stdout(printed):
            assert cli.main(["lab", *arguments, "--root", str(lab.root), *places]) == Exit.OK
        return printed.getvalue().strip()

    def publish(*arguments: str) -> str:
        made.append(act("release", "--channel", CHANNEL, *arguments))
        return made[-1]

    yield publish
    for version in made:
        act("retract", "--release", version)


def digests(site: Site) -> dict[str, str]:
    """Return the digest of every tag that the project has published."""
    return {tag: site.registry.digest(site.repository, tag) for tag in site.tags}


def released(run: Run, version: str) -> dict[str, Any]:
    """Return what results.json has of a release."""
    found: dict[str, Any] = next(each for each in run.results["releases"] if each["version"] == version)
    return found


def kernels_of(site: Site, version: str) -> set[str]:
    return {kernel.release for pin in site.pins.releases if str(pin.version) == version for kernel in pin.kernels}


def bundled(site: Site) -> dict[str, Any]:
    """Return the entry of the client's bundle."""
    content = json.loads((site.root / "build" / "bundles.json").read_text(encoding="utf-8"))
    (entry,) = content["bundles"]
    found: dict[str, Any] = entry
    return found


def test_one_watch_brings_a_new_release_to_its_bundle_and_names_a_broken_one(
    lab: Lab, new_site: SiteMaker, release: Release
) -> None:
    site = new_site(kernels=[lab.kernels.newer])
    stated = yaml.safe_load((site.root / "matrix.yaml").read_text(encoding="utf-8"))["profiles"][PROFILE]
    site.change_profile(channels=[*stated["channels"], {"name": CHANNEL}])
    with boots_taken_for_granted():
        first = site.run("watch", boot=True)
    # The channel is yet to come: that is told, and stops nothing.
    assert first.code == Exit.ERRORED, first.stderr
    assert f"{CHANNEL} for x86_64 gives no release" in first.stderr
    before = digests(site)
    known = set(bundled(site)["kernels"])
    assert known == {lab.kernels.newer}

    new = release()
    run = site.run("watch", boot=True)
    assert run.code == Exit.OK, run.stderr
    (kernel,) = kernels_of(site, new) - set(lab.kernels.as_dict().values())
    cell = f"{NEWER_CLIENT}-{kernel}"
    assert run.verdicts == {**dict.fromkeys(first.verdicts, "skipped"), cell: "passed"}
    assert run.builds == 2, "one for the stages below the compile, one for the cell"
    assert run.cell(cell)["gates"] == {"static": "passed", "boot": "passed", "mount": "passed"}
    after = digests(site)
    assert after[site.tag_of(cell)] == run.cell(cell)["digest"]
    assert {tag for tag, digest in before.items() if after[tag] != digest} == {NEWER_CLIENT}, "the bundle alone"
    assert set(bundled(site)["kernels"]) == {*known, kernel}
    assert bundled(site)["digest"] == after[NEWER_CLIENT]
    entry = released(run, new)
    assert (entry["state"], entry["published"]) == ("published", run.cell(cell)["pushed"])
    assert 0 <= entry["minutes_from_discovery"] <= entry["minutes_from_appearance"]
    assert run.stderr.splitlines()[-3:] == [
        f"watch: releases: 1 new: {new} for x86_64; kernels: 1 new: {kernel}",
        f"watch: cells: 1 published: {cell}",
        f"watch: bundles: {NEWER_CLIENT} published with 2 kernels as {after[NEWER_CLIENT]}",
    ]

    broken = release("--broken")
    run = site.run("watch", boot=True)
    assert run.code == Exit.ERRORED, run.stderr
    (opened,) = run.verdicts.keys() - {*first.verdicts, cell}
    assert run.verdicts == {**dict.fromkeys([*first.verdicts, cell], "skipped"), opened: "errored"}
    (finding,) = run.cell(opened)["findings"]
    assert finding["code"] == "toolkit-kernel-mismatch"
    assert opened == f"{NEWER_CLIENT}-{finding['expected']}"
    assert f"{broken} for x86_64: toolkit-kernel-mismatch: " in run.stderr
    assert (run.builds, run.pulls, digests(site)) == (0, 0, after)
    assert (released(run, broken)["state"], released(run, new)) == ("mismatch", entry)

    fault = {"release": broken, "reason": "its toolkit lacks its nodes' kernel"}
    site.change_profile(excludes=[*stated["excludes"], fault])
    run = site.run("watch", boot=True)
    assert run.code == Exit.NOTHING_NEW, run.stderr
    assert (run.builds, run.pulls, digests(site)) == (0, 0, after)
    assert [line.partition(": ")[2] for line in run.stderr.splitlines()[-3:]] == [
        "releases: none new; kernels: none new",
        "cells: none published",
        "bundles: none published",
    ]
