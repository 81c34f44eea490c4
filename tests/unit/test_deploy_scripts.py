"""The scripts of deploy/, against an `oc` that plays a cluster: they touch what they must, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifestmaker import build, folders, objects

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KEPT = (
    "beegfs-node: kept the loaded module (version 8.2.2), it is in use: mounts on the host: /mnt. "
    "Not ready: this image brings 8.3.1. "
)
DRAIN = KEPT + "Drain the node, or end the pods that use it"
STAYS = "beegfs-node: told to end; the helper daemon stays for the mounts on the host: /mnt"
SERVED = """beegfs-node: node n1: loaded version 8.3.1, srcversion 0123
beegfs-node: node n1: module is loaded: version 8.3.1, srcversion 0123
beegfs-node: node n1: serving client 8.3.1"""
DIGEST = f"image-registry.openshift-image-registry.svc:5000/beegfs-client/beegfs-client@sha256:{'d' * 64}"

# Reads and writes the cluster, a JSON file: every call is kept, and the cluster goes on a step with some of them.
OC = """
import json, os, sys
path = os.environ["CLUSTER"]
cluster = json.load(open(path))
words = sys.argv[1:]
if words[:1] == ["-n"]:
    assert words[1] == "beegfs-client"
    words = words[2:]
said, status = [], 0
pods = cluster.get("pods", [])
def option(name):
    return words[words.index(name) + 1] if name in words else ""
match words[:2]:
    case ["kustomize", folder]:
        said = [open(folder + "/all.yaml").read()]
    case ["apply", _]:
        cluster["applied"].append([option("-l"), sys.stdin.read()])
    case ["get", "imagestreamtags"]:
        cluster["asked"] = words[2]
        if not cluster["phases"]:
            said = [cluster["image"]]
    case ["get", "builds"]:
        phase = cluster["phases"][0]
        cluster["phases"] = cluster["phases"][1:] if not phase.startswith("Failed") else cluster["phases"]
        said = ["Complete", phase] if phase else []
    case ["get", "buildconfigs"]:
        said = ["buildconfig.build.openshift.io/" + name for name in cluster["buildconfigs"]]
    case ["get", "daemonsets"]:
        said = cluster["daemonsets"]
        status = 0 if cluster["answers"] else 1
    case ["rollout", "status"]:
        if any(pod["ending"] or not pod["ready"] for pod in pods):
            status = 1
        elif cluster["next"]:
            name = cluster["next"].pop(0)
            [pod] = [pod for pod in pods if pod["node"] == name]
            pod.update(cluster["blocked"][name])
            status = 1
    case ["get", "pods"]:
        node = option("--field-selector").removeprefix("spec.nodeName=")
        for pod in pods:
            if node in (pod["node"], "metadata.namespace=beegfs-client"):
                ready = str(pod["ready"]).lower()
                said.append("|".join(["pod-" + pod["node"], pod["node"], pod["ending"], ready]))
                if pod["node"] in cluster["drained"] and not cluster["stuck"]:
                    pod.update(ending="", ready=True)
    case ["logs", name]:
        said = [pod["log"] for pod in pods if "pod-" + pod["node"] == name]
    case ["get", "node"]:
        said = ["true"] if words[2] in cluster["cordoned"] else []
    case ["adm", action]:
        cluster[{"drain": "drained", "uncordon": "uncordoned"}[action]].append(words[2])
    case _:
        sys.exit("no such call: " + " ".join(words))
