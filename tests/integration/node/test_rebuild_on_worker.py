"""The rebuild on a RHEL worker whose kernel the image has no module for: its needs, and its message for each lack."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.errors import StepFailedError
from kmatrix.values.engine import RunOutput
from tests.integration.support.cluster.openshift import (
    InCluster,
    built,
    node_mounts,
    one_unit_copy,
    rendered,
    with_red_hats_modes,
)
from tests.integration.support.lab import Lab
from tests.integration.support.node.rhel_worker import ENTITLEMENT, add_repository, make_repository, make_worker, served
from tests.integration.support.project.images import run_confined
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.session import Session


@pytest.fixture(scope="module")
def manifests(lab: Lab, module_sites: SiteMaker) -> InCluster:
    """The rendered manifests of the newer client."""
    return rendered(module_sites(clients=[NEWER_CLIENT], kernels=[lab.kernels.next_line], warm=False), NEWER_CLIENT)


@pytest.fixture(scope="module")
def image(engine: Engine, lab: Lab, session: Session, manifests: InCluster) -> Iterator[str]:
    """The image of the toolkit of the 6.12 line, its folders as in Red Hat's."""
    log: list[str] = []
    try:
        with (
            built(engine, session, manifests, lab.toolkits["next-line"], log) as made,
            one_unit_copy(engine, session, made) as quick,
            with_red_hats_modes(engine, session, quick) as copy,
        ):
            yield copy
    except StepFailedError as error:
        pytest.fail(f"{error}\n" + "\n".join(log[-40:]))


@dataclass(frozen=True)
class Worker:
    """A RHEL worker in a folder that runs a kernel the image has no module for; `url` has that kernel's headers."""

    image: str
    manifests: InCluster
    kernel: str
    folder: Path
    url: str

    def rebuild(self, before: str = "true", kernel: str = "", without: Collection[str] = ()) -> RunOutput:
        """Run rebuild-module with the mounts and capabilities of a RHEL worker's container in the manifest.

        Args:
            before: commands to run first.
            kernel: another kernel than the node's.
            without: capabilities that are removed.
        """
        (container,) = self.manifests.worker["containers"]
        capabilities = container["securityContext"]["capabilities"]
        script = f"""{before}; rebuild-module {kernel or self.kernel} || exit 1
        modinfo -F vermagic /opt/lib/modules/{self.kernel}/extra/beegfs.ko
        modprobe -d /opt -S {self.kernel} --show-depends beegfs"""
        return run_confined(
            self.image,
            script,
            node_mounts(self.manifests.worker, self.folder),
            cap_drop=capabilities["drop"],
            cap_add=[name for name in capabilities["add"] if name not in without],
            security_opt=["no-new-privileges"],
        )

    def refused(self, code: str, **wishes: Any) -> str:
        """Run it, and return the reason that it gives for its failure."""
        done = self.rebuild(**wishes)
        assert done.status == 1, done.stdout
        assert done.stdout == ""
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"rebuild-module: error: {code}: "), done.stderr
        return last


