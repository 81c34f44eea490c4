"""The container engine becomes unreachable: at the start, during a compile, during a check."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound

from kmatrix.effects.engine.docker.containers import RUN_LABEL
from tests.integration.support.faulty.engine_cut import Forwarder
from tests.integration.support.faulty.trigger import at_container, at_line
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import Run, Site, SiteMaker

_RUNNING = re.compile(r"---> Running in ([0-9a-f]{12})")


@pytest.fixture
def forwarder(tmp_path: Path) -> Iterator[Forwarder]:
    """A socket to the engine that the test can cut."""
    made = Forwarder(tmp_path / "engine.sock")
    yield made
    made.close()


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    """A Docker client that reaches the engine past the forwarder."""
    made = docker.from_env()
    yield made
    made.close()


@pytest.fixture
def site(lab: Lab, new_site: SiteMaker) -> Site:
    """A project with a cell of each of two kernels."""
    return new_site(kernels=[lab.kernels.older, lab.kernels.newer])


def containers_of(client: docker.DockerClient, site: Site) -> list[str]:
    """Return the containers of every run of a site, by the notes of runs in its folder."""
    runs = {path.name for path in (site.root / "build" / "runs").iterdir()}
    found = client.api.containers(all=True, filters={"label": RUN_LABEL})
    return [str(container["Id"]) for container in found if container["Labels"][RUN_LABEL] in runs]


def assert_errored_by_the_engine(run: Run, site: Site) -> None:
    assert run.code == 3, run.stderr
    assert set(run.verdicts.values()) == {"errored"}
    for cell in run.results["cells"]:
        assert cell["reason"].startswith("the container engine at ")
        assert cell["digest"] == ""
    assert "docker info" in (site.root / run.results["cells"][0]["log"]).read_text()
    assert site.tags == set()


def assert_next_run_finishes(site: Site) -> None:
    rest = site.run("build")
    assert rest.code == 0, rest.stderr
    assert rest.verdicts == dict.fromkeys(site.planned(), "passed")
    assert site.tags == set(site.planned())


def test_no_engine_is_told_before_anything_is_done(site: Site, forwarder: Forwarder) -> None:
    forwarder.cut()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", forwarder.host)
        run = site.run("build")
    assert run.code == 4
    assert run.stderr.startswith("error: the container engine at ")
    assert "docker info" in run.stderr
    assert run.results == {}


def test_an_engine_that_goes_away_in_a_compile_leaves_nothing(
    site: Site, forwarder: Forwarder, client: docker.DockerClient
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", forwarder.host)
        at_line(patch, r"CC \[M\] ", forwarder.cut)
        # A compile of its own: one in the engine's cache would be over before it can be cut.
        run = site.run("build", "--force", "--jobs", "1")
    assert_errored_by_the_engine(run, site)
    log = (site.root / run.cell(site.planned()[0])["log"]).read_text()
    compiling = _RUNNING.findall(log)[-1]
    with contextlib.suppress(NotFound):
        client.api.wait(compiling, condition="removed", timeout=60)
    assert containers_of(client, site) == []
    assert_next_run_finishes(site)
    assert containers_of(client, site) == []


def test_the_next_run_removes_images_that_a_run_could_not(
    lab: Lab, new_site: SiteMaker, forwarder: Forwarder, client: docker.DockerClient
) -> None:
    site = new_site(kernels=[lab.kernels.newer])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", forwarder.host)
        at_container(patch, forwarder.cut)
        run = site.run("build")
    assert_errored_by_the_engine(run, site)
    assert "could not clean up: the container engine" in run.stderr
    left = containers_of(client, site)
    assert left
    (notes,) = (site.root / "build" / "builds").iterdir()
    steps = {line.split()[1] for line in notes.read_text().splitlines() if line.startswith("image ")}
    assert steps
    # Of the commands that clear up, this one builds nothing, and so needs none of these intermediate images.
    site.run("verify")
    unnamed = {image["Id"].removeprefix("sha256:")[:12] for image in client.api.images(filters={"dangling": True})}
    assert not unnamed & steps
    assert_next_run_finishes(site)
    assert not set(left) & {str(container["Id"]) for container in client.api.containers(all=True)}
