"""Runs after the first: only missing work is repeated, and repeating it gives the same bytes."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound

from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.engine.docker.containers import RUN_LABEL
from tests.integration.support.lab import Lab
from tests.integration.support.project.images import diff_ids, output_in
from tests.integration.support.project.site import JOBS, NEWER_CLIENT, Site, SiteMaker
from tests.integration.support.session import LABEL

# Dies as if killed, as soon as the first result is on the disk.
KILLED = """
import os, signal, sys
from bench import without_boot
from kmatrix.commands import recorder
write = recorder.write_results
def write_and_die(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
recorder.write_results = write_and_die
without_boot.main(sys.argv[1:])
"""


@pytest.fixture
def site(lab: Lab, new_site: SiteMaker) -> Site:
    """A project with a cell of each of two kernels."""
    made: Site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    return made


@pytest.fixture
def older(lab: Lab) -> str:
    """The id of the older kernel's cell."""
    return f"{NEWER_CLIENT}-{lab.kernels.older}"


@pytest.fixture
def newer(lab: Lab) -> str:
    """The id of the newer kernel's cell."""
    return f"{NEWER_CLIENT}-{lab.kernels.newer}"


def test_a_removed_tag_rebuilds_that_cell_alone(site: Site, older: str, newer: str) -> None:
    first = site.run("build")
    site.registry.delete(site.repository, newer)
    assert site.tags == {older}
    again = site.run("build")
    assert again.code == 0, again.stderr
    assert again.verdicts == {older: "skipped", newer: "passed"}
    assert again.builds == 2, "one for the stages below the compile, one for the cell"
    assert site.tags == {older, newer}
    assert again.cell(older)["digest"] == first.cell(older)["digest"]


def test_other_inputs_are_built_again(site: Site, older: str, newer: str) -> None:
    first = site.run("build")
    site.alter("Dockerfile.j2", "COPY --from=module /module/ /\n", "COPY --from=module /module/ /\nENV changed=yes\n")
    again = site.run("build", "--only", newer)
    assert again.verdicts == {older: "passed", newer: "passed"}
    assert again.builds == 2
    assert site.registry.digest(site.repository, newer) == again.cell(newer)["digest"] != first.cell(newer)["digest"]
    assert site.registry.digest(site.repository, older) == first.cell(older)["digest"]


def test_only_limits_a_run_to_what_it_names(site: Site, newer: str) -> None:
    run = site.run("build", "--only", newer)
    assert run.verdicts == {newer: "passed"}
    assert site.tags == {newer}
    nothing = site.run("build", "--only", "9.*")
    assert nothing.code == 2
    assert "matches no cell" in nothing.stderr


def test_force_compiles_again_and_gives_the_same_bytes(site: Site, newer: str) -> None:
    """Every layer, so beegfs.ko in the last one, too."""
    first = site.run("build", "--only", newer)
    layers = site.registry.manifest(site.repository, newer)["layers"]
    again = site.run("build", "--only", newer, "--force")
    assert (first.code, again.code) == (0, 0), again.stderr
    assert again.verdicts[newer] == "passed"
    assert "CC [M]" in (site.root / again.cell(newer)["log"]).read_text(encoding="utf-8"), "nothing was compiled"
    assert site.registry.manifest(site.repository, newer)["layers"] == layers
    assert site.registry.digest(site.repository, newer) == again.cell(newer)["digest"]


def test_the_layers_below_the_module_are_reproducible(site: Site, newer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the engine's cache, the same packages and base give the same layers."""
    build = DockerEngine.build
    cached: list[list[str]] = []
    fresh: list[list[str]] = []

    def twice(engine: DockerEngine, context: bytes, **options: Any) -> str:
        made = build(engine, context, **options)
        if options.get("target") == "userland":
            cached.append(diff_ids(made))
            again = build(engine, context, **{**options, "no_cache": True})
            assert again != made
            fresh.append(diff_ids(again))
        return made

    monkeypatch.setattr(DockerEngine, "build", twice)
    assert site.run("build", "--only", newer).code == 0
    assert len(fresh) == 1
    assert fresh == cached


def test_the_compile_has_no_network(site: Site, lab: Lab, newer: str) -> None:
    client = docker.from_env()
    web = client.containers.get(lab.layout.web_container)
    address = web.attrs["NetworkSettings"]["IPAddress"]
    client.close()
    reach = f"if (exec 3<>/dev/tcp/{address}/8080); then echo reached the lab; exit 1; fi"
    # The same command reaches it where there is a network, or its failure would prove nothing.
    assert "reached" in output_in(lab.toolkits["newer"], "bash", "-c", reach, network="bridge", status=1)
    site.sabotage(lab.kernels.newer, reach)
    run = site.run("build", "--only", newer)
    assert run.verdicts == {newer: "passed"}, run.stderr


def test_a_run_that_was_killed_goes_on_where_it_was(site: Site, older: str, newer: str) -> None:
    command = [sys.executable, "-c", KILLED, "build", "--jobs", JOBS, "--root", str(site.root)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    try:
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        (run_id,) = (path.name for path in (site.root / "build" / "runs").iterdir())
        kept = site.results()
        assert [cell["verdict"] for cell in kept["cells"]] == ["passed"]
        done = kept["cells"][0]
        assert done["cell"] in site.tags
        again = site.run("build")
        assert again.code == 0, again.stderr
        assert again.verdicts[done["cell"]] == "skipped"
        assert set(again.verdicts) == {older, newer}
        assert again.cell(done["cell"])["digest"] == done["digest"]
        assert site.tags == {older, newer}
        assert containers_of(run_id) == []
    finally:
        forget_steps(site)


def containers_of(run_id: str) -> list[str]:
    """Return the containers that a run left."""
    client = docker.from_env()
    left = [str(made.name) for made in client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={run_id}"})]
    client.close()
    return left


def forget_steps(site: Site) -> None:
    """Remove the intermediate images that a killed run could not remove."""
    client = docker.from_env()
    made = client.images.list(all=True, filters={"label": f"{LABEL}.site={site.path}"})
    for image in sorted(made, key=lambda image: str(image.attrs["Created"]), reverse=True):
        # With an image, the engine removes the nameless ones that only it was built from.
        with contextlib.suppress(ImageNotFound):
            client.images.remove(str(image.id), force=True)
    client.close()


def test_a_later_run_takes_the_installed_packages_of_what_is_published(
    lab: Lab, new_site: SiteMaker, older: str, newer: str
) -> None:
    """A package manager never writes the same bytes twice, and nodes must not pull them again with every kernel."""
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer], base_packages=["kmod"])
    install = "RUN microdnf install -y --nodocs --setopt=install_weak_deps=0 "
    site.alter("Dockerfile.j2", install, "RUN cat /proc/uptime >/made-at; : ")
    site.alter("Dockerfile.j2", " && microdnf clean all\n", "\n")
    assert site.run("build", "--only", newer).code == 0
    run = site.run("build", "--only", older)
    assert run.verdicts[older] == "passed", run.stderr
    first, second = (site.registry.manifest(site.repository, cell)["layers"] for cell in (newer, older))
    assert first[:-1] == second[:-1]

    # Forced, everything is built again.
    assert site.run("build", "--force").code == 0
    layers = [site.registry.manifest(site.repository, cell)["layers"] for cell in (newer, older)]
    assert layers[0][:-1] == layers[1][:-1] != first[:-1]
