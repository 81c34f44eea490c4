"""The complete pipeline with a Docker of 28 or newer and containerd's image store, as fresh machines have it.

There an image's id is its manifest's digest, a push reports no digest (moby: daemon/containerd/image_push.go), and an
inspection leaves empty fields out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.integration.support.faulty.interrupted_build import interrupt_while_compiling
from tests.integration.support.lab import Lab
from tests.integration.support.newer_engine import newer_engine
from tests.integration.support.project.granted_boots import boots_taken_for_granted
from tests.integration.support.project.site import NEWER_CLIENT, Site, SiteMaker
from tests.integration.support.session import Session

_DOCKER = "application/vnd.docker."


@pytest.fixture
def newer(
    request: pytest.FixtureRequest, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[docker.DockerClient]:
    """A newer engine, which every command of a test uses; it publishes to the registry of all tests."""
    for of_the_first_engine in ("lab", "registry"):
        request.getfixturevalue(of_the_first_engine)
    with newer_engine(session, tmp_path) as started:
        assert int(started.version.split(".")[0]) >= 28
        monkeypatch.setenv("DOCKER_HOST", started.host)
        client = docker.from_env()
        assert ["driver-type", "io.containerd.snapshotter.v1"] in client.info()["DriverStatus"]
        yield client
        client.close()


def test_the_pipeline_publishes_what_it_tested_and_leaves_nothing(
    newer: docker.DockerClient, lab: Lab, new_site: SiteMaker
) -> None:
    # One test for all of it, with kernels of one toolkit, as the engine has to pull that again.
    kernels = [lab.kernels.newer, lab.kernels.real_time]
    site: Site = new_site(kernels=kernels, warm=False)
    cell, other = (f"{NEWER_CLIENT}-{kernel}" for kernel in kernels)

    built = site.run("build", "--only", cell, boot=True)
    assert built.verdicts == {cell: "passed"}, built.stderr
    digest = site.registry.digest(site.repository, cell)
    assert built.cell(cell)["digest"] == digest
    manifest = site.registry.manifest(site.repository, cell)
    kinds = {manifest["mediaType"], *(part["mediaType"] for part in (manifest["config"], *manifest["layers"]))}
    assert all(kind.startswith(_DOCKER) for kind in kinds), f"a mixture, which some registries refuse: {kinds}"

    again = site.run("build", "--only", cell, boot=True)
    assert again.verdicts == {cell: "skipped"}, again.stderr
    assert (again.builds, again.pulls) == (0, 0)

    # An image from the registry, and one that stays in the engine: boots would show no more than the first did.
    with boots_taken_for_granted():
        verified = site.run("verify", "--only", cell, boot=True)
        kept = site.run("build", "--only", cell, "--force", "--no-push", boot=True)
    assert verified.verdicts == {cell: "passed"}, verified.stderr
    assert verified.cell(cell)["digest"] == digest

    assert kept.verdicts == {cell: "passed"}, kept.stderr
    assert not kept.cell(cell)["digest"]
    pushed = site.run("push", boot=True)
    assert pushed.verdicts == {cell: "passed"}, pushed.stderr
    assert pushed.cell(cell)["digest"] == site.registry.digest(site.repository, cell)
    assert site.registry.manifest(site.repository, cell)["layers"] == manifest["layers"], "nodes pull nothing again"

    bundled = site.run("bundle", boot=True)
    assert bundled.code == 0, bundled.stderr
    assert NEWER_CLIENT in site.tags

    ended = interrupt_while_compiling(site, other)
    assert ended.code == 130, "".join(ended.said)
    assert other not in site.tags

    # The base and the toolkits stay: the next run builds from them again.
    pulled = {*lab.toolkits.values(), site.pins.base.pinned}
    images = newer.api.images(all=True)
    assert {name for image in images for name in image.get("RepoDigests") or [image["Id"]]} <= pulled
    # This store lists names by digest among the tags, too.
    assert [name for image in images for name in image.get("RepoTags") or () if "@" not in name] == []
    assert newer.api.containers(all=True) == []
