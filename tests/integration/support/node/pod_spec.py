"""Translate a DaemonSet as a kubelet and its runtime do: to the OCI config, volumes, probes and hooks of its one pod.

Nothing about the container is stated here a second time. A field that is neither translated nor named in `pod_fields`
as not translated is an error, and so is anything that would keep the pod from starting. Fields that are not translated
have no effect on the node of the tests; tests/unit/test_manifests.py checks their values. A runtime's own defaults
(mounts, masked paths) are CRI-O's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.integration.support.node.pod_fields import known_fields
from tests.integration.support.node.pod_volumes import (
    Folder,
    HostPath,
    Tmpfs,
    UntranslatableError,
    bind,
    mount_of,
    volumes_of,
)

# CRI-O's defaults.
_CAPABILITIES = frozenset(
    "CHOWN DAC_OVERRIDE FSETID FOWNER SETGID SETUID SETPCAP NET_BIND_SERVICE KILL".split()  # noqa: SIM905
)
_MASKED = (
    *("acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"),
    *("/sys/firmware", "/sys/devices/virtual/powercap"),
)
_READ_ONLY = ("asound", "bus", "fs", "irq", "sys", "sysrq-trigger")
# The system calls that the profile RuntimeDefault refuses to a process without the capability.
_GUARDED = {
    "SYS_MODULE": ("init_module", "finit_module", "delete_module"),
    "SYS_ADMIN": ("mount", "umount2", "pivot_root", "setns", "unshare", "move_mount", "open_tree", "fsopen", "bpf"),
    "SYS_BOOT": ("reboot", "kexec_load", "kexec_file_load"),
    "SYS_TIME": ("settimeofday", "clock_settime", "adjtimex"),
    "SYS_PTRACE": ("process_vm_readv", "process_vm_writev"),
}
_VARIABLE = re.compile(r"\$\((\w+)\)")


@dataclass(frozen=True)
class Pod:
    """A pod on a node.

    Attributes:
        config: the runtime's config.json; its paths are the node's.
        init: the same of each init container, in their order.
        volumes: they must be there before the container starts.
        ready: the readiness probe's process, as the runtime's `exec` takes it, if there is one.
        pre_stop: the preStop hook's, if there is one.
        grace: seconds from the hook's start to SIGKILL.
        termination_log: the node's file behind the termination message.
    """

    config: dict[str, Any]
    init: tuple[dict[str, Any], ...]
    volumes: tuple[HostPath | Tmpfs | Folder, ...]
    ready: dict[str, Any] | None
    pre_stop: dict[str, Any] | None
    grace: int
    termination_log: str


@dataclass(frozen=True)
class Root:
    """An image on the node: its configuration as the engine reports it (Entrypoint, Cmd, …), and its root's path."""

    image: Mapping[str, Any]
    path: str


def translate(
    daemonset: Mapping[str, Any],
    root: Root,
    folder: str,
    node: str,
    secrets: Mapping[str, Mapping[str, bytes]],
    init_roots: Sequence[Root] = (),
) -> Pod:
    """Return the pod of a DaemonSet on a node.

    Args:
        daemonset: the object that the cluster would get.
        root: the container's image.
        folder: the pod's own folder on the node.
        node: the node's name.
        secrets: content by name and key.
        init_roots: the init containers' images.

    Raises:
        UntranslatableError: a field is not known here, or a kubelet would refuse it.
    """
    spec = daemonset["spec"]["template"]["spec"]
    known_fields("pod", spec)
    if len(spec["containers"]) != 1:
        raise UntranslatableError("a pod of one container is what is known here")
    sources, volumes = volumes_of(spec.get("volumes", []), folder, secrets)
    log = f"{folder}/termination-log"

    def configured(stated: Mapping[str, Any], root: Root) -> tuple[Mapping[str, Any], dict[str, Any]]:
        known_fields("container", stated)
        # The pod's security context holds for a container that does not state its own.
        security = {**spec.get("securityContext", {}), **stated.get("securityContext", {})}
        container = {**stated, "securityContext": security}
        process = _process(container, root.image, daemonset["metadata"], node)
        mounts = [*_system_mounts(), *(mount_of(wish, sources) for wish in container.get("volumeMounts", []))]
        mounts.append(bind(log, container.get("terminationMessagePath", "/dev/termination-log"), read_only=False))
        return container, {
            "ociVersion": "1.0.0",
            "process": process,
            "root": {"path": root.path, "readonly": bool(_security(container).get("readOnlyRootFilesystem", False))},
            "mounts": mounts,
            "linux": {
                "namespaces": [{"type": kind} for kind in _namespaces(spec)],
                "maskedPaths": [name if name.startswith("/") else f"/proc/{name}" for name in _MASKED],
                "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
                **_seccomp(container, process),
            },
        }

    container, config = configured(spec["containers"][0], root)
    process = config["process"]
    init = [configured(*each)[1] for each in zip(spec.get("initContainers", ()), init_roots, strict=True)]
    hooks = container.get("lifecycle", {})
    known_fields("lifecycle", hooks)
    pre_stop = hooks.get("preStop")
    if "startupProbe" in container:
        # Not run, but refused where it is not one that the readiness probe stands for.
        startup = _command("startupProbe", container["startupProbe"], process)
        if startup != _command("readinessProbe", container.get("readinessProbe"), process):
            raise UntranslatableError("startupProbe: it must ask what the readinessProbe asks")
    return Pod(
        config=config,
        init=tuple(init),
        volumes=volumes,
        ready=_command("readinessProbe", probe, process) if (probe := container.get("readinessProbe")) else None,
        pre_stop=_command("preStop", pre_stop, process) if pre_stop else None,
        grace=int(spec.get("terminationGracePeriodSeconds", 30)),
        termination_log=log,
    )