print("\\n".join(said))
json.dump(cluster, open(path, "w"))
sys.exit(status)
"""


class Cluster:
    """What the scripts see, and what they did to it."""

    def __init__(self, folder: Path, **state: Any) -> None:
        self.file = folder / "cluster.json"
        self.file.write_text(json.dumps(state))
        self.programs = folder / "programs"
        self.programs.mkdir()
        (self.programs / "oc.py").write_text(OC)
        program(self.programs / "oc", f'exec {sys.executable} -I -S "{self.programs}/oc.py" "$@"')
        program(self.programs / "sleep", "exit 0")

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}", "CLUSTER": str(self.file)}
        command = [str(DEPLOY / script), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def __getitem__(self, key: str) -> Any:
        return json.loads(self.file.read_text())[key]


def program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/bash\n{line}\n")
    path.chmod(0o755)


def nodes(tmp_path: Path, blocked: dict[str, dict[str, Any]], **state: Any) -> Cluster:
    """A cluster of three nodes with Ready pods, whose roll-out makes of some pods what is said."""
    pods = [{"node": name, "ending": "", "ready": True, "log": DRAIN + STAYS} for name in ("n1", "n2", "n3")]
    known = {"pods": pods, "blocked": blocked, "next": list(blocked), "stuck": False}
    known.update(daemonsets=["daemonset.apps/beegfs-client"], answers=True)
    return Cluster(tmp_path, **{**known, "drained": [], "uncordoned": [], "cordoned": [], **state})


KEPT_POD = {"ready": False, "log": DRAIN}
ENDING_POD = {"ready": True, "ending": "2026-11-23T12:00:00Z", "log": STAYS}


def test_nodes_that_wait_for_mounts_are_drained_one_by_one_and_no_other(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, {"n2": KEPT_POD, "n3": ENDING_POD})
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 0, done.stderr
    assert cluster["drained"] == ["n2", "n3"]
    assert cluster["uncordoned"] == ["n2", "n3"]


@pytest.mark.parametrize(
    ("state", "says"),
    [({"answers": False, "daemonsets": []}, "cannot be asked"), ({"daemonsets": []}, "no DaemonSet")],
)
def test_without_a_cluster_that_answers_or_a_daemonset_nothing_is_rolled_out(
    tmp_path: Path, state: dict[str, Any], says: str
) -> None:
    cluster = nodes(tmp_path, {"n1": KEPT_POD}, **state)
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert says in done.stderr
    assert cluster["drained"] == []


@pytest.mark.parametrize("log", [f"{SERVED}\n{DRAIN}\nhelper daemon started", f"{DRAIN}\nhelper daemon started"])
def test_what_a_pod_waits_for_is_what_it_said_last(tmp_path: Path, log: str) -> None:
    cluster = nodes(tmp_path, {"n1": {"ready": False, "log": log}})
    assert cluster.run("drain-mounted-nodes").returncode == 0
    assert cluster["drained"] == ["n1"]


@pytest.mark.parametrize(
    "pod",
    [
        {"ready": False, "log": "error: this image has no module for it"},
        # After a drain nothing could be loaded.
        {"ready": False, "log": KEPT + "this image has no module for it (client 8.3.1 has: 5.14.0)"},
        {"ready": False, "log": ""},
        # It waited once.
        *({"ready": False, "log": f"{DRAIN}\n{line}\nanother reason"} for line in (SERVED, *SERVED.split("\n"))),
        {"ready": False, "log": f"{DRAIN}\nbeegfs-node: this image has no module for it; building one"},
        {"ready": True, "ending": "2026-11-23T12:00:00Z", "log": "ended"},
        {"ready": True, "ending": "2026-11-23T12:00:00Z", "log": f"{STAYS}\nbeegfs-node: node n1: ended"},
    ],
)
def test_where_a_roll_out_waits_for_something_else_nothing_is_drained(tmp_path: Path, pod: dict[str, Any]) -> None:
    cluster = nodes(tmp_path, {"n1": pod})
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "nothing waits for mounts" in done.stderr
    assert cluster["drained"] == cluster["uncordoned"] == []


def test_a_node_that_was_cordoned_stays_so(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, {"n1": KEPT_POD}, cordoned=["n1"])
    assert cluster.run("drain-mounted-nodes").returncode == 0
    assert cluster["drained"] == ["n1"]
    assert cluster["uncordoned"] == []


def test_a_node_whose_pod_does_not_become_ready_stays_drained_and_is_named(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, {"n1": KEPT_POD, "n2": KEPT_POD}, stuck=True)
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "n1 is drained" in done.stderr
    assert cluster["drained"] == ["n1"]
    assert cluster["uncordoned"] == []


def builds(tmp_path: Path, phases: list[str], way: str = "in-cluster-build-rhel-workers") -> Cluster:
    documents = objects(folders()[way]).values()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "all.yaml").write_text(yaml.safe_dump_all(documents, width=1000))
    known = [build().name, "beegfs-client-8.1.0-0123456789"]
    return Cluster(tmp_path, applied=[], phases=phases, image=DIGEST, buildconfigs=known)


@pytest.mark.parametrize("phases", [["", "New", "Running", "Running"], []])
def test_daemonsets_are_applied_when_the_image_is_there_and_by_its_digest(tmp_path: Path, phases: list[str]) -> None:
    cluster = builds(tmp_path, phases)
    done = cluster.run("build-in-cluster", str(tmp_path / "folder"))
    assert done.returncode == 0, done.stderr
    assert cluster["asked"] == build().tag
    (selector, first), (everything, second) = cluster["applied"]
    assert (selector, everything) == ("!app.kubernetes.io/component", "")
    labelled = [
        d["kind"] for d in yaml.safe_load_all(first) if "app.kubernetes.io/component" in d["metadata"]["labels"]
    ]
    assert labelled == ["DaemonSet", "DaemonSet"]
    for before, after in zip(yaml.safe_load_all(first), yaml.safe_load_all(second), strict=True):
        if after["kind"] == "DaemonSet":
            (only,) = after["spec"]["template"]["spec"]["containers"]
            assert only["image"] == DIGEST
            only["image"] = before["spec"]["template"]["spec"]["containers"][0]["image"]
        assert after == before
    old = "beegfs-client-8.1.0-0123456789"
    assert f"delete buildconfig/{old} configmap/{old}" in done.stdout
    assert f"delete buildconfig/{build().name}" not in done.stdout


REFERENCE = "New InvalidOutputReference Output image could not be resolved."


@pytest.mark.parametrize(
    ("phases", "says"),
    [
        (["Running", "Failed PushImageToRegistryFailed No room."], "Failed (PushImageToRegistryFailed: No room.)"),
        ([""] * 99, "no build was started"),
        ([REFERENCE] * 99, "New (InvalidOutputReference: Output image could not be resolved.)"),
        (["Pending"] * 99, "Pending"),
        (["Running", *["Complete"] * 99], "Complete"),
    ],
)
def test_a_build_that_makes_no_image_is_not_waited_for_and_leaves_the_daemonsets_alone(
    tmp_path: Path, phases: list[str], says: str
) -> None:
    cluster = builds(tmp_path, phases)
    done = cluster.run("build-in-cluster", str(tmp_path / "folder"))
    assert done.returncode == 1
    assert says in done.stderr
    assert f"oc -n beegfs-client start-build {build().name}" in done.stderr
    assert [selector for selector, _ in cluster["applied"]] == ["!app.kubernetes.io/component"]


def test_a_build_that_runs_is_waited_for_and_so_is_one_behind_it(tmp_path: Path) -> None:
    cluster = builds(tmp_path, [*["Running"] * 20, *["Running\nNew"] * 20])
    done = cluster.run("build-in-cluster", str(tmp_path / "folder"))
    assert done.returncode == 0, done.stderr
    assert len(cluster["applied"]) == 2


def test_why_a_build_waits_is_said_at_once(tmp_path: Path) -> None:
    done = builds(tmp_path, ["New", REFERENCE, "Running"]).run("build-in-cluster", str(tmp_path / "folder"))
    said = [line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("build of ")]
    assert said == ["New", "New (InvalidOutputReference: Output image could not be resolved.)", "Running"]


def test_a_folder_of_another_way_is_refused(tmp_path: Path) -> None:
    cluster = builds(tmp_path, [], "prebuilt")
    done = cluster.run("build-in-cluster", str(tmp_path / "folder"))
    assert done.returncode == 1
    assert "no folder of in-cluster-build" in done.stderr
    assert cluster["applied"] == []


@pytest.mark.parametrize(("script", "arguments"), [("build-in-cluster", []), ("drain-mounted-nodes", ["n1"])])
def test_other_words_are_a_usage_error(tmp_path: Path, script: str, arguments: list[str]) -> None:
    assert nodes(tmp_path, {}).run(script, *arguments).returncode == 2
