"""The CSI driver mounts BeeGFS below its plugin directory, beside the client's folder: no pod keeps such a mount.

Source: the driver's controller is started with --cs-data-dir=/var/lib/kubelet/plugins/beegfs.csi.netapp.com (NetApp's
beegfs-csi-driver, deploy/k8s/bases/csi-beegfs-controller.yaml) and mounts a volume there while it makes or deletes it
(pkg/beegfs/controllerserver.go). CRI-O binds a hostPath volume `rbind`, `rprivate` (server/container_create_linux.go).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.support.node.client_node import NEW, OLD, ClientNode
from tests.integration.support.node.virtual_node import CLIENT, PLUGIN, Shown
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT

_VOLUME = f"{PLUGIN}/0123456789abcdef/mount"
_MOUNTS = f"""
mkdir -p {_VOLUME}
pod_start NAME
section NAME-first await_ready NAME
mount_client {_VOLUME}
pod_kill NAME
# The container that comes after finds the mount there.
container_start NAME
section NAME-ready await_ready NAME
umount {_VOLUME}
section NAME-mounts pod_exec NAME grep -c ' beegfs ' /proc/self/mounts
section NAME-unload pod_exec NAME beegfs-node unload
section NAME-module module_gone
pod_stop NAME
"""
# The same with a pod that has the whole plugin directory.
_PINNED = f"""
pod_start PIN-NAME
await_ready PIN-NAME
mount_client {_VOLUME}
pod_kill PIN-NAME
container_start PIN-NAME
section NAME-pin-ready await_ready PIN-NAME
umount {_VOLUME}
section NAME-pin-unload pod_exec PIN-NAME beegfs-node unload
section NAME-pin-info pod_exec PIN-NAME beegfs-node info
pod_stop PIN-NAME
section NAME-pin-end module_values
pod_start NAME
await_ready NAME
section NAME-pin-after pod_exec NAME beegfs-node unload
pod_stop NAME NAME-after
"""


# A kubelet in a mount namespace of its own, as kubens.service has it: process 1 does not see the mounts of pods.
_KUBENS = """
mkdir -p /kubens
{
  echo '#!/.node/busybox sh'
  echo 'mount -t beegfs -o cfgFile=/kubens/client.conf beegfs_nodev /mnt; : >/kubens/mounted; read -r _ </kubens/end'
} >/kubens/kubelet
chmod +x /kubens/kubelet
mkfifo /kubens/end
pod_start old
section kubens-ready await_ready old
client_config /kubens/client.conf
unshare -m /kubens/kubelet &
within 30 test -e /kubens/mounted
section kubens-host grep -c ' beegfs ' /proc/1/mounts
section kubens-unload pod_exec old beegfs-node unload
pod_stop old kubens &
section kubens-stays within 30 pod_logged old 'stays for the mounts, as the module is in use: mounts on the host: /mnt'
section kubens-daemon helper_daemon
echo >/kubens/end
section kubens-ended within 30 pod_stopped old
"""


def with_the_plugin_directory(pod: dict[str, Any]) -> None:
    """The folder above the client's, as an earlier edition of the manifests mounted it."""
    pod["volumes"].append({"name": "plugin", "hostPath": {"path": PLUGIN, "type": "DirectoryOrCreate"}})
    pod["containers"][0]["volumeMounts"].append({"name": "plugin", "mountPath": "/host/plugin"})


@pytest.fixture(scope="module")
def mounts(client_node: ClientNode) -> Shown:
    """The output of mounts below the plugin directory, beside pods of both majors."""
    pods = {name: client_node.wish(name, *changes) for name, changes in ((NEW, ()), (OLD, ()))} | {
        f"pin-{name}": client_node.wish(name, with_the_plugin_directory) for name in (NEW, OLD)
    }
    scenario = "".join(
        (_MOUNTS + _PINNED).replace("PIN-NAME", f"pin-{name}").replace("NAME", name) for name in (NEW, OLD)
    )
    return client_node.run(pods, scenario + _KUBENS)


@pytest.mark.parametrize("name", [NEW, OLD])
def test_a_mount_below_the_plugin_directory_is_not_kept_by_the_pod(mounts: Shown, name: str) -> None:
    assert mounts.status(f"{name}-first") == 0, mounts.text(f"{name}-first")
    assert mounts.status(f"{name}-ready") == 0, mounts.text(f"{name}-ready")
    assert mounts.text(f"{name}-mounts") == "0"
    assert mounts.status(f"{name}-unload") == 0, mounts.text(f"{name}-unload")
    assert mounts.status(f"{name}-module") == 0
    assert mounts.text(f"stop-{name}") == "ended"


@pytest.mark.parametrize("name", [NEW, OLD])
def test_a_mount_that_only_the_pod_still_has_is_named_and_does_not_keep_the_pod(mounts: Shown, name: str) -> None:
    assert mounts.status(f"{name}-pin-ready") == 0
    assert mounts.status(f"{name}-pin-unload") == 3, "the pod has it"
    assert "this container still has" in mounts.text(f"{name}-pin-unload")
    assert "/host/plugin/0123456789abcdef/mount" in mounts.text(f"{name}-pin-info")
    # The helper daemon of 7.x would wait a week for mounts that end only with its own pod.
    assert mounts.text(f"stop-pin-{name}") == "ended"
    version = {NEW: NEWER_CLIENT, OLD: OLDER_CLIENT}[name]
    assert f"version={version}" in mounts.lines(f"{name}-pin-end")
    assert "refcnt=0" in mounts.lines(f"{name}-pin-end")
    assert mounts.status(f"{name}-pin-after") == 0


def test_mounts_in_the_namespace_of_a_kubelet_of_its_own_are_named_and_keep_the_helper_daemon(mounts: Shown) -> None:
    assert mounts.status("kubens-ready") == 0, mounts.text("kubens-ready")
    assert mounts.text("kubens-host") == "0"
    assert mounts.status("kubens-unload") == 3
    assert "mounts on the host: /mnt" in mounts.text("kubens-unload")
    assert mounts.status("kubens-stays") == 0
    assert OLDER_CLIENT in mounts.text("kubens-daemon")
    assert mounts.status("kubens-ended") == 0
    assert mounts.text("stop-kubens") == "ended"


def test_the_folder_of_the_client_is_all_that_a_pod_has_of_the_plugin_directory(client_node: ClientNode) -> None:
    for way in ("prebuilt", "kmm"):
        pod = client_node.wish(NEW, way=way).daemonset["spec"]["template"]["spec"]
        paths = [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume]
        assert [path for path in paths if f"{CLIENT}/".startswith(f"{path}/") or path.startswith(PLUGIN)] == [CLIENT]