@pytest.fixture(scope="module")
def node(engine: Engine, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A worker's folder, and the address of its kernel's headers."""
    folder = tmp_path_factory.mktemp("worker")
    make_worker(engine, lab, "older", lab.kernels.older, folder / "node")
    make_repository(engine, lab, "older", lab.kernels.older, folder / "www")
    with served(folder / "www") as server:
        yield folder / "node", server.url


@pytest.fixture
def worker(lab: Lab, image: str, manifests: InCluster, node: tuple[Path, str], tmp_path: Path) -> Worker:
    """A RHEL worker with a folder of its own, which a test may change."""
    folder = tmp_path / "node"
    shutil.copytree(node[0], folder, symlinks=True)
    return Worker(image, manifests, lab.kernels.older, folder, node[1])


def test_an_entitled_worker_gets_a_module_for_its_kernel(worker: Worker) -> None:
    add_repository(worker.folder, worker.url)
    done = worker.rebuild()
    assert done.status == 0, done.stderr
    root, vermagic, *loaded = done.stdout.splitlines()
    assert root == "/opt"
    assert vermagic.split()[0] == worker.kernel
    # In-tree modules are the node's own.
    tree = f"/opt/lib/modules/{worker.kernel}"
    assert f"insmod {tree}/host/kernel/drivers/infiniband/core/ib_core.ko " in loaded
    assert loaded[-1] == f"insmod {tree}/extra/beegfs.ko "


def test_requirements_of_the_headers_go_to_folders_that_only_dac_override_writes_to(worker: Worker) -> None:
    add_repository(worker.folder, worker.url)
    assert "failed on file /usr/lib/" in worker.refused("install-failed", without=["DAC_OVERRIDE"])


def test_headers_alone_go_to_folders_that_root_may_write_to(worker: Worker) -> None:
    # Their requirements are installed: the capability is for images that lack one.
    add_repository(worker.folder, worker.url)
    lab = f"--repofrompath lab,{worker.url} --repo lab --nogpgcheck"
    before = f"chmod 755 /usr/lib; dnf -q -y {lab} install kbuild-{worker.kernel} >/dev/null; chmod 555 /usr/lib"
    done = worker.rebuild(before, without=["DAC_OVERRIDE"])
    assert done.status == 0, done.stderr


@pytest.mark.parametrize(
    ("repository", "before"),
    [
        # In the minor's folder alone, as for Extended Update Support; in the major's alone; where the node's file says.
        ("9.4", "true"),
        ("9", "true"),
        ("9.2", "mkdir -p /host/etc/dnf/vars; echo 9.2 >/host/etc/dnf/vars/releasever"),
        ("9.2", "export BEEGFS_REBUILD_RELEASE=9.2"),
    ],
)
def test_the_release_of_the_repositories_is_found(worker: Worker, repository: str, before: str) -> None:
    add_repository(worker.folder, f"{worker.url}/only-{repository}/$releasever")
    done = worker.rebuild(before)
    assert done.status == 0, done.stderr


def test_of_several_releases_the_one_that_can_be_read_says_why(worker: Worker) -> None:
    (worker.folder / "lib/modules" / worker.kernel).rename(worker.folder / "lib/modules/5.14.0-1.el9.x86_64")
    for repository in ("9.4", "9"):
        add_repository(worker.folder, f"{worker.url}/only-{repository}/$releasever")
        assert "no kernel-devel-5.14.0-1.el9" in worker.refused("package-not-found", kernel="5.14.0-1.el9.x86_64")


def test_a_module_that_is_not_right_is_not_loaded(worker: Worker) -> None:
    add_repository(worker.folder, worker.url)
    worker.refused("module-wrong", before="export BEEGFS_FAULT=no-rdma")


def test_a_worker_without_repositories_is_told_to_register(worker: Worker) -> None:
    assert "Register the node with subscription-manager" in worker.refused("no-repositories")


@pytest.mark.parametrize("missing", ENTITLEMENT)
def test_a_worker_without_its_certificates_is_told_which(worker: Worker, missing: str) -> None:
    add_repository(worker.folder, worker.url)
    (worker.folder / missing).unlink()
    assert f"/host/{missing}, which does not exist" in worker.refused("not-entitled")


def test_a_worker_whose_subscription_ended_is_told(worker: Worker) -> None:
    add_repository(worker.folder, f"{worker.url}/forbidden")
    assert "Status code: 403" in worker.refused("not-entitled")


def test_repositories_out_of_reach_are_not_taken_for_empty_ones(worker: Worker) -> None:
    add_repository(worker.folder, "http://127.0.0.1:9")
    assert "Curl error (7)" in worker.refused("repositories-unreadable")


def test_headers_that_the_repositories_lack_are_named(worker: Worker) -> None:
    add_repository(worker.folder, worker.url)
    (worker.folder / "lib/modules" / worker.kernel).rename(worker.folder / "lib/modules/5.14.0-1.el9.x86_64+rt")
    said = worker.refused("package-not-found", kernel="5.14.0-1.el9.x86_64+rt")
    assert "no kernel-rt-devel-5.14.0-1.el9.x86_64." in said


def test_a_node_tree_that_is_not_mounted_is_named(worker: Worker) -> None:
    add_repository(worker.folder, worker.url)
    assert "/lib/modules/9.9.9/modules.dep" in worker.refused("node-tree-missing", kernel="9.9.9")


def test_a_client_that_does_not_compile_is_said_so(worker: Worker) -> None:
    add_repository(worker.folder, worker.url)
    spoil = "echo '#error on purpose' >>/kmatrix/source/opt/beegfs/src/client/client_module_8/parts/main.c"
    said = worker.refused("compile-failed", before=spoil)
    assert worker.kernel in said