def _security(container: Mapping[str, Any]) -> Mapping[str, Any]:
    security: Mapping[str, Any] = container.get("securityContext", {})
    known_fields("securityContext", security)
    if security.get("privileged"):
        raise UntranslatableError("a privileged container is not translated")
    return security


def _process(
    container: Mapping[str, Any], image: Mapping[str, Any], metadata: Mapping[str, Any], node: str
) -> dict[str, Any]:
    security = _security(container)
    environment = dict(entry.split("=", 1) for entry in image.get("Env") or [])
    for wish in container.get("env", []):
        known_fields("env", wish)
        environment[wish["name"]] = _value(wish, environment, metadata, node)
    own = container.get("command")
    arguments = container.get("args", [] if own else image.get("Cmd") or [])
    command = [*(own or image.get("Entrypoint") or []), *arguments]
    if not command:
        raise UntranslatableError("neither manifest nor image has a command")
    user = security.get("runAsUser", image.get("User") or 0)
    if not str(user).isdigit():
        raise UntranslatableError(f"the image's user must be a number: {user}")
    if security.get("runAsNonRoot") and int(user) == 0:
        raise UntranslatableError("runAsNonRoot, and the user is root")
    capabilities = sorted(f"CAP_{name}" for name in _capabilities(security))
    return {
        "terminal": False,
        "user": {"uid": int(user), "gid": int(security.get("runAsGroup", 0))},
        "args": [_expanded(word, environment) for word in command],
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": container.get("workingDir") or image.get("WorkingDir") or "/",
        "capabilities": {
            **dict.fromkeys(("bounding", "permitted"), capabilities),
            "effective": capabilities if int(user) == 0 else [],
            "inheritable": [],
            "ambient": [],
        },
        # A kubelet's rule: on unless escalation is forbidden.
        "noNewPrivileges": not security.get("allowPrivilegeEscalation", True),
    }


def _capabilities(security: Mapping[str, Any]) -> frozenset[str]:
    wishes = security.get("capabilities", {})
    known_fields("capabilities", wishes)
    dropped = frozenset(wishes.get("drop", []))
    added = frozenset(wishes.get("add", []))
    if "ALL" in added:
        raise UntranslatableError("all capabilities are not translated")
    kept = frozenset() if "ALL" in dropped else _CAPABILITIES - dropped
    return kept | added


def _value(wish: Mapping[str, Any], environment: Mapping[str, str], metadata: Mapping[str, Any], node: str) -> str:
    if "valueFrom" not in wish:
        return _expanded(str(wish.get("value", "")), environment)
    fields = {
        "spec.nodeName": node,
        "metadata.name": f"{metadata['name']}-x",
        "metadata.namespace": str(metadata.get("namespace", "default")),
    }
    path = wish["valueFrom"].get("fieldRef", {}).get("fieldPath")
    if path not in fields:
        raise UntranslatableError(f"env {wish['name']}: not known here: {wish['valueFrom']}")
    return fields[path]


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: environment.get(match[1], match[0]), text)


def _command(what: str, wish: Mapping[str, Any] | None, process: Mapping[str, Any]) -> dict[str, Any]:
    if not wish or "exec" not in wish:
        raise UntranslatableError(f"{what}: a command is what is known here")
    known_fields("probe", wish)
    known_fields("exec", wish["exec"])
    return {**process, "args": list(wish["exec"]["command"])}


def _namespaces(spec: Mapping[str, Any]) -> list[str]:
    shared = {"network": spec.get("hostNetwork"), "pid": spec.get("hostPID"), "ipc": spec.get("hostIPC")}
    return ["mount", "uts", *(kind for kind, host in shared.items() if not host)]


def _seccomp(container: Mapping[str, Any], process: Mapping[str, Any]) -> dict[str, Any]:
    profile = _security(container).get("seccompProfile", {})
    kind = profile.get("type", "Unconfined")
    if kind == "Unconfined":
        return {}
    if kind != "RuntimeDefault":
        raise UntranslatableError(f"seccompProfile {kind} is not translated")
    known_fields("seccompProfile", profile)
    has = process["capabilities"]["bounding"]
    names = [name for capability, calls in _GUARDED.items() if f"CAP_{capability}" not in has for name in calls]
    refused = [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
    return {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": refused}}


def _system_mounts() -> list[dict[str, Any]]:
    """Return the mounts that a runtime adds for a container that is not privileged."""
    plain = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": plain},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*plain, "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": plain},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*plain, "ro"]},
    ]
