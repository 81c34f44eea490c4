"""Files and folders that are not as they should be: the error names them, and nothing is half done."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from bench import without_boot
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, Site, SiteMaker


@pytest.fixture
def site(lab: Lab, new_site: SiteMaker) -> Site:
    """A project with one cell."""
    return new_site(kernels=[lab.kernels.newer])


@pytest.fixture
def cell(lab: Lab) -> str:
    """The id of its cell."""
    return f"{NEWER_CLIENT}-{lab.kernels.newer}"


def told(site: Site, *arguments: str) -> tuple[int, str]:
    """Run a command whose results cannot be read, and return its exit code and output."""
    stderr = io.StringIO()
    with redirect_stderr(stderr):
        code = without_boot.main([*arguments, "--root", str(site.root)])
    return code, stderr.getvalue()


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["build", "build/runs", "dockerfiles", "build/results.json/x"])
def test_a_place_that_cannot_be_written_is_told_and_nothing_is_published(site: Site, place: str) -> None:
    # Files that `discover` left may occupy the place.
    shutil.rmtree(site.root / "build", ignore_errors=True)
    way = site.root / place
    way.parent.mkdir(parents=True, exist_ok=True)
    way.write_text("in the way")
    before = files(site.root)
    code, said = told(site, "build")
    assert code == 2, said
    named = place.removesuffix("/x")
    assert str(site.root / named) in said
    assert way.read_text() == "in the way"
    own = ("build/run.lock", "build/runs/", "dockerfiles/")
    assert {path for path in files(site.root) - before if not path.startswith(own)} == set()
    assert site.tags == set()


def test_a_run_goes_on_once_the_place_can_be_written(site: Site, cell: str) -> None:
    way = site.root / "build" / "logs"
    way.parent.mkdir(exist_ok=True)
    way.write_text("in the way")
    run = site.run("build")
    assert (run.code, run.verdicts) == (3, {cell: "errored"})
    assert run.cell(cell)["reason"].startswith(f"cannot write the log {way}/")
    way.unlink()
    rest = site.run("build")
    assert rest.code == 0, rest.stderr
    assert rest.verdicts == {cell: "passed"}


def test_packages_that_cannot_be_kept_are_told(site: Site, cell: str) -> None:
    (site.root / "build").mkdir(exist_ok=True)
    (site.root / "build" / "packages").write_text("in the way")
    run = site.run("build")
    assert run.code == 3, run.stderr
    assert run.cell(cell)["reason"].startswith(f"cannot write {site.root}/build/packages/")
    assert site.tags == set()


@pytest.mark.parametrize(
    "content", ['{"schema": 4, "prof', "[]", '{"schema": 4, "profile": "site", "cells": [{}], "releases": []}']
)
def test_damaged_results_are_told_before_anything_is_built(site: Site, content: str) -> None:
    path = site.root / "build" / "results.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    code, said = told(site, "build")
    assert code == 2
    assert f"results file {path}: not as this program writes it" in said
    assert "Delete the file" in said
    assert path.read_text() == content
    assert site.tags == set()


def test_a_damaged_lock_is_told(site: Site) -> None:
    path = site.root / "matrix.lock"
    path.write_text(path.read_text()[:-100])
    run = site.run("build")
    assert run.code == 2
    assert "matrix.lock" in run.stderr
    assert "discover" in run.stderr
    assert site.tags == set()


def test_a_stray_file_among_the_dockerfiles_stays_and_is_named(site: Site, cell: str) -> None:
    folder = site.root / "dockerfiles" / "site"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("x")
    run = site.run("render")
    assert run.code == 0
    assert "notes.txt" in run.stderr
    assert files(folder) == {f"{cell}/Dockerfile", "notes.txt"}


def test_results_of_another_profile_are_not_mixed_in(site: Site, cell: str) -> None:
    path = site.root / "build" / "results.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"schema": 4, "profile": "other", "cells": [], "releases": []}))
    assert site.run("build", "--no-push").verdicts == {cell: "passed"}
