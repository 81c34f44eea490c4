"""Workflows run on tested parts: a runner image of one version, actions by digest, engines that are named."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
# A label with its version: `ubuntu-latest` is another image, and another engine, from one day to the next.
PINNED = re.compile(r"ubuntu-\d\d\.\d\d(-arm)?")
ENGINES = "Docker 20.10 and Docker 28 or newer with the containerd image store (the newest in Debian)"


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


def unpinned_runners(path: Path) -> list[str]:
    return [name for name, job in jobs(path).items() if not PINNED.fullmatch(str(job.get("runs-on")))]


def test_there_are_workflows() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "publish.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_names_the_version_of_its_runner_image(path: Path) -> None:
    assert unpinned_runners(path) == []


@pytest.mark.parametrize("label", ["ubuntu-latest", "[self-hosted]", "${{ matrix.os }}", "ubuntu-24"])
def test_a_runner_without_a_version_is_found(tmp_path: Path, label: str) -> None:
    path = tmp_path / "x.yml"
    path.write_text(f"jobs:\n  a:\n    runs-on: {label}\n", encoding="utf-8")
    assert unpinned_runners(path) == ["a"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_taken_by_its_commit(path: Path) -> None:
    used = [step["uses"] for job in jobs(path).values() for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / "README.md"], ids=lambda path: path.name)
def test_the_engines_that_were_tested_are_named(path: Path) -> None:
    words = re.sub(r"\s+", " ", re.sub(r"(?m)^ *#", "", path.read_text(encoding="utf-8")))
    assert ENGINES in words


def test_the_nightly_job_discovers_with_the_lock_of_the_night_before_and_keeps_it() -> None:
    job = jobs(ROOT / ".github" / "workflows" / "publish.yml")["ocp"]
    steps = job["steps"]
    (fetch, discover, keep, build) = (
        next(index for index, step in enumerate(steps) if step.get("run", "").endswith(command))
        for command in ("kept-lock fetch", "nox -s discover", "kept-lock keep", "nox -s build")
    )
    assert fetch < discover < keep < build
    assert not [step for step in (steps[fetch], steps[keep]) if "continue-on-error" in step or "if" in step]
    assert job["permissions"] == {"contents": "write"}
    with_token = [index for index, step in enumerate(steps) if "github.token" in str(step)]
    assert with_token == [fetch, keep], "no other step may write to the repository"


class Checkouts:
    """A repository, and a fresh checkout of it for each night, as the workflow has one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.origin, self.nights = folder, folder / "origin.git", 0
        first = folder / "first"
        (first / ".ci").mkdir(parents=True)
        shutil.copy2(ROOT / ".ci" / "kept-lock", first / ".ci")
        self.git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        self.git(first, "init", "--quiet", "--initial-branch=main")
        self.git(first, "add", ".")
        self.git(first, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "m")
        self.git(first, "push", "--quiet", str(self.origin), "main")

    def git(self, where: Path, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True)
        return done.stdout

    def night(self) -> Path:
        self.nights += 1
        path = self.folder / f"night-{self.nights}"
        self.git(self.folder, "clone", "--quiet", "--depth", "1", self.origin.as_uri(), str(path))
        return path

    def run(self, night: Path, verb: str) -> subprocess.CompletedProcess[str]:
        command = [str(night / ".ci" / "kept-lock"), verb]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    def passes(self, lock: str) -> str | None:
        """One night that leaves this lock; returns the one it began with."""
        night = self.night()
        assert self.run(night, "fetch").returncode == 0
        path = night / "matrix.lock"
        before = path.read_text(encoding="utf-8") if path.exists() else None
        path.write_text(lock, encoding="utf-8")
        kept = self.run(night, "keep")
        assert kept.returncode == 0, kept.stderr
        return before

    @property
    def commits(self) -> int:
        return int(self.git(self.origin, "rev-list", "--count", "locks"))


@pytest.fixture
def checkouts(tmp_path: Path) -> Checkouts:
    return Checkouts(tmp_path)


def test_a_lock_is_there_again_the_next_night(checkouts: Checkouts) -> None:
    assert [checkouts.passes(lock) for lock in ("one\n", "two\n", "two\n", "")] == [None, "one\n", "two\n", "two\n"]
    assert checkouts.commits == 3, "an unchanged lock needs no commit"
    assert checkouts.git(checkouts.origin, "ls-tree", "--name-only", "locks") == "matrix.lock\n"


def test_a_lock_that_cannot_be_fetched_is_not_taken_for_none(checkouts: Checkouts) -> None:
    checkouts.passes("one\n")
    night = checkouts.night()
    checkouts.origin.rename(checkouts.folder / "away")
    done = checkouts.run(night, "fetch")
    assert (done.returncode, "could not be queried" in done.stderr) == (1, True), done.stderr
    assert not (night / "matrix.lock").exists()


def test_a_branch_without_a_lock_is_an_error(checkouts: Checkouts) -> None:
    checkouts.git(checkouts.origin, "branch", "locks", "main")
    night = checkouts.night()
    assert checkouts.run(night, "fetch").returncode != 0
    assert not (night / "matrix.lock").exists()


def test_a_branch_that_moved_since_it_was_fetched_is_not_overwritten(checkouts: Checkouts) -> None:
    night = checkouts.night()
    checkouts.run(night, "fetch")
    checkouts.passes("another run's\n")
    (night / "matrix.lock").write_text("mine\n", encoding="utf-8")
    assert checkouts.run(night, "keep").returncode != 0
    assert checkouts.git(checkouts.origin, "show", "locks:matrix.lock") == "another run's\n"
