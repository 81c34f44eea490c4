"""The model of OpenShift's admission against the cases of OpenShift's own tests of it.

The settings, numbers and verdicts are those of openshift/apiserver-library-go, pkg/securitycontextconstraints:
util/sort/byrestrictions_test.go, util/sort/bypriority_test.go and sccadmission/admission_test.go; each test names the
function there. Features that the model lacks are omitted (changes of running pods, seccomp in annotations, ephemeral
containers, Windows).
"""

from __future__ import annotations

import copy
import random
from itertools import product
from typing import Any

import pytest

from tests.unit.support.scc_admission import (
    EARLIER,
    NOW,
    Namespace,
    Weights,
    admit,
    capability_points,
    in_order,
    score,
    volume_points,
)

Object = dict[str, Any]
each_weights = pytest.mark.parametrize("weights", [NOW, EARLIER], ids=["now", "earlier"])
NAMESPACE = Namespace(uids=(1, 3), groups=(2, 4), level="s0:c1,c0")
SAME = ("seLinuxContext", "fsGroup", "supplementalGroups")
USERS = {"RunAsAny": 40_000, "MustRunAsNonRoot": 30_000, "MustRunAsRange": 20_000, "MustRunAs": 10_000}


def scc(name: str = "", **stated: Any) -> Object:
    return {"metadata": {"name": name}, **stated}


def lax(name: str = "lax", **stated: Any) -> Object:
    """laxSCC: it allows all but volumes."""
    all_: Object = {key: {"type": "RunAsAny"} for key in ("runAsUser", *SAME)}
    for what in ("PrivilegedContainer", "HostNetwork", "HostPorts", "HostPID", "HostIPC"):
        all_[f"allow{what}"] = True
    return scc(name, **all_ | stated)


def restrictive(name: str = "restrictive", **stated: Any) -> Object:
    """restrictiveSCC, and saExactSCC, which is the same."""
    only = {"type": "MustRunAs", "ranges": [{"min": 999, "max": 999}]}
    exact: Object = {
        "runAsUser": {"type": "MustRunAs", "uid": 999},
        "seLinuxContext": {"type": "MustRunAs", "seLinuxOptions": {"level": "s9:z0,z1"}},
        "fsGroup": only,
        "supplementalGroups": only,
    }
    return scc(name, **exact | stated)


def of_namespace(name: str = "scc-sa") -> Object:
    """saSCC: all is as the namespace says."""
    stated: Object = {key: {"type": "MustRunAs"} for key in SAME}
    return scc(name, runAsUser={"type": "MustRunAsRange"}, **stated)


def pod(container: Object | None = None, required: str = "", **spec: Any) -> Object:
    """Return goodPod, which states nothing, with a case's additions."""
    annotations = {"annotations": {"openshift.io/required-scc": required}} if required else {}
    return {**annotations, "spec": {"containers": [container or {}], **spec}}


def own(**stated: Any) -> Object:
    """A container that states this in its securityContext."""
    return {"securityContext": stated}


def given(asked: Object, *sccs: Object, weights: Weights = NOW) -> str | None:
    """The SCC that a pod is given, as its first container or as one that starts before."""
    found = admit(asked, list(sccs), NAMESPACE, weights)
    moved = copy.deepcopy(asked)
    moved["spec"]["initContainers"], moved["spec"]["containers"] = moved["spec"]["containers"], []
    other = admit(moved, list(sccs), NAMESPACE, weights)
    assert (found and found[0]) == (other and other[0])
    return found[0] if found else None


@each_weights
@pytest.mark.parametrize(("user", "selinux"), [*product(USERS, ("RunAsAny", "MustRunAs"))])
def test_strategies_and_privileged_containers_add_up(user: str, selinux: str, weights: Weights) -> None:
    """TestPointValue."""
    stated: Object = {"runAsUser": {"type": user}, "seLinuxContext": {"type": selinux}}
    points = USERS[user] + USERS[selinux] + 5_000
    assert score(scc(**stated), weights) == points
    assert score(scc(**stated, allowPrivilegedContainer=True), weights) == points + weights.privileged
    assert score(scc(**stated, volumes=["hostPath"]), weights) == points + weights.host_volumes


@each_weights
@pytest.mark.parametrize(
    ("volumes", "allowed"),
    [
        (["*"], "host"),
        (["hostPath"], "host"),
        (["hostPath", "awsElasticBlockStore"], "host"),
        (["hostPath", "awsElasticBlockStore", "secret"], "host"),
        (["awsElasticBlockStore"], "other"),
        (["awsElasticBlockStore", "secret"], "other"),
        *(([kind], "none") for kind in ("secret", "configMap", "emptyDir", "downwardAPI", "projected", "none")),
        ([], "none"),
        (None, "none"),
    ],
)
def test_volumes_have_points_by_the_most_that_they_allow(
    volumes: list[str] | None, allowed: str, weights: Weights
) -> None:
    """TestVolumePointValue."""
    points = {"host": weights.host_volumes, "other": weights.other_volumes, "none": 0}
    assert volume_points(scc(volumes=volumes), weights) == points[allowed]


