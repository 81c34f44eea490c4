"""The client's SCC admits no other pods, changes none, and admits its own as they are written.

A cluster-admin may use every SCC, and so may accounts with that role: ours is a candidate for each of their pods.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from kmatrix.decide import manifests
from tests.unit.support.manifest_maker import folders, objects, sources
from tests.unit.support.scc_admission import EARLIER, NOW, Weights, admit, filled_in, in_order, refusals, score
from tests.unit.support.stock_sccs import STOCK

Object = dict[str, Any]
FOLDERS = {name: objects(folder) for name, folder in folders().items()}
OURS = {
    f"{name}-{key[1]}": document
    for name, known in FOLDERS.items()
    for key, document in known.items()
    if key[0] == "SecurityContextConstraints"
}
each_weights = pytest.mark.parametrize("weights", [NOW, EARLIER], ids=["now", "earlier"])
each_scc = pytest.mark.parametrize("scc", OURS.values(), ids=OURS)
TOKEN = {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
HOST_FOLDER = {"name": "folder", "hostPath": {"path": "/var/log"}}
ROOT = {"securityContext": {"runAsUser": 0}}


def pod(container: Object | None = None, *volumes: Object, **spec: Any) -> Object:
    """Return another pod, with its account's token, which the API server adds."""
    only = {"name": "c", **(container or {})}
    return {"spec": {**spec, "containers": [only], "volumes": [*volumes, TOKEN]}}


def capability(*names: str, drop: bool = False) -> Object:
    return {"securityContext": {"capabilities": {"add": list(names), **({"drop": ["ALL"]} if drop else {})}}}


