"""A RHEL worker whose kernel the image of the cluster has no module for: one is built on it, loaded, and kept."""

from __future__ import annotations

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.errors import StepFailedError
from tests.integration.support.cluster.openshift import (
    built,
    compiling_copy,
    one_unit_copy,
    rendered,
    with_red_hats_modes,
)
from tests.integration.support.lab import Lab
from tests.integration.support.node.client_node import SECRET
from tests.integration.support.node.rhel_worker import add_repository, make_repository, make_worker
from tests.integration.support.node.virtual_node import PLUGIN, Node, Shown, Wish
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.session import Session

# The pod starts on a node that is not registered, and then is. Its probe runs seldom: it costs the guest time.
_SCENARIO = f"""
httpd -p 127.0.0.1:8080 -h /srv/www
mv /etc/pki/entitlement /etc/pki/later
mkdir /etc/pki/entitlement
pod_start client
within 120 pod_ended client
section poor-state pod_state client
section poor-message pod_message client
section poor-log pod_log client
section poor-module module_gone
section poor-files find {PLUGIN} -type f

rmdir /etc/pki/entitlement
mv /etc/pki/later /etc/pki/entitlement
: >/pods/client/log
container_start client
within 120 pod_logged client 'installing kernel-devel'
section building-ready pod_ready client
within 900 pod_said_last client
section start-log pod_log client
section ready pod_ready client
section modules cat /proc/modules
section loaded module_values
section built pod_exec client modinfo /opt/lib/modules/KERNEL/extra/beegfs.ko
section version cat {PLUGIN}/client/version
mount_client /mnt
echo kept >/mnt/file

pod_kill client
: >/pods/client/log
container_start client
within 120 pod_said_last client
section restart-log pod_log client
section restart-image pod_exec client ls /opt/lib/modules
section restart-ready pod_ready client
section restart-file cat /mnt/file
umount /mnt
pod_stop client
"""
_SAID_LAST = """
pod_said_last() { pod_ended "$1" || pod_logged "$1" 'serving client'; }
"""


@pytest.fixture(scope="module")
def shown(
    engine: Engine, lab: Lab, session: Session, module_sites: SiteMaker, tmp_path_factory: pytest.TempPathFactory
) -> Shown:
    """The output of a RHEL worker that builds the module for its own kernel."""
    kernel, of_image = lab.kernels.older, lab.kernels.next_line
    folder = tmp_path_factory.mktemp("node")
    make_worker(engine, lab, "older", kernel, folder / "host")
    make_repository(engine, lab, "older", kernel, folder / "host/srv/www")
    add_repository(folder / "host", "http://127.0.0.1:8080")
    manifests = rendered(module_sites(clients=[NEWER_CLIENT], kernels=[of_image], warm=False), NEWER_CLIENT)
    log: list[str] = []
    try:
        with (
            built(engine, session, manifests, lab.toolkits["next-line"], log) as image,
            compiling_copy(engine, session, image) as small,
            one_unit_copy(engine, session, small) as quick,
            with_red_hats_modes(engine, session, quick) as copy,
        ):
            node = Node.of(engine, lab.toolkits["older"], kernel, folder / "files", writable=True)
            pods = {"client": Wish("rhel", manifests.daemonset, SECRET)}
            scenario = _SAID_LAST + _SCENARIO.replace("KERNEL", kernel)
            return node.run({"rhel": copy}, pods, scenario, 1200, folder / "host")
    except StepFailedError as error:
        pytest.fail(f"{error}\n" + "\n".join(log[-40:]))


def test_a_worker_that_is_not_entitled_is_told_what_to_do_and_gets_no_module(shown: Shown) -> None:
    assert shown.text("poor-state") == "exited 1"
    message = shown.text("poor-message")
    assert "no module could be built on this node: rebuild-module: error: not-entitled: " in message
    assert "/host/etc/pki/entitlement/1-key.pem, which does not exist" in message
    assert "Register the node with subscription-manager" in message
    assert "rebuild-module: error: not-entitled: " in shown.text("poor-log")
    assert shown.status("poor-module") == 0
    assert shown.lines("poor-files") == ()


def test_an_entitled_worker_gets_a_module_for_its_kernel_and_is_ready_then_and_not_before(
    shown: Shown, lab: Lab
) -> None:
    assert shown.status("building-ready") == 1
    assert "loaded: none" in shown.text("building-ready")
    assert shown.status("ready") == 0, shown.text("start-log")
    assert f"installing kernel-devel-{lab.kernels.older} from the node's repositories" in shown.text("start-log")
    assert shown.text("version") == NEWER_CLIENT


def test_the_module_in_the_kernel_is_the_one_that_was_built_on_the_node(shown: Shown, lab: Lab) -> None:
    modules = {line.split()[0]: line.split()[3].strip(",").split(",") for line in shown.lines("modules")}
    assert "beegfs" in modules["ib_core"]
    assert "beegfs" in modules["rdma_cm"]
    built_here = dict(line.split(":", 1) for line in shown.lines("built") if ":" in line)
    assert built_here["vermagic"].split()[0] == lab.kernels.older
    assert f"version={NEWER_CLIENT}" in shown.lines("loaded")
    assert f"srcversion={built_here['srcversion'].strip()}" in shown.lines("loaded")


def test_a_container_that_comes_after_takes_over_what_was_built_and_builds_nothing(shown: Shown, lab: Lab) -> None:
    # Its root is the image's again, in which nothing is for this kernel.
    assert shown.text("restart-image") == lab.kernels.next_line
    assert shown.status("restart-ready") == 0, shown.text("restart-ready")
    assert "building one" not in shown.text("restart-log")
    assert shown.text("restart-file") == "kept"
