"""The model of the DaemonSet controller against the cases of Kubernetes' own tests of it.

The settings and numbers are those of kubernetes/kubernetes, pkg/controller/daemon/update_test.go; each test names the
function there. A step is the expectation of one `expectSyncDaemonSets` there: the number of pods that are created, and
of those that are deleted, which end at once. Its tests of `maxSurge` are omitted: no manifest here uses it.
"""

from __future__ import annotations

import random
from typing import get_args

import pytest

from tests.unit.support.daemonset_controller import Node, Pod, Release, at_a_time, manage, replaced_now

Step = tuple[int, int]
each_release = pytest.mark.parametrize("release", get_args(Release))


def cluster(nodes: int, ready: bool = True) -> list[Node]:
    """Nodes with a pod each, of the template that the DaemonSet has."""
    return [Node(pods=[Pod(new=True, ready=ready)]) for _ in range(nodes)]


def update(nodes: list[Node]) -> None:
    """Change the template: all pods are old ones then."""
    for node in nodes:
        for pod in node.pods:
            pod.new = False


def get_ready(nodes: list[Node]) -> None:
    for node in nodes:
        for pod in node.pods:
            pod.ready = True


def ready(nodes: list[Node]) -> list[Pod]:
    return [pod for node in nodes for pod in node.pods if pod.ready]


def step(nodes: list[Node], max_unavailable: int | str, release: Release) -> Step:
    """One pass. The controller tells no pod to end before it has seen those that it made."""
    made = sum(node.wanted and not node.pods for node in nodes)
    manage(nodes)
    ending = [] if made else replaced_now(nodes, max_unavailable, release)
    for node in nodes:
        node.pods = [pod for pod in node.pods if not any(pod is each for each in ending)]
    return made, len(ending)


def steps(nodes: list[Node], max_unavailable: int | str, release: Release, passes: int) -> list[Step]:
    return [step(nodes, max_unavailable, release) for _ in range(passes)]


@each_release
def test_pods_are_replaced_as_many_at_a_time_as_may_be_unavailable(release: Release) -> None:
    """TestDaemonSetUpdatesPods."""
    nodes = cluster(5)
    update(nodes)
    for replaced in (2, 2, 1):
        assert steps(nodes, 2, release, 2) == [(0, replaced), (replaced, 0)]
        get_ready(nodes)
    assert step(nodes, 2, release) == (0, 0)


@each_release
def test_new_pods_that_do_not_become_ready_stop_it(release: Release) -> None:
    """TestDaemonSetUpdatesWhenNewPosIsNotReady."""
    nodes = cluster(5)
    update(nodes)
    assert steps(nodes, 3, release, 3) == [(0, 3), (3, 0), (0, 0)]


@each_release
def test_old_pods_that_are_not_ready_are_all_replaced(release: Release) -> None:
    """TestDaemonSetUpdatesAllOldPodsNotReady."""
    nodes = cluster(5, ready=False)
    update(nodes)
    assert steps(nodes, 3, release, 3) == [(0, 5), (5, 0), (0, 0)]


@each_release
def test_without_another_template_nothing_is_replaced(release: Release) -> None:
    """TestDaemonSetUpdatesNoTemplateChanged, whose pods are not Ready."""
    assert step(cluster(5, ready=False), 3, release) == (0, 0)


@pytest.mark.parametrize(("release", "second"), [("1.31", 2), ("1.27", 4)])
def test_a_second_update_replaces_what_the_first_did_not_get_ready(release: Release, second: int) -> None:
    """TestDaemonSetUpdatesSomeOldPodsNotReady, which came with the rule of 1.31 (kubernetes/kubernetes#123233).

    The number for 1.27 follows from update.go of that time; no test there states it.
    """
    nodes = cluster(5)
    update(nodes)
    assert steps(nodes, 2, release, 3) == [(0, 2), (2, 0), (0, 0)]
    update(nodes)
    assert steps(nodes, 2, release, 3) == [(0, second), (second, 0), (0, 0)]
    assert len(ready(nodes)) == 5 - second


def test_updates_never_touch_more_old_pods_than_may_be_unavailable() -> None:
    """TestDaemonSetUpdatesSaveOldHealthyPods; there too `maxUnavailable` is any number from 0 to 9."""
    chance = random.Random(3)
    nodes = cluster(20)
    update(nodes)
    assert steps(nodes, 10, "1.31", 3) == [(0, 10), (10, 0), (0, 0)]
    kept = ready(nodes)
    for _ in range(10):
        update(nodes)
        assert steps(nodes, chance.randrange(10), "1.31", 3) == [(0, 10), (10, 0), (0, 0)]
        assert all(now is before for now, before in zip(ready(nodes), kept, strict=True))
    update(nodes)
    assert steps(nodes, 11, "1.31", 3) == [(0, 11), (11, 0), (0, 0)]
    assert len(ready(nodes)) == 9


@each_release
def test_old_and_new_pods_that_are_not_ready_leave_no_room_for_ready_ones(release: Release) -> None:
    """TestDaemonSetUpdatesAllOldNotReadyPodsAndNewNotReadyPods."""
    nodes = cluster(100)
    update(nodes)
    for _ in range(10):
        assert steps(nodes, 10, release, 2) == [(0, 10), (10, 0)]
        get_ready(nodes)
    assert step(nodes, 10, release) == (0, 0)
    # 10 old pods that are Ready, 2 that are not, and 88 new ones that are not.
    for number, node in enumerate(nodes):
        node.pods[0].new, node.pods[0].ready = number >= 12, number < 10
    assert steps(nodes, 10, release, 3) == [(0, 2), (2, 0), (0, 0)]
    assert [node.pods[0].new for node in nodes[:12]] == [False] * 10 + [True] * 2


@pytest.mark.parametrize(("release", "left"), [("1.31", [2, 2, 2]), ("1.27", [2, 1, 0])])
def test_three_updates_that_do_not_work_meet_one_node_or_three(release: Release, left: list[int]) -> None:
    """kubernetes/kubernetes#123232: three nodes, one of which may be unavailable, lost all Ready pods before 1.31."""
    nodes = cluster(3)
    for expected in left:
        update(nodes)
        steps(nodes, 1, release, 4)
        assert len(ready(nodes)) == expected


@pytest.mark.parametrize(("stated", "nodes", "number"), [(0, 0, 0), (1, 2, 1), (0, 2, 1), ("50%", 2, 1), ("50%", 3, 2)])
def test_how_many_may_be_unavailable(stated: int | str, nodes: int, number: int) -> None:
    """TestGetUnavailableNumbers: no nodes, two with pods, one without a pod, a share, and a share of three nodes."""
    assert at_a_time(stated, nodes) == number


@each_release
def test_a_pod_that_was_told_to_end_counts_as_none(release: Release) -> None:
    """TestGetUnavailableNumbers, before 1.21: of two nodes one is unavailable, though both pods are Ready."""
    nodes = [Node(pods=[Pod()]), Node(pods=[Pod(ending=True)])]
    assert replaced_now(nodes, "50%", release) == []
    nodes[1].pods[0].ending = False
    assert len(replaced_now(nodes, "50%", release)) == 1