PORTS = {"ports": [{"containerPort": 9100, "hostPort": 9100}]}
RUNTIME_DEFAULT = {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
# Pods that a stock SCC other than those for privileged containers admits, or that ours refuses.
OTHERS = {
    "plain": pod(),
    "plain, runtime's seccomp": pod(**RUNTIME_DEFAULT),
    "host's network": pod(hostNetwork=True),
    "host's network, without a token": {"spec": {"hostNetwork": True, "containers": [{"name": "c"}]}},
    "host's network and a port": pod(PORTS, hostNetwork=True),
    "host's network, runtime's seccomp": pod(hostNetwork=True, **RUNTIME_DEFAULT),
    "host's folder": pod(None, HOST_FOLDER),
    "host's folder as root": pod(ROOT, HOST_FOLDER),
    "host's network and folder": pod(None, HOST_FOLDER, hostNetwork=True),
    "host's network, folder and a port": pod(PORTS, HOST_FOLDER, hostNetwork=True),
    "a secret, nothing else": pod(None, {"name": "s", "secret": {"secretName": "s"}}),
    "NET_ADMIN": pod(capability("NET_ADMIN")),
    "NET_ADMIN on the host's network": pod(capability("NET_ADMIN"), hostNetwork=True),
    "host's processes": pod(None, HOST_FOLDER, hostPID=True, hostNetwork=True),
    "host's processes as root": pod(ROOT, hostPID=True),
    "a configuration, on the host's network as root": pod(
        ROOT, {"name": "m", "configMap": {"name": "m"}}, hostNetwork=True
    ),
    "oc debug node": pod(
        {"securityContext": {"privileged": True, "runAsUser": 0}},
        HOST_FOLDER,
        hostPID=True,
        hostIPC=True,
        hostNetwork=True,
    ),
}
# Pods that, of the stock SCCs, only those for privileged containers admit, without such a container; and ours, too.
ROOTS = {
    "host's network as root": pod(ROOT, hostNetwork=True),
    "host's network, folder and a port, as root": pod({**ROOT, **PORTS}, HOST_FOLDER, hostNetwork=True),
    "SELinux type of its own": pod(
        {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}, HOST_FOLDER, hostNetwork=True
    ),
    "host's network and folder, runtime's seccomp": pod(None, HOST_FOLDER, hostNetwork=True, **RUNTIME_DEFAULT),
}
ALL: dict[str, Object] = {**OTHERS, **ROOTS}


# In their order, with the points that they have now and had before; `anyuid` is first by its priority.
ORDER = [
    ("anyuid", 154_950, 104_950),
    ("restricted-v2", 132_010, 82_010),
    ("restricted-v3", 132_010, 82_010),
    ("restricted", 134_800, 84_800),
    ("nonroot-v2", 142_010, 92_010),
    ("nonroot", 144_800, 94_800),
    ("hostmount-anyuid", 254_950, 154_950),
    ("hostmount-anyuid-v2", 284_950, 184_950),
    ("machine-api-termination-handler", 654_800, 354_800),
    ("hostnetwork-v2", 1_332_010, 682_010),
    ("hostnetwork", 1_334_800, 684_800),
    ("hostaccess", 1_434_800, 734_800),
    ("node-exporter", 3_085_000, 1_785_000),
    ("privileged", 3_089_000, 1_789_000),
]


def test_the_stock_sccs_have_the_order_that_openshift_gives_them() -> None:
    """Points by byrestrictions.go; by its weights of now and by the earlier ones the order is the same."""
    for weights in (NOW, EARLIER):
        assert [scc["metadata"]["name"] for scc in in_order(STOCK, weights)] == [name for name, _, _ in ORDER]
    assert [(scc["metadata"]["name"], score(scc), score(scc, EARLIER)) for scc in in_order(STOCK)] == ORDER


@each_weights
@each_scc
def test_ours_ranks_behind_every_stock_scc_that_allows_no_privileged_container(scc: Object, weights: Weights) -> None:
    order = [each["metadata"]["name"] for each in in_order([*STOCK, scc], weights)]
    assert order[-3:] == [scc["metadata"]["name"], "node-exporter", "privileged"]
    # A negative one is refused: openshift/kubernetes, customresourcevalidation/…/validation/validation.go.
    assert scc["priority"] == 0


@each_weights
@each_scc
@pytest.mark.parametrize("name", OTHERS)
def test_a_pod_of_others_is_given_the_scc_that_it_has_without_ours(scc: Object, name: str, weights: Weights) -> None:
    before = admit(OTHERS[name], STOCK, weights=weights)
    assert before is not None
    assert admit(OTHERS[name], [*STOCK, scc], weights=weights) == before


@each_weights
@each_scc
@pytest.mark.parametrize("name", ROOTS)
def test_a_pod_that_else_only_a_privileged_scc_admits_is_not_changed(scc: Object, name: str, weights: Weights) -> None:
    before, after = (admit(ROOTS[name], sccs, weights=weights) for sccs in (STOCK, [*STOCK, scc]))
    assert before is not None
    assert after is not None
    assert before[0] in {"node-exporter", "privileged"}
    assert after[0] in {before[0], scc["metadata"]["name"]}
    # `node-exporter` sets a profile of seccomp; ours sets nothing.
    assert after[1] in (ROOTS[name], before[1])


@each_scc
@pytest.mark.parametrize("name", ALL)
def test_ours_fills_nothing_in(scc: Object, name: str) -> None:
    assert filled_in(scc, ALL[name]) == ALL[name]


def clients_pods() -> dict[str, tuple[Object, Object]]:
    """Return every DaemonSet's pod, and its folder's SCC that the pod names."""
    found = {}
    for folder, known in FOLDERS.items():
        for (kind, name), document in known.items():
            if kind == "DaemonSet":
                template = document["spec"]["template"]
                made = {"annotations": template["metadata"]["annotations"], "spec": template["spec"]}
                required = made["annotations"]["openshift.io/required-scc"]
                found[f"{folder}-{name}"] = (made, known["SecurityContextConstraints", required])
    return found


PODS = clients_pods()
each_pod = pytest.mark.parametrize(("asked", "scc"), PODS.values(), ids=PODS)


@each_pod
def test_the_clients_pod_is_admitted_by_its_own_scc_and_not_changed(asked: Object, scc: Object) -> None:
    assert admit(asked, [*STOCK, *OURS.values()]) == (scc["metadata"]["name"], asked)


@each_pod
def test_the_clients_pod_states_all_that_an_scc_could_fill_in(asked: Object, scc: Object) -> None:
    """Every field that `filled_in` can set, but for groups of files, of which the client's volumes need none."""
    eager = {
        **scc,
        "runAsUser": {"type": "MustRunAs", "uid": 4711},
        "seLinuxContext": {"type": "MustRunAs", "seLinuxOptions": {"type": "other_t"}},
        "requiredDropCapabilities": ["ALL"],
        "seccompProfiles": ["localhost/other"],
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "defaultAllowPrivilegeEscalation": True,
    }
    assert filled_in(eager, asked) == asked


@each_pod
def test_the_clients_scc_allows_no_more_than_can_be_refused_without_filling_in(asked: Object, scc: Object) -> None:
    def refused(change: Object, container: Object | None = None) -> list[str]:
        changed = copy.deepcopy(asked)
        changed["spec"].update(change)
        context = changed["spec"]["containers"][0]["securityContext"]
        context.update(container or {})
        return refusals(scc, changed)

    assert refused({}) == []
    for key in ("hostPID", "hostIPC"):
        assert refused({key: True}) == [key]
    assert refused({}, {"privileged": True}) == ["client: privileged"]
    assert refused({}, {"capabilities": {"add": ["SYS_ADMIN"]}}) == ["client: capability SYS_ADMIN"]
    assert refused({"securityContext": {"sysctls": [{"name": "a", "value": "1"}]}}) == ["sysctls"]
    for kind in ("nfs", "configMap", "csi", "persistentVolumeClaim"):
        assert refused({"volumes": [{"name": "v", kind: {}}]}) == ["volume v"]


def test_the_component_for_the_stock_scc_leaves_the_pod_a_privileged_one() -> None:
    path = "components/privileged/kustomization.yaml"
    patches = yaml.safe_load(manifests.components(sources())[path])["patches"]
    (operations,) = (yaml.safe_load(patch["patch"]) for patch in patches if patch["target"]["kind"] == "DaemonSet")
    for asked, _ in PODS.values():
        changed = copy.deepcopy(asked)
        for operation in operations:
            *parts, last = operation["path"].removeprefix("/spec/template/").replace("metadata/", "").split("/")
            where: Any = changed
            for part in parts:
                where = where[int(part) if isinstance(where, list) else part.replace("~1", "/")]
            if operation["op"] == "remove":
                del where[last]
            else:
                where[last.replace("~1", "/")] = operation["value"]
        assert admit(changed, STOCK) == ("privileged", changed)
        context = changed["spec"]["containers"][0]["securityContext"]
        assert context["privileged"] is True
        # The runtime gives a privileged container the type spc_t by itself.
        assert "seLinuxOptions" not in {**context, **changed["spec"]["securityContext"]}
