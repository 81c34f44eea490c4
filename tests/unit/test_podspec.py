"""The node tests' translation of a manifest: a kubelet's rules for commands, capabilities and volumes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.integration.support.node.pod_spec import Pod, Root, translate
from tests.integration.support.node.pod_volumes import Folder, HostPath, Tmpfs, UntranslatableError

IMAGE = {"Entrypoint": ["/bin/serve"], "Cmd": ["all"], "Env": ["PATH=/bin", "A=image"], "User": "", "WorkingDir": ""}
CONTAINER: dict[str, Any] = {
    "name": "client",
    "image": "registry.test/client@sha256:0",
    "readinessProbe": {"exec": {"command": ["ready"]}},
}


def daemonset(container: dict[str, Any] | None = None, **pod: Any) -> dict[str, Any]:
    spec = {"containers": [{**copy.deepcopy(CONTAINER), **(container or {})}], **pod}
    return {"metadata": {"name": "client", "namespace": "space"}, "spec": {"template": {"spec": spec}}}


def pod_of(
    container: dict[str, Any] | None = None, secrets: dict[str, dict[str, bytes]] | None = None, **pod: Any
) -> Pod:
    return translate(
        daemonset(container, **pod), Root(IMAGE, "/images/client"), "/pods/client", "node-1", secrets or {}
    )


def process(container: dict[str, Any] | None = None, **pod: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod_of(container, **pod).config["process"]
    return found


@pytest.mark.parametrize(
    ("stated", "arguments"),
    [
        ({}, ["/bin/serve", "all"]),
        ({"args": ["one"]}, ["/bin/serve", "one"]),
        ({"command": ["other"]}, ["other"]),
        ({"command": ["other"], "args": ["$(A)", "$(B)"]}, ["other", "image", "$(B)"]),
    ],
)
def test_command_and_args_replace_entrypoint_and_cmd_as_a_kubelet_does(
    stated: dict[str, Any], arguments: list[str]
) -> None:
    assert process(stated)["args"] == arguments


def test_the_environment_is_the_images_and_the_manifests_on_top() -> None:
    wishes = [
        {"name": "A", "value": "manifest"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ]
    assert process({"env": wishes})["env"] == ["PATH=/bin", "A=manifest", "NODE=node-1", "SPACE=space"]


@pytest.mark.parametrize(
    ("wishes", "has"),
    [
        ({"drop": ["ALL"], "add": ["SYS_MODULE"]}, ["CAP_SYS_MODULE"]),
        ({"drop": ["ALL"]}, []),
        (
            {"drop": ["KILL", "CHOWN", "FOWNER", "SETUID", "SETGID", "SETPCAP"]},
            ["CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_NET_BIND_SERVICE"],
        ),
    ],
)
def test_capabilities_are_the_runtimes_own_less_dropped_plus_added(wishes: dict[str, Any], has: list[str]) -> None:
    found = process({"securityContext": {"capabilities": wishes}})["capabilities"]
    assert found == {"bounding": has, "permitted": has, "effective": has, "inheritable": [], "ambient": []}


def test_a_user_that_is_not_root_has_no_effective_capabilities() -> None:
    found = process({"securityContext": {"runAsUser": 7}})
    assert found["user"] == {"uid": 7, "gid": 0}
    assert found["capabilities"]["effective"] == []


def test_escalation_is_possible_unless_it_is_forbidden() -> None:
    assert not process()["noNewPrivileges"]
    assert process({"securityContext": {"allowPrivilegeEscalation": False}})["noNewPrivileges"]


def test_the_root_is_read_only_if_the_manifest_says_so() -> None:
    assert pod_of().config["root"] == {"path": "/images/client", "readonly": False}
    assert pod_of({"securityContext": {"readOnlyRootFilesystem": True}}).config["root"]["readonly"]


def test_namespaces_are_the_pods_own_unless_it_asks_for_the_hosts() -> None:
    def kinds(**pod: Any) -> set[str]:
        return {entry["type"] for entry in pod_of(**pod).config["linux"]["namespaces"]}

    assert kinds() == {"mount", "uts", "network", "pid", "ipc"}
    assert kinds(hostNetwork=True) == {"mount", "uts", "pid", "ipc"}
    assert kinds(hostNetwork=True, hostPID=True, hostIPC=True) == {"mount", "uts"}


def test_the_runtimes_seccomp_profile_refuses_what_a_missing_capability_guards() -> None:
    def refused(security: dict[str, Any], **pod: Any) -> set[str]:
        linux = pod_of({"securityContext": security}, **pod).config["linux"]
        return {name for rule in linux.get("seccomp", {}).get("syscalls", ()) for name in rule["names"]}

    profile = {"seccompProfile": {"type": "RuntimeDefault"}}
    assert refused({}) == set()
    assert {"finit_module", "mount"} <= refused(profile)
    assert {"finit_module", "mount"} <= refused({}, securityContext=profile)
    able = refused({**profile, "capabilities": {"add": ["SYS_MODULE"]}})
    assert "finit_module" not in able
    assert "mount" in able


def test_volumes_are_made_on_the_node_and_bound_into_the_container() -> None:
    mounts = [
        {"name": "host", "mountPath": "/host/plugin"},
        {"name": "ro", "mountPath": "/host/lib", "readOnly": True, "mountPropagation": "HostToContainer"},
        {"name": "memory", "mountPath": "/run/x"},
        {"name": "auth", "mountPath": "/auth", "readOnly": True},
    ]
    volumes = [
        {"name": "host", "hostPath": {"path": "/var/plugin", "type": "DirectoryOrCreate"}},
        {"name": "ro", "hostPath": {"path": "/lib/modules"}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}},
        {"name": "auth", "secret": {"secretName": "s", "defaultMode": 0o400, "items": [{"key": "k", "path": "p"}]}},
    ]
    pod = pod_of({"volumeMounts": mounts}, {"s": {"k": b"1", "other": b"2"}}, volumes=volumes)
    assert pod.volumes == (
        HostPath("/var/plugin", "DirectoryOrCreate"),
        HostPath("/lib/modules", ""),
        Tmpfs("/pods/client/volumes/memory", 2 * 2**20),
        Folder("/pods/client/volumes/auth", {"p": b"1"}, 0o400),
    )
    bound = {mount["destination"]: mount for mount in pod.config["mounts"] if mount["type"] == "bind"}
    assert {path: (mount["source"], mount["options"]) for path, mount in bound.items()} == {
        "/host/plugin": ("/var/plugin", ["rbind", "rprivate", "rw"]),
        "/host/lib": ("/lib/modules", ["rbind", "rslave", "ro"]),
        "/run/x": ("/pods/client/volumes/memory", ["rbind", "rprivate", "rw"]),
        "/auth": ("/pods/client/volumes/auth", ["rbind", "rprivate", "ro"]),
        "/dev/termination-log": ("/pods/client/termination-log", ["rbind", "rprivate", "rw"]),
    }


def test_a_secret_that_is_not_there_keeps_the_pod_from_starting_unless_it_is_optional() -> None:
    wanted = {"name": "auth", "secret": {"secretName": "s"}}
    with pytest.raises(UntranslatableError, match="no Secret s"):
        pod_of(volumes=[wanted])
    pod = pod_of(volumes=[{"name": "auth", "secret": {"secretName": "s", "optional": True}}])
    assert pod.volumes == (Folder("/pods/client/volumes/auth", {}, 0o644),)


def test_probes_and_hooks_run_with_what_the_container_itself_has() -> None:
    hook = {"preStop": {"exec": {"command": ["unload"]}}}
    pod = pod_of({"lifecycle": hook, "securityContext": {"capabilities": {"drop": ["ALL"]}}})
    own = pod.config["process"]
    assert pod.ready == {**own, "args": ["ready"]}
    assert pod.pre_stop == {**own, "args": ["unload"]}


@pytest.mark.parametrize(
    ("container", "pod", "named"),
    [
        ({"livenessProbe": {}}, {}, "livenessProbe"),
        ({"stdin": True}, {}, "stdin"),
        ({"securityContext": {"procMount": "Unmasked"}}, {}, "procMount"),
        ({"securityContext": {"privileged": True}}, {}, "privileged"),
        ({"securityContext": {"runAsNonRoot": True}}, {}, "runAsNonRoot"),
        ({"securityContext": {"seccompProfile": {"type": "Localhost"}}}, {}, "Localhost"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault", "x": 1}}}, {}, "seccompProfile: .* x"),
        ({"securityContext": {"capabilities": {"ambient": ["KILL"]}}}, {}, "ambient"),
        ({"env": [{"name": "A", "from": "B"}]}, {}, "env: .* from"),
        ({"readinessProbe": {"tcpSocket": {"port": 1}}}, {}, "readinessProbe"),
        ({"readinessProbe": {"exec": {"command": ["ready"]}, "grace": 1}}, {}, "probe: .* grace"),
        ({"readinessProbe": {"exec": {"command": ["ready"], "shell": True}}}, {}, "exec: .* shell"),
        ({"startupProbe": {"exec": {"command": ["other"]}}}, {}, "startupProbe"),
        ({"lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}, {}, "postStart"),
        ({}, {"ephemeralContainers": []}, "ephemeralContainers"),
        ({}, {"shareProcessNamespace": True}, "shareProcessNamespace"),
        ({}, {"volumes": [{"name": "x", "nfs": {}}]}, "volume x"),
        ({}, {"volumes": [{"name": "x", "hostPath": {"path": "/", "recursive": True}}]}, "hostPath: .* recursive"),
        ({}, {"volumes": [{"name": "x", "emptyDir": {"mode": 1}}]}, "emptyDir: .* mode"),
        ({}, {"volumes": [{"name": "x", "secret": {"secretName": "s", "uid": 1}}]}, "secret: .* uid"),
    ],
)
def test_what_is_not_known_is_an_error(container: dict[str, Any], pod: dict[str, Any], named: str) -> None:
    with pytest.raises(UntranslatableError, match=named):
        pod_of(container, **pod)


def test_what_is_not_translated_may_be_there_and_changes_nothing() -> None:
    probe = {"exec": {"command": ["ready"]}, "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 3}
    security = {"seLinuxOptions": {"type": "spc_t"}}
    container = {"readinessProbe": probe, "startupProbe": probe, "resources": {}, "securityContext": security}
    assert pod_of(container, dnsPolicy="Default", tolerations=[]) == pod_of()
