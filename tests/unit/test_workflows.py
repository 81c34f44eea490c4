"""Workflows run on what was tested: a runner image of one version, actions by digest, engines that are named."""

from __future__ import annotations

import re
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
