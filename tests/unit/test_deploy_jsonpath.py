"""The JSONPaths of deploy/'s scripts have the same result in kubectl as in the fake `oc` of their tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.support import drain_cluster, upgrade_cluster
from tests.unit.support.build_cluster import MIXED, NEW, OLD, RHEL, TEN, cluster_of, run, tag, toolkits
from tests.unit.support.fake_cluster import DEPLOY, node
from tests.unit.support.http_server import Reply, Request, WebServer, web_server

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")

_RESOURCE = {"name": "things", "singularName": "thing", "kind": "Thing", "namespaced": False, "verbs": ["get", "list"]}
# As much of an API server as `kubectl get things` needs (k8s.io/client-go discovery/discovery_client.go).
_DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [_RESOURCE]},
}


@contextmanager
def api_server(root: dict[str, Any]) -> Iterator[WebServer]:
    """Serve one object, or one list of objects: its `items`, as `kubectl get` shows them to a JSONPath."""
    known = {
        **_DISCOVERY,
        "/api/v1/things": {"kind": "ThingList", "apiVersion": "v1", "metadata": {}, **root},
        "/api/v1/things/one": {"kind": "Thing", "apiVersion": "v1", **root},
    }

    def answer(request: Request) -> Reply:
        if request.path not in known:
            return Reply(404, b"{}", {"Content-Type": "application/json"})
        return Reply(200, json.dumps(known[request.path]).encode(), {"Content-Type": "application/json"})

    with web_server(answer) as server:
        yield server


def kubectl_answer(tmp_path: Path, template: str, root: dict[str, Any]) -> str:
    words = ["get", "things", *([] if "items" in root else ["one"]), "-o", f"jsonpath={template}"]
    with api_server(root) as server:
        command = ["kubectl", f"--server={server.url}", f"--cache-dir={tmp_path / str(server.port)}", *words]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{template}: {done.stderr}"
    return done.stdout


def templates() -> set[str]:
    scripts = [DEPLOY / name for name in ("build-in-cluster", "drain-mounted-nodes", "can-upgrade")]
    return {found for script in scripts for found in re.findall(r"jsonpath='([^']*)'", script.read_text())}


def asked_by_the_scripts(tmp_path: Path) -> list[tuple[str, dict[str, Any], str]]:
    """Return every kind of object that they read, with fields missing, empty or null as the API leaves them."""
    for name in ("build", "drain", "kmm", "nothing"):
        (tmp_path / name).mkdir()
    failed = ["Running", "Running\nNew InvalidOutputReference Output image could not be resolved.", "Failed"]
    stream = toolkits(**{"latest": "ba", NEW: "b", "latest-rhel-10": "x", TEN: "x", OLD: "a", "9.4.20240101-0": ""})
    nodes = [*MIXED, node("worker", RHEL), node("unknown")]
    building = cluster_of(tmp_path / "build", nodes=nodes, toolkits=stream, phases={tag(OLD): failed})
    assert run(building).returncode == 1, "one toolkit fails"
    waiting = {
        "n1": drain_cluster.pod("n1", drain_cluster.DRAIN, ready=False),
        "n2": drain_cluster.pod("n2", drain_cluster.STAYS, ending=True),
    }
    draining = drain_cluster.cluster_of(tmp_path / "drain", waiting, cordoned=["n2"])
    assert draining.run("drain-mounted-nodes").returncode == 0
    # With fields that older and hosted clusters lack, and a roll-out that has not begun.
    hosted = upgrade_cluster.node("n2", pool="", **{"hypershift.openshift.io/nodePool": "blue"})
    known: dict[str, Any] = {each: {} for each in (upgrade_cluster.POOLS, upgrade_cluster.MODULES)}
    known[upgrade_cluster.PREFLIGHTS] = upgrade_cluster.definition("kernelVersion")
    upgrading = upgrade_cluster.cluster_of(
        tmp_path / "kmm",
        (upgrade_cluster.node("n1", **{upgrade_cluster.VERSION: "8.3.1"}), hosted),
        version=upgrade_cluster.updates("4.18.14", conditional=("4.18.15",)),
        definitions=known,
        daemonsets=[upgrade_cluster.daemonset(2, load="external", updatedNumberScheduled=None)],
        pools=[upgrade_cluster.pool("worker", "rhel-9", paused=True), upgrade_cluster.pool("master")],
        pods=[upgrade_cluster.pod("n1"), upgrade_cluster.pod("n2", "")],
        module=upgrade_cluster.module(upgrade_cluster.LAST, regexp="^x$", version="8.3.1"),
    )
    assert upgrading.run("can-upgrade").returncode == 1
    assert upgrading.run("can-upgrade", "--preflight", "4.18.14").returncode == 0
    offered_nothing = upgrade_cluster.cluster_of(
        tmp_path / "nothing", version=upgrade_cluster.updates(retrieved="False")
    )
    assert offered_nothing.run("can-upgrade").returncode == 4
    clusters = (building, draining, upgrading, offered_nothing)
    return [(template, root, said) for each in clusters for template, root, said in each["asked"]]


def test_kubectl_reads_of_every_object_what_the_scripts_are_tested_with(tmp_path: Path) -> None:
    """`oc get` has kubectl's printers (openshift/oc pkg/cli/kubectlwrappers/wrappers.go, NewCmdGet)."""
    asked = asked_by_the_scripts(tmp_path)
    assert {template for template, _, _ in asked} == templates()
    seen: list[tuple[str, dict[str, Any], str]] = []
    for each in asked:
        if each not in seen:
            seen.append(each)
    for template, root, said in seen:
        assert kubectl_answer(tmp_path, template, root) == said, template
