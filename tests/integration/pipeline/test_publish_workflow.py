"""The nightly workflow's own steps, job by job, with the real commands: discovered, built in two jobs, merged, bundled.

tests/unit/test_publish_steps.py runs the same steps with commands that pretend, and fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.fan_out import HOSTED
from kmatrix.effects.signing.key_files import IMAGE_KEY, IMAGE_PUBLIC_KEY
from tests.integration.support.hygiene.secret_search import forms_of_key, found_below, found_in
from tests.integration.support.lab import Lab
from tests.integration.support.project.signing_keys import FOLDER, IMAGES
from tests.integration.support.project.site import NEWER_CLIENT, PROFILE, Site, SiteMaker
from tests.integration.support.session import Session
from tests.integration.support.workflow.steps import Done, Machine

WORKFLOW = Path(__file__).resolve().parents[3] / ".github" / "workflows" / "publish.yml"
# This machine is ready: it has the programs that the real one installs, and this interpreter's environment.
READY = """#!/usr/bin/env bash
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/scripts:$PWD
exec "$@"
"""


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Nights:
    """A project in a repository of its own, and its first two nights; nothing is new in the second."""

    site: Site
    origin: Path
    first: dict[str, list[Done]]
    digests: dict[str, str]
    commits: int
    second: dict[str, list[Done]]

    def show(self, path: str) -> str:
        return git(self.origin, "show", f"main:{path}")


def write_repository(folder: Path, site: Site) -> Path:
    """Commit this checkout's files, with a site's matrix and client image, to a repository; return its origin."""
    work, origin = folder / "first", folder / "origin.git"
    for name in git(site.lab.root, "ls-files").splitlines():
        source = site.lab.root / name
        if source.is_file() and not name.startswith(("images/beegfs-client/", "dockerfiles/", "tests/", "docs/")):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, work / name)
    shutil.copy2(site.root / "matrix.yaml", work / "matrix.yaml")
    shutil.copytree(site.image_source, work / "images" / "beegfs-client")
    # The public half alone is committed; jobs have the private one from a secret.
    (work / FOLDER).mkdir()
    shutil.copy2(site.root / FOLDER / IMAGE_PUBLIC_KEY, work / FOLDER)
    (work / "scripts" / "bootstrap").write_text(READY, encoding="utf-8")
    (work / "scripts" / "bootstrap").chmod(0o755)
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(work, "init", "--quiet", "--initial-branch=main")
    git(work, "add", ".")
    git(work, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "m")
    git(work, "push", "--quiet", str(origin), "main")
    return origin


@pytest.fixture(scope="module")
def nights(
    tmp_path_factory: pytest.TempPathFactory, lab: Lab, session: Session, module_sites: SiteMaker
) -> Iterator[Nights]:
    """Two nights of a project with two kernels, built beside each other, whose images are signed."""
    site: Site = module_sites(clients=[NEWER_CLIENT], kernels=[lab.kernels.newer, lab.kernels.older], signed=[IMAGES])
    public = f"{FOLDER}/{IMAGE_PUBLIC_KEY}"
    site.change_profile(image_signing={"key": "env:KMATRIX_IMAGE_KEY", "public_keys": [public]})
    private = (site.root / FOLDER / IMAGE_KEY).read_text(encoding="ascii")
    folder = tmp_path_factory.mktemp("workflow")
    origin = write_repository(folder, site)
    environment = {"KMATRIX_PROFILE": PROFILE, "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"}
    machine = Machine(
        folder / "machine",
        origin.as_uri(),
        variables={"KMATRIX_TARGET": site.target},
        secrets={"PULL_SECRET": '{"auths": {}}', "IMAGE_KEY": private},
        environment=environment,
        beside=2,
    )
    try:
        first = machine.run(WORKFLOW)
        kept = folder / "first-night"
        shutil.copytree(machine.folder / "jobs", kept, ignore=shutil.ignore_patterns(".git"))
        for job in (job for jobs in first.values() for job in jobs if job.folder):
            job.folder = kept / job.name / "project"
        digests = {tag: site.registry.digest(site.repository, tag) for tag in site.tags}
        commits = int(git(origin, "rev-list", "--count", "main"))
        second = machine.run(WORKFLOW)
        yield Nights(site, origin, first, digests, commits, second)
    finally:
        for log in folder.rglob("build/logs/**/*.log"):
            session.note_builds(log.read_text(encoding="utf-8"))


def printed(jobs: dict[str, list[Done]]) -> str:
    """Return what failed steps printed, for the message of an assertion."""
    failed = [job for each in jobs.values() for job in each if job.failed]
    return "\n".join(f"{job.name}: {step}:\n{job.printed.get(step, '')}" for job in failed for step in job.failed)


def results_of(job: Done) -> dict[str, Any]:
    assert job.folder
    found: dict[str, Any] = json.loads((job.folder / "build" / "results.json").read_text(encoding="utf-8"))
    return found


def test_every_job_ends_well(nights: Nights) -> None:
    found = {name: {job.result for job in jobs} for name, jobs in nights.first.items()}
    well = {name: {"success"} for name in ("discover", "commit", "build", "publish")}
    assert found == well | {"pages": {"skipped"}}, printed(nights.first)


def test_each_kernel_is_built_by_a_job_of_its_own(nights: Nights, lab: Lab) -> None:
    assert len(nights.first["build"]) == 2
    built = [cell["cell"] for job in nights.first["build"] for cell in results_of(job)["cells"]]
    assert sorted(built) == sorted(f"{NEWER_CLIENT}-{kernel}" for kernel in (lab.kernels.newer, lab.kernels.older))
    (discover,) = nights.first["discover"]
    include = json.loads(discover.outputs["matrix"])["include"]
    assert [job["runner"] for job in include] == [HOSTED["x86_64"]] * 2


def test_the_results_of_both_are_merged(nights: Nights) -> None:
    (publish,) = nights.first["publish"]
    cells = results_of(publish)["cells"]
    assert {cell["verdict"] for cell in cells} == {"passed"}
    assert [cell["gates"] for cell in cells] == [dict.fromkeys(("static", "boot", "mount"), "passed")] * 2
    assert publish.folder
    for cell in cells:
        assert nights.digests[nights.site.tag_of(cell["cell"])] == cell["digest"]
        assert (publish.folder / cell["log"]).is_file()


def test_the_bundle_and_the_manifests_have_both_kernels(nights: Nights, lab: Lab) -> None:
    (publish,) = nights.first["publish"]
    assert publish.folder
    content = json.loads((publish.folder / "build" / "bundles.json").read_text(encoding="utf-8"))
    (bundle,) = content["bundles"]
    assert set(bundle["kernels"]) == {lab.kernels.newer, lab.kernels.older}
    assert nights.digests[NEWER_CLIENT] == bundle["digest"]
    assert any((publish.folder / "build" / "deploy" / PROFILE).rglob("daemonset.yaml"))


def test_cells_and_bundle_are_signed_by_the_jobs_that_have_the_key(nights: Nights) -> None:
    assert len(nights.digests) >= 3, "two cells and a bundle"
    assert set(nights.digests.values()) <= nights.site.registry.signed(nights.site.repository)


def test_no_job_leaves_the_key(nights: Nights) -> None:
    private = (nights.site.root / FOLDER / IMAGE_KEY).read_bytes()
    forms = forms_of_key("image key", private, "")
    for job in (job for jobs in nights.first.values() for job in jobs):
        assert found_in("".join(job.printed.values()).encode(), forms) == set(), job.name
        if job.folder:
            assert found_below(job.folder, forms) == {}, job.name


def test_the_lock_and_the_dockerfiles_are_in_the_history(nights: Nights, lab: Lab) -> None:
    pins = json.loads(nights.show("matrix.lock"))["profiles"][PROFILE]
    assert pins["releases"]
    for kernel in (lab.kernels.newer, lab.kernels.older):
        assert kernel in nights.show(f"dockerfiles/{PROFILE}/{NEWER_CLIENT}-{kernel}/Dockerfile")
    assert nights.commits == 2


def test_the_second_night_builds_nothing_and_changes_nothing(nights: Nights) -> None:
    found = {name: {job.result for job in jobs} for name, jobs in nights.second.items()}
    assert found == {
        "discover": {"success"},
        "commit": {"success"},
        "build": {"skipped"},
        "publish": {"success"},
        "pages": {"skipped"},
    }, printed(nights.second)
    site = nights.site
    assert {tag: site.registry.digest(site.repository, tag) for tag in site.tags} == nights.digests
    assert int(git(nights.origin, "rev-list", "--count", "main")) == nights.commits
