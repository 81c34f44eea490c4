"""The SCCs that every OpenShift cluster has.

The facts of openshift/cluster-kube-apiserver-operator, bindata/bootkube/scc-manifests (files `…_scc-NAME.yaml`), of
openshift/machine-api-operator, install/…_09_security_context_constraint.yaml, and of
openshift/cluster-monitoring-operator, jsonnet/components/node-exporter.libsonnet.
"""

from __future__ import annotations

from typing import Any

_VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
_SOME = ["KILL", "MKNOD", "SETUID", "SETGID"]
# The fields that the younger ones, `-v2`, have in common.
_V2: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "allowedCapabilities": ["NET_BIND_SERVICE"],
    "requiredDropCapabilities": ["ALL"],
    "seccompProfiles": ["runtime/default"],
}
_USER_NAMESPACE = [{"min": 1000, "max": 65534}]


def _scc(
    name: str,
    user: str = "MustRunAsRange",
    selinux: str = "MustRunAs",
    fs_group: str = "MustRunAs",
    groups: str = "RunAsAny",
    **more: Any,
) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "runAsUser": {"type": user},
        "seLinuxContext": {"type": selinux},
        "fsGroup": {"type": fs_group},
        "supplementalGroups": {"type": groups},
        "volumes": list(_VOLUMES),
        "requiredDropCapabilities": _SOME,
        **more,
    }


def _allow(*what: str) -> dict[str, Any]:
    return {f"allow{name}": True for name in what}


STOCK = [
    _scc("restricted"),
    _scc("restricted-v2", **_V2),
    _scc(
        "restricted-v3",
        **_V2
        | {
            "runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 1000, "uidRangeMax": 65534},
            "fsGroup": {"type": "MustRunAs", "ranges": _USER_NAMESPACE},
            "supplementalGroups": {"type": "MustRunAs", "ranges": _USER_NAMESPACE},
            "userNamespaceLevel": "RequirePodLevel",
        },
    ),
    _scc("nonroot", "MustRunAsNonRoot", fs_group="RunAsAny"),
    _scc("nonroot-v2", "MustRunAsNonRoot", fs_group="RunAsAny", **_V2),
    _scc("anyuid", "RunAsAny", fs_group="RunAsAny", priority=10, requiredDropCapabilities=["MKNOD"]),
    _scc("hostnetwork", groups="MustRunAs", **_allow("HostNetwork", "HostPorts")),
    _scc("hostnetwork-v2", groups="MustRunAs", **_V2, **_allow("HostNetwork", "HostPorts")),
    _scc(
        "hostaccess",
        volumes=[*_VOLUMES, "hostPath"],
        **_allow("HostNetwork", "HostPorts", "HostPID", "HostIPC", "HostDirVolumePlugin"),
    ),
    _scc(
        "hostmount-anyuid",
        "RunAsAny",
        fs_group="RunAsAny",
        volumes=[*_VOLUMES, "hostPath", "nfs"],
        requiredDropCapabilities=["MKNOD"],
        **_allow("HostDirVolumePlugin"),
    ),
    _scc(
        "hostmount-anyuid-v2",
        "RunAsAny",
        "RunAsAny",
        "RunAsAny",
        volumes=[*_VOLUMES, "hostPath", "nfs", "image"],
        requiredDropCapabilities=["MKNOD"],
        **_allow("HostDirVolumePlugin"),
    ),
    _scc(
        "machine-api-termination-handler",
        "RunAsAny",
        groups="MustRunAs",
        volumes=["downwardAPI", "hostPath"],
        **_allow("HostNetwork", "HostDirVolumePlugin"),
    ),
    # It states no volumes, fsGroup or supplementalGroups; the API server fills in values that allow all of them.
    _scc(
        "node-exporter",
        "RunAsAny",
        "RunAsAny",
        "RunAsAny",
        volumes=["*"],
        requiredDropCapabilities=[],
        seccompProfiles=["runtime/default"],
        **_allow("HostNetwork", "HostPorts", "HostPID", "HostDirVolumePlugin", "PrivilegedContainer"),
    ),
    _scc(
        "privileged",
        "RunAsAny",
        "RunAsAny",
        "RunAsAny",
        volumes=["*"],
        requiredDropCapabilities=[],
        allowedCapabilities=["*"],
        seccompProfiles=["*"],
        **_allow("HostNetwork", "HostPorts", "HostPID", "HostIPC", "HostDirVolumePlugin", "PrivilegedContainer"),
    ),
]