@pytest.mark.parametrize(
    ("add", "allowed", "drop", "points"),
    [
        (None, None, None, 5_000),
        (["KILL", "MKNOD"], None, None, 5_000 + 2 * 300),
        (None, ["KILL", "MKNOD"], None, 5_000 + 2 * 10),
        (None, ["*"], None, 5_000 + 4_000),
        (None, ["ALL"], None, 5_000 + 4_000),
        (None, ["All"], None, 5_000 + 4_000),
        (None, None, ["KILL", "MKNOD"], 5_000 - 2 * 50),
        (None, None, ["ALL"], 5_000 - 3_000),
        (None, None, ["all"], 5_000 - 3_000),
        (None, None, ["*"], 5_000 - 50),
        (["SETUID", "SETGID"], ["*"], ["SYS_CHROOT"], 5_000 + 2 * 300 + 4_000 - 50),
    ],
)
def test_capabilities_have_points(
    add: list[str] | None, allowed: list[str] | None, drop: list[str] | None, points: int
) -> None:
    """TestCapabilitiesPointValue."""
    stated: Object = {"defaultAddCapabilities": add, "allowedCapabilities": allowed, "requiredDropCapabilities": drop}
    assert capability_points(scc(**stated)) == points


@pytest.mark.parametrize(
    ("sccs", "order"),
    [
        # TestByPriority
        (
            [
                scc(name, priority=n)
                for n, name in ((1, "one"), (2, "two"), (3, "three"), (-1, "negative"), (100, "super"))
            ],
            ["super", "three", "two", "one", "negative"],
        ),
        # TestByPrioritiesScore
        (
            [
                scc("nonprivileged", priority=1),
                scc("privileged", priority=1, allowPrivilegedContainer=True),
                scc("hostdir", priority=1, volumes=["hostPath"]),
            ],
            ["nonprivileged", "hostdir", "privileged"],
        ),
        # TestByPrioritiesName
        ([scc(name, priority=1) for name in "edacb"], [*"abcde"]),
        # TestByPrioritiesMixedSCCs
        (
            [
                scc("priorityB", priority=5),
                scc("priorityA", priority=5),
                scc("super", priority=100),
                scc("privileged", priority=1, allowPrivilegedContainer=True),
                scc("nonprivileged", priority=1),
            ],
            ["super", "priorityA", "priorityB", "nonprivileged", "privileged"],
        ),
    ],
)
@each_weights
def test_sccs_are_tried_by_priority_points_and_name(sccs: list[Object], order: list[str], weights: Weights) -> None:
    """The functions of bypriority_test.go."""
    assert [each["metadata"]["name"] for each in in_order(sccs, weights)] == order


# Those of TestAdmitWithPrioritizedSCC: narrow and of high priority; of one priority, with different points; of one
# priority, with equal points.
NARROW = restrictive(priority=100)
ONE = lax("matchingPrioritySCCOne", priority=5, runAsUser={"type": "MustRunAs", "uid": 5})
TWO = lax(
    "matchingPrioritySCCTwo", priority=5, runAsUser={"type": "MustRunAsRange", "uidRangeMin": 5, "uidRangeMax": 5}
)
UNUSABLE = {**ONE, "metadata": {"name": "matchingPrioritySCCOneNoAllowedGroups"}}
EQUAL_ONE = lax("matchingPriorityAndScoreSCCOne", priority=1, runAsUser={"type": "MustRunAs", "uid": 6})
EQUAL_TWO = lax("matchingPriorityAndScoreSCCTwo", priority=1, runAsUser={"type": "MustRunAs", "uid": 6})


@each_weights
def test_the_first_that_fits_is_taken_or_the_one_that_the_pod_names(weights: Weights) -> None:
    """TestAdmitWithPrioritizedSCC; an SCC that may not be used is none of `admit`'s."""
    order = [NARROW, ONE, UNUSABLE, TWO, EQUAL_ONE, EQUAL_TWO]
    shuffled = random.Random(1).sample(order, len(order))
    assert in_order(shuffled, weights) == order
    usable = [each for each in order if each is not UNUSABLE]
    five, six = own(runAsUser=5), own(runAsUser=6)
    for asked, expected in (
        (pod(), NARROW),
        (pod(five), ONE),
        (pod(six), EQUAL_ONE),
        (pod(five, "matchingPrioritySCCTwo"), TWO),
        (pod(five, "matchingPriorityAndScoreSCCOne"), None),
        (pod(five, "does-not-exist"), None),
        (pod(five, "matchingPrioritySCCOneNoAllowedGroups"), None),
    ):
        assert given(asked, *usable, weights=weights) == (expected and expected["metadata"]["name"])


