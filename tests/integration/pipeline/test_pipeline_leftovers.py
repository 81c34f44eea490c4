"""The engine after a run: nothing that the run created, and everything that was there before."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.engine.docker import DockerEngine
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.session import LABEL, Session


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    """A Docker client of the test's own."""
    made = docker.from_env()
    yield made
    made.close()


def made_by(client: docker.DockerClient, path: str) -> list[str]:
    """Return a site's images, named or not."""
    return [str(image.id) for image in client.images.list(all=True, filters={"label": f"{LABEL}.site={path}"})]


def test_a_run_leaves_no_image_behind(lab: Lab, new_site: SiteMaker, client: docker.DockerClient) -> None:
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    site.sabotage(lab.kernels.newer, "false")
    assert set(site.run("build").verdicts.values()) == {"passed", "errored"}, "no compile said no"
    assert made_by(client, site.path) == []


def test_an_image_that_was_withheld_can_be_pushed_later(lab: Lab, new_site: SiteMaker) -> None:
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    kept = site.run("build", "--no-push")
    assert kept.code == 0, kept.stderr
    assert set(kept.verdicts.values()) == {"passed"}
    assert not site.tags
    assert not site.registry.repositories() & {site.repository}
    pushed = site.run("push")
    assert pushed.code == 0, pushed.stderr
    assert site.tags == set(kept.verdicts)
    assert {cell["cell"]: cell["digest"] for cell in pushed.results["cells"]} == {
        tag: site.registry.digest(site.repository, tag) for tag in site.tags
    }


def test_a_base_that_has_no_other_name_is_not_removed(
    lab: Lab, session: Session, new_site: SiteMaker, client: docker.DockerClient
) -> None:
    """A base or a toolkit is pulled by digest and has no tag; pulling it again for each run would cost gigabytes."""
    site = new_site(kernels=[lab.kernels.newer])
    repository = f"{site.target}/base"
    engine = DockerEngine("tests")
    image = engine.build(
        pack_context(f"FROM {site.pins.base.pinned}\n", {}),
        on_line=lambda _: None,
        labels={LABEL: session.name, f"{LABEL}.site": site.path},
    )
    engine.tag(image, repository, "12")
    engine.push(repository, "12", None)
    engine.remove_image(f"{repository}:12")
    engine.close()
    site.change_profile(base=f"{repository}:12")
    assert site.run("discover").code == 0
    first = site.run("build")
    again = site.run("build", "--force")
    assert (first.code, first.pulls) == (0, 1), first.stderr
    assert (again.code, again.pulls) == (0, 0), again.stderr
    assert again.cell(f"{NEWER_CLIENT}-{lab.kernels.newer}")["verdict"] == "passed"
    for name in client.images.get(image).attrs["RepoDigests"]:
        client.images.remove(name)
