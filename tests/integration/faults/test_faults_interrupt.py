"""Ctrl-C during a build: it stops soon, keeps finished cells, leaves nothing running; the next run resumes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import docker
import pytest

from kmatrix.effects.engine.docker.containers import RUN_LABEL
from tests.integration.support.faulty.interrupted_build import interrupt_while_compiling
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import PROFILE, Site, SiteMaker

_RUNNING = re.compile(r"---> Running in ([0-9a-f]{12})")


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    """A Docker client of the test's own."""
    made = docker.from_env()
    yield made
    made.close()


def containers(client: docker.DockerClient, site: Site) -> list[str]:
    runs = {path.name for path in (site.root / "build" / "runs").iterdir()}
    found = client.api.containers(all=True, filters={"label": RUN_LABEL})
    return [str(container["Id"]) for container in found if container["Labels"][RUN_LABEL] in runs]


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(
    lab: Lab, new_site: SiteMaker, client: docker.DockerClient
) -> None:
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer, lab.kernels.next_line])
    first, second, third = site.planned()
    ended = interrupt_while_compiling(site, second)
    assert ended.code == 130, "".join(ended.said)
    assert "Interrupted. Finished cells are saved" in ended.said[-1]
    assert "Traceback" not in "".join(ended.said)
    results = json.loads((site.root / "build" / "results.json").read_text())
    assert [(cell["cell"], cell["verdict"]) for cell in results["cells"]] == [(first, "passed")]
    site.note_steps()
    assert containers(client, site) == []
    # Its compile's container, too, was ended by the run and not only by the engine's noticing that nobody listens.
    log = site.root / "build" / "logs" / PROFILE / f"{second}.log"
    compiling = _RUNNING.findall(log.read_text())[-1]
    assert [c["State"] for c in client.api.containers() if c["Id"].startswith(compiling)] == []
    assert site.tags == {first}
    rest = site.run("build")
    assert rest.code == 0, rest.stderr
    assert rest.verdicts == {first: "skipped", second: "passed", third: "passed"}


def test_the_next_run_removes_everything_that_a_killed_run_left(
    lab: Lab, new_site: SiteMaker, client: docker.DockerClient
) -> None:
    """The engine lets no build label its containers and steps, so a run notes them while it builds."""
    site = new_site(kernels=[lab.kernels.older])
    (cell,) = site.planned()
    ended = interrupt_while_compiling(site, cell, signal.SIGKILL)
    assert ended.code == -signal.SIGKILL
    (notes,) = (site.root / "build" / "builds").iterdir()
    noted = [line.split() for line in notes.read_text().splitlines()]
    compiling = _RUNNING.findall((site.root / "build" / "logs" / PROFILE / f"{cell}.log").read_text())[-1]
    assert ["container", compiling] in noted
    steps = {name for kind, name in noted if kind == "image"}
    assert steps
    # Of the commands that clear up, the one that builds nothing.
    site.run("verify")
    assert not notes.exists()
    there = client.api.containers(all=True, quiet=True)
    assert not [each["Id"] for each in there if each["Id"][:12] in {name for _, name in noted}]
    unnamed = client.api.images(all=True, filters={"dangling": True})
    assert not [image["Id"] for image in unnamed if image["Id"].removeprefix("sha256:")[:12] in steps]
