"""The worker pods of Kernel Module Management (KMM), as its editions create them for a node.

Source: internal/pod/workerpodmanager.go (baseWorkerPod, addCopyCommand, setWorkerSecurityContext) and
internal/worker/worker.go (LoadKmod, UnloadKmod), of rh-ecosystem-edge/kernel-module-management, which is OpenShift's,
and of kubernetes-sigs/kernel-module-management. The worker's program is KMM's own and is not here; it runs modprobe
with these words. The volume with that program's configuration is left out.
"""

from __future__ import annotations

from typing import Any

from tests.integration.support.node.client_node import BARE
from tests.integration.support.node.virtual_node import Wish

# Where each edition mounts the node's module tree, and nothing else of the node: the node's path by the worker's.
# OpenShift's has mounted the second of two names for one folder too, in some of its versions.
OPENSHIFT = {"/lib/modules": "/lib/modules"}
OPENSHIFT_WITH_USR = {"/lib/modules": "/lib/modules", "/usr/lib/modules": "/usr/lib/modules"}
KUBERNETES_SIGS = {"/lib/modules": "/lib/modules", "/host/lib/modules": "/lib/modules"}
_SHARED = "/tmp"


def worker(image: str, kernel: str, action: str, tree: dict[str, str]) -> Wish:
    """Return a worker pod.

    Args:
        image: the image of the Module's mapping (a name of the node's images).
        kernel: the node's kernel release.
        action: `load` or `unload`.
        tree: one of the editions above.
    """
    folder = f"{_SHARED}/opt/lib/modules"
    copy = f"mkdir -p {folder};\ncp -R /opt/lib/modules/{kernel} {folder};\n"
    words = {"load": "-vd", "unload": "-rvd"}[action]
    volumes: list[dict[str, Any]] = [
        {"name": f"node-{number}", "hostPath": {"path": path, "type": "Directory"}}
        for number, path in enumerate(tree.values())
    ]
    mounts = [{"name": f"node-{number}", "mountPath": path, "readOnly": True} for number, path in enumerate(tree)]
    shared = {"name": "tmp", "mountPath": _SHARED}
    pod = {
        "restartPolicy": "OnFailure",
        "tolerations": [{"operator": "Exists"}],
        "serviceAccountName": "beegfs-client-loader",
        "initContainers": [
            {
                "name": "image-extractor",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c"],
                "args": [copy],
                "volumeMounts": [shared],
            }
        ],
        "containers": [
            {
                "name": "worker",
                "image": BARE,
                "command": ["modprobe", words, f"{_SHARED}/opt", "beegfs"],
                "volumeMounts": [*mounts, {**shared, "readOnly": True}],
                "securityContext": {
                    "capabilities": {"add": ["SYS_MODULE"]},
                    "runAsUser": 0,
                    "seLinuxOptions": {"type": "spc_t"},
                },
            }
        ],
        "volumes": [*volumes, {"name": "tmp", "emptyDir": {}}],
    }
    metadata = {"name": "kmm-worker-node-1-beegfs", "namespace": "beegfs-client"}
    return Wish(BARE, {"metadata": metadata, "spec": {"template": {"spec": pod}}}, init_images=(image,))
