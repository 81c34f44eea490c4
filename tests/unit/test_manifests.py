"""Manifests: what every folder asks of a cluster, by the schemas of the cluster, and byte for byte as committed."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide import manifests
from kmatrix.effects.disk.files import write_atomically
from kmatrix.values.errors import InputError
from tests.unit.support.manifest_maker import (
    DAEMONSETS,
    FOLDERS,
    RELEASES,
    REPOSITORY,
    SEEDS,
    build,
    bundle,
    container,
    daemonset,
    each_daemonset,
    each_folder,
    folders,
    objects,
    rules,
    sources,
)
from tests.unit.support.schemas import CORE, KMM, OPENSHIFT, VERSIONS, core_faults, other_faults

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "manifests"


@each_folder
def test_a_folder_is_what_is_committed(name: str) -> None:
    golden = GOLDEN / name
    if os.environ.get("KMATRIX_UPDATE_GOLDEN"):
        shutil.rmtree(golden, ignore_errors=True)
        for file, text in FOLDERS[name].items():
            write_atomically(golden / file, text)
    assert sorted(FOLDERS[name]) == sorted(path.name for path in golden.iterdir()), "renew with KMATRIX_UPDATE_GOLDEN=1"
    for file, text in FOLDERS[name].items():
        assert text == (golden / file).read_text(), f"{name}/{file}; renew with KMATRIX_UPDATE_GOLDEN=1"


@each_folder
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(name: str, version: str) -> None:
    known = [document for (kind, _), document in objects(FOLDERS[name]).items() if kind in CORE]
    assert len(known) >= 5
    assert [fault for document in known for fault in core_faults(document, version)] == []


@pytest.mark.skipif(not OPENSHIFT.is_file(), reason="KMATRIX_SAMPLES names no folder with schemas/openshift-api.json")
@each_folder
def test_openshift_knows_every_field(name: str) -> None:
    known = [document for (kind, _), document in objects(FOLDERS[name]).items() if kind not in {*CORE, "Module"}]
    assert known
    assert [fault for document in known for fault in other_faults(document)] == []


@pytest.mark.skipif(not KMM.is_file(), reason="KMATRIX_SAMPLES names no folder with schemas/kmm-modules-crd.yaml")
def test_kmm_knows_every_field() -> None:
    assert other_faults(objects(FOLDERS["kmm"])["Module", "beegfs"]) == []


@pytest.mark.parametrize("place", ["spec.template.spec.ports", "spec.template.spec.containers.0.healthProbe"])
def test_the_schemas_refuse_a_field_that_does_not_exist(place: str) -> None:
    document = yaml.safe_load(FOLDERS["prebuilt"]["daemonset.yaml"])
    *path, last = place.split(".")
    where = document
    for part in path:
        where = where[int(part) if part.isdigit() else part]
    where[last] = []
    assert core_faults(document, VERSIONS[0]) != []


@pytest.mark.skipif(not OPENSHIFT.is_file(), reason="KMATRIX_SAMPLES names no folder with schemas/openshift-api.json")
def test_openshifts_schemas_refuse_a_field_that_does_not_exist() -> None:
    document = yaml.safe_load(FOLDERS["in-cluster-build"]["buildconfig.yaml"])
    document["spec"]["strategy"]["dockerStrategy"]["buildArguments"] = []
    assert other_faults(document) != []


@pytest.mark.skipif(not KMM.is_file(), reason="KMATRIX_SAMPLES names no folder with schemas/kmm-modules-crd.yaml")
def test_kmms_schema_refuses_a_field_that_does_not_exist() -> None:
    document = yaml.safe_load(FOLDERS["kmm"]["module.yaml"])
    document["spec"]["moduleLoader"]["container"]["kernelMappings"][0]["image"] = "x"
    assert other_faults(document) != []


@each_folder
def test_every_object_carries_the_products_label(name: str) -> None:
    for document in objects(FOLDERS[name]).values():
        assert document["metadata"]["labels"]["app.kubernetes.io/name"] == "beegfs-client"


@pytest.mark.parametrize("name", ["prebuilt", "kmm"])
def test_every_image_is_named_by_digest_alone(name: str) -> None:
    images = re.findall(r"\S*image: *(\S+)", "\n".join(FOLDERS[name].values()), re.IGNORECASE)
    # That of the bundle is in two files: the DaemonSet, and the statement of its kernels.
    assert len(images) == (2 if name == "prebuilt" else 2 + len(SEEDS))
    for image in images:
        assert re.fullmatch(rf'"{REPOSITORY}@sha256:[0-9a-f]{{64}}"', image)


def test_the_prebuilt_daemonset_runs_the_bundle() -> None:
    assert container(daemonset("prebuilt"))["image"] == bundle().image.pinned


@each_daemonset
def test_one_pod_on_every_node_and_a_daemonset_changes_one_node_at_a_time(folder: str, name: str) -> None:
    spec = daemonset(folder, name)["spec"]
    pod = spec["template"]["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    assert rules(spec)[0] == {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
    assert pod["hostNetwork"] is True
    assert pod["dnsPolicy"] == "Default"
    assert not {"hostPID", "hostIPC"} & set(pod)
    memory = ("256Mi", "2Gi") if name == manifests.RHEL_NAME else ("64Mi", "256Mi")
    resources = {"requests": {"cpu": "10m", "memory": memory[0]}, "limits": {"memory": memory[1]}}
    assert container(daemonset(folder, name))["resources"] == resources
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("speed", [3, "10%"])
def test_every_daemonset_rolls_out_as_fast_as_the_profile_says(speed: int | str) -> None:
    made = folders(speed)
    found = [made_of for name in made for made_of in objects(made[name]).items() if made_of[0][0] == "DaemonSet"]
    assert len(found) == len(DAEMONSETS)
    for _, document in found:
        assert document["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": speed}
        assert [fault for version in VERSIONS for fault in core_faults(document, version)] == []


@pytest.mark.parametrize("way", ["prebuilt", "kmm", "in-cluster-build"])
@pytest.mark.parametrize(("client", "week"), [("7.2.8", True), ("7.4.6", True), ("8.2.2", False), ("9.0.0", False)])
def test_a_helper_daemon_has_a_week_to_outlive_the_mounts(way: str, client: str, week: bool) -> None:
    made = {
        "prebuilt": manifests.prebuilt(sources(), bundle(client), RELEASES),
        "kmm": manifests.kmm(sources(), bundle(client), RELEASES),
        "in-cluster-build": manifests.in_cluster_build(sources(), build(client), rhel_workers=True),
    }
    for (kind, _), document in objects(made[way]).items():
        if kind == "DaemonSet":
            grace = document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            assert grace == (7 * 24 * 3600 if week else 60)


def test_a_bundle_goes_only_to_nodes_of_its_architectures() -> None:
    for folder in ("prebuilt", "kmm"):
        (rule,) = rules(daemonset(folder)["spec"])[1:]
        assert rule == {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}


@each_daemonset
def test_probes_ask_the_entry_point_and_nothing_restarts_the_container(folder: str, name: str) -> None:
    only = container(daemonset(folder, name))
    ready = {"command": ["/usr/local/sbin/beegfs-node", "ready"]}
    assert only["name"] == "client"
    # `ready` may wait for a busy node. Two failures in a row, 20 s: one slow answer makes no pod unready.
    assert only["readinessProbe"] == {"exec": ready, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 2}
    startup = only["startupProbe"]
    # It runs for weeks on a node that waits.
    assert {**startup, "failureThreshold": 0} == {
        "exec": ready,
        "periodSeconds": 10,
        "timeoutSeconds": 10,
        "failureThreshold": 0,
    }
    assert "livenessProbe" not in only
    # A startup probe that gives up restarts the container, and with it a helperd that serves live mounts.
    assert startup["failureThreshold"] * startup["periodSeconds"] >= 365 * 24 * 3600
    assert only["terminationMessagePolicy"] == "FallbackToLogsOnError"


@each_daemonset
def test_the_container_asks_for_what_its_scc_allows_and_no_more(folder: str, name: str) -> None:
    known = objects(FOLDERS[folder])
    template = daemonset(folder, name)["spec"]["template"]
    pod, context = template["spec"], container(daemonset(folder, name))["securityContext"]
    scc = known["SecurityContextConstraints", template["metadata"]["annotations"]["openshift.io/required-scc"]]
    role = known["Role", name]
    assert role["rules"] == [
        {
            "apiGroups": ["security.openshift.io"],
            "resources": ["securitycontextconstraints"],
            "resourceNames": [scc["metadata"]["name"]],
            "verbs": ["use"],
        }
    ]
    binding = known["RoleBinding", name]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == [pod["serviceAccountName"]]
    assert ("ServiceAccount", pod["serviceAccountName"]) in known
    assert pod["automountServiceAccountToken"] is False
    rebuild = name == manifests.RHEL_NAME
    wanted = {"kmm": [], "in-cluster-build-rhel-workers": ["SYS_MODULE", "DAC_OVERRIDE"] if rebuild else ["SYS_MODULE"]}
    assert context["capabilities"].get("add", []) == scc["allowedCapabilities"] == wanted.get(folder, ["SYS_MODULE"])
    # The pod says it, the SCC demands none of it: test_scc.py tells why.
    assert context["capabilities"]["drop"] == ["ALL"]
    assert context["privileged"] is scc["allowPrivilegedContainer"] is False
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is not rebuild
    assert (context["runAsUser"], context["runAsNonRoot"]) == (0, False)
    assert context["seLinuxOptions"] == pod["securityContext"]["seLinuxOptions"] == {"type": "spc_t", "level": "s0"}
    assert context["seccompProfile"] == pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert scc["allowHostNetwork"] is scc["allowHostDirVolumePlugin"] is True
    assert not any(scc[key] for key in ("allowHostPID", "allowHostIPC", "users", "groups"))
    used = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
    assert used == set(scc["volumes"])


@each_daemonset
def test_mounts_are_the_ones_the_entry_point_knows(folder: str, name: str) -> None:
    pod = daemonset(folder, name)["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {
        mount["mountPath"]: (volumes.pop(mount["name"]), mount.get("readOnly", False))
        for mount in container(daemonset(folder, name))["volumeMounts"]
    }
    assert volumes == {}, "volumes that no container mounts"
    host = {path: (volume["hostPath"]["path"], only) for path, (volume, only) in mounts.items() if "hostPath" in volume}
    # The driver's own folder: file systems are mounted beside it, which a pod that has the folder above would keep.
    client = "/var/lib/kubelet/plugins/beegfs.csi.netapp.com/client"
    wanted = {
        "/lib/modules": ("/lib/modules", True),
        "/host/client": (client, False),
        "/host/proc": ("/proc", True),
    }
    if folder != "kmm":
        wanted["/host/sys/kernel/security"] = ("/sys/kernel/security", True)
    if name == manifests.RHEL_NAME:
        wanted["/host/etc/os-release"] = ("/etc/os-release", True)
        for path in ("/etc/pki/entitlement", "/etc/pki/rpm-gpg", "/etc/rhsm", "/etc/yum.repos.d"):
            wanted[f"/host{path}"] = (path, True)
    assert host == wanted
    # A folder that a node lacks must not be made there, but for the plugin directory.
    kinds = {v["hostPath"]["path"]: v["hostPath"]["type"] for v, _ in mounts.values() if "hostPath" in v}
    assert kinds.pop(client) == "DirectoryOrCreate"
    assert set(kinds.values()) <= {"Directory", "File"}
    assert mounts["/run/beegfs-node"][0]["emptyDir"]["medium"] == "Memory"
    secret, read_only = mounts["/etc/beegfs-node/auth"]
    assert read_only is True
    # Root's alone: the mode of a shared secret.
    assert secret["secret"] == {
        "secretName": "beegfs-client-auth",
        "optional": True,
        "defaultMode": 0o400,
        "items": [{"key": "conn.auth", "path": "conn.auth"}],
    }


@each_daemonset
def test_settings_say_who_loads_and_nothing_unloads_when_a_pod_stops(folder: str, name: str) -> None:
    only = container(daemonset(folder, name))
    environment = {entry["name"]: entry.get("value") for entry in only["env"]}
    wanted = {"NODE_NAME": None, "BEEGFS_LOAD": "self", "BEEGFS_HELPERD_AUTH": "secret"}
    if folder == "kmm":
        wanted["BEEGFS_LOAD"] = "external"
    if name == manifests.RHEL_NAME:
        wanted["BEEGFS_REBUILD"] = "yes"
    assert environment == wanted
    # The next image may not come.
    assert "lifecycle" not in only


def test_pod_security_lets_the_pods_in() -> None:
    labels = objects(FOLDERS["prebuilt"])["Namespace", "beegfs-client"]["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "privileged"
    assert labels["security.openshift.io/scc.podSecurityLabelSync"] == "false"


def test_the_buildconfig_inlines_its_files_and_is_made_of_the_clusters_toolkit() -> None:
    known = objects(FOLDERS["in-cluster-build"])
    spec = known["BuildConfig", build().name]["spec"]
    assert spec["source"]["dockerfile"] == build().dockerfile
    assert spec["source"]["type"] == "Dockerfile"
    assert spec["source"]["configMaps"] == [{"configMap": {"name": build().name}, "destinationDir": "."}]
    assert known["ConfigMap", build().name]["data"] == build().files
    # Beside `resources`, not in `source` (openshift/api build/v1/types.go, CommonSpec). What the build fetches comes by
    # way of the cluster's proxy, or from a mirror whose certificate the cluster trusts.
    assert spec["mountTrustedCA"] is True
    # Of toolkits that come while a build runs, only the last is built for.
    assert spec["runPolicy"] == "SerialLatestOnly"
    strategy = spec["strategy"]["dockerStrategy"]
    toolkit = {"kind": "ImageStreamTag", "name": "driver-toolkit:latest", "namespace": "openshift"}
    assert strategy["from"] == toolkit
    assert {entry["name"]: entry["value"] for entry in strategy["buildArgs"]} == build().arguments
    assert spec["triggers"] == [{"type": "ConfigChange"}, {"type": "ImageChange", "imageChange": {}}]


@each_daemonset
def test_a_finished_build_rolls_its_own_daemonset_alone(folder: str, name: str) -> None:
    annotations = daemonset(folder, name)["metadata"].get("annotations", {})
    if not folder.startswith("in-cluster"):
        assert annotations == {}
        return
    (trigger,) = json.loads(annotations["image.openshift.io/triggers"])
    output = objects(FOLDERS[folder])["BuildConfig", build().name]["spec"]["output"]["to"]
    assert trigger["from"] == output == {"kind": "ImageStreamTag", "name": build().tag}
    assert trigger["fieldPath"] == 'spec.template.spec.containers[?(@.name=="client")].image'
    assert container(daemonset(folder, name))["image"].endswith(f"/beegfs-client/{build().tag}")


def test_another_version_or_another_file_is_another_build() -> None:
    names = {build().name, build("8.3.1").name, build(script="true\n").name, build(other="true\n").name}
    assert len(names) == 4
    assert build("8.3.1").name.startswith("beegfs-client-8.3.1-")
    assert build().tag == f"beegfs-client:{build().name.removeprefix('beegfs-client-')}"


def test_only_rhel_nodes_lend_what_a_compile_needs() -> None:
    def systems(name: str) -> list[dict[str, Any]]:
        return rules(daemonset("in-cluster-build-rhel-workers", name)["spec"])[1:]

    system = "node.openshift.io/os_id"
    assert systems(manifests.NAME) == [{"key": system, "operator": "NotIn", "values": ["rhel"]}]
    assert systems(manifests.RHEL_NAME) == [{"key": system, "operator": "In", "values": ["rhel"]}]
    rhel = container(daemonset("in-cluster-build-rhel-workers", manifests.RHEL_NAME))
    assert {"name": "BEEGFS_REBUILD", "value": "yes"} in rhel["env"]
    other = container(daemonset("in-cluster-build-rhel-workers"))
    assert "BEEGFS_REBUILD" not in {entry["name"] for entry in other["env"]}
    rhels_alone = {mount["mountPath"] for mount in rhel["volumeMounts"]} - {
        mount["mountPath"] for mount in other["volumeMounts"]
    }
    lent = ("os-release", "pki/entitlement", "pki/rpm-gpg", "rhsm", "yum.repos.d")
    assert rhels_alone == {f"/host/etc/{name}" for name in lent}
    assert (
        daemonset("in-cluster-build-rhel-workers")["spec"]["selector"]
        != (daemonset("in-cluster-build-rhel-workers", manifests.RHEL_NAME)["spec"]["selector"])
    )


@pytest.mark.parametrize(
    "text", ["", "\n", "no line break", "two line breaks\n\n", "a bell \a\n", "a carriage return\r\n"]
)
def test_a_file_that_a_manifest_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot be in a manifest"):
        manifests.in_cluster_build(sources(), build(script=text), rhel_workers=False)


@pytest.mark.parametrize("text", ["  blanks first\n", "\n\nempty first\n", "\ttab\nblank at the end \n", "é: ü\n"])
def test_every_other_file_arrives_unchanged(text: str) -> None:
    made = manifests.in_cluster_build(sources(), build(script=text), rhel_workers=False)
    assert yaml.safe_load(made["files.yaml"])["data"]["script"] == text


def test_a_source_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"deploy/base/daemonset\.yaml\.j2 is missing"):
        manifests.prebuilt({k: v for k, v in sources().items() if "daemonset" not in k}, bundle(), RELEASES)


def test_a_template_cannot_use_a_value_that_does_not_exist() -> None:
    broken = {**sources(), "base/daemonset.yaml.j2": "{{ clinet }}"}
    with pytest.raises(InputError, match=r"daemonset\.yaml\.j2: 'clinet' is undefined"):
        manifests.prebuilt(broken, bundle(), RELEASES)