FOO = ["foo"]


@pytest.mark.parametrize(
    ("capabilities", "sccs", "admitted", "becomes"),
    [
        ({"add": FOO}, [restrictive()], False, None),
        ({"add": FOO}, [restrictive(), restrictive("allowed", allowedCapabilities=FOO)], True, None),
        ({"add": FOO}, [restrictive(), restrictive("added", defaultAddCapabilities=FOO)], True, None),
        ({"add": FOO}, [restrictive(), restrictive("dropped", requiredDropCapabilities=FOO)], False, None),
        ({"drop": FOO}, [restrictive(), restrictive("dropped", requiredDropCapabilities=FOO)], True, None),
        (None, [restrictive("added", defaultAddCapabilities=FOO)], True, {"add": FOO}),
        (None, [restrictive("dropped", requiredDropCapabilities=FOO)], True, {"drop": FOO}),
        ({"add": FOO}, [restrictive(), restrictive("all", allowedCapabilities=["*"])], True, None),
    ],
)
def test_capabilities_are_allowed_added_and_dropped(
    capabilities: Object | None, sccs: list[Object], admitted: bool, becomes: Object | None
) -> None:
    """TestAdmitCaps."""
    asked = pod(own(capabilities=capabilities) if capabilities else None)
    assert bool(given(asked, *sccs)) == admitted
    if becomes:
        found = admit(asked, sccs, NAMESPACE)
        assert found
        assert found[1]["spec"]["containers"][0]["securityContext"]["capabilities"] == becomes


LEVEL = {"level": "s0:c1,c0"}


@pytest.mark.parametrize(
    ("asked", "groups", "container"),
    [
        (pod(own(runAsUser=3)), (2, 2), {"runAsUser": 3}),
        (pod(own(seLinuxOptions=LEVEL)), (2, 2), {"runAsUser": 1, "seLinuxOptions": LEVEL}),
        (pod(securityContext={"fsGroup": 2}), (2, 2), {"runAsUser": 1}),
        (pod(securityContext={"supplementalGroups": [3]}), (2, 3), {"runAsUser": 1}),
        (pod(securityContext={"seLinuxOptions": LEVEL}), (2, 2), {"runAsUser": 1}),
    ],
)
def test_what_a_pod_does_not_state_is_the_namespaces(asked: Object, groups: tuple[int, int], container: Object) -> None:
    """TestAdmitSuccess: one SCC that is tried before does not fit."""
    assert [each["metadata"]["name"] for each in in_order([of_namespace(), restrictive()])] == ["restrictive", "scc-sa"]
    assert given(asked, restrictive(), of_namespace()) == "scc-sa"
    found = admit(asked, [restrictive(), of_namespace()], NAMESPACE)
    assert found
    spec = found[1]["spec"]
    file_system, supplemental = groups
    assert spec["securityContext"] == {
        "seLinuxOptions": LEVEL,
        "fsGroup": file_system,
        "supplementalGroups": [supplemental],
    }
    assert spec["containers"][0]["securityContext"] == {**container, "runAsNonRoot": True}


@pytest.mark.parametrize(
    "asked",
    [
        pod(own(runAsUser=1001)),
        pod(own(seLinuxOptions={"level": "s1:q0,q1"})),
        pod(own(privileged=True)),
        pod(hostNetwork=True),
        pod({"ports": [{"hostPort": 1}]}),
        pod(hostPID=True),
        pod(hostIPC=True),
        pod(securityContext={"supplementalGroups": [1]}),
        pod(securityContext={"fsGroup": 1}),
        pod(securityContext={"seLinuxOptions": {"user": "user", "type": "type", "role": "role", "level": "level"}}),
    ],
)
@each_weights
def test_what_is_not_allowed_is_refused_and_left_to_an_scc_that_allows_it(asked: Object, weights: Weights) -> None:
    """TestAdmitFailure."""
    assert given(asked, restrictive(), of_namespace(), weights=weights) is None
    assert given(asked, restrictive(), of_namespace(), lax("scc-admin"), weights=weights) == "scc-admin"


@each_weights
def test_a_new_pod_is_given_the_narrowest_scc_even_if_that_changes_it(weights: Weights) -> None:
    """TestAdmitPreferNonmutatingWhenPossible, its case of a creation."""
    sccs = [lax("restrictive-non-mutating-scc", allowHostPorts=False), restrictive("mutating-scc"), lax("non-mutating")]
    assert given(pod(), *sccs, weights=weights) == "mutating-scc"
