"""A roll-out as Kubernetes' DaemonSet controller does it, as far as the number of nodes at a time goes.

Written from the rules in kubernetes/kubernetes: `rollingUpdate` (its branch without surge),
`findUpdatedPodsOnNode` and `updatedDesiredNodeCounts` of pkg/controller/daemon/update.go; `manage`,
`podsShouldBeOnNode` and `NodeShouldRunDaemonPod` of pkg/controller/daemon/daemon_controller.go; `UnavailableCount` of
pkg/controller/daemon/util/daemonset_util.go, which rounds up. The kubelet decides how nodes run their pods.

One rule has changed: whether an old pod that is not Ready, which is replaced at once, counts as unavailable in that
pass. It does not from 1.21 on (kubernetes/kubernetes#96441), so not in 1.27, which is OpenShift 4.14; it does from 1.31
on (#123233), which is OpenShift 4.18, and since October 2024 on the branches of 1.28 to 1.30 (#127776, #127775,
#127774). In the next pass it counts everywhere, as a pod that was told to end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

# well: ends the pods that it is told to end, and its new pod becomes Ready.
# dead: powered off or cut off. Nothing ends, nothing starts; the node lifecycle controller calls its pods not ready.
# no-module: ends the pods that it is told to end, but no new pod becomes Ready: the image has no module for its kernel.
# mounted: 7.x with mounts. Its old pod, told to end, stays for the mounts, Ready or not.
Kind = Literal["well", "dead", "no-module", "mounted"]
# Whose rules: 1.31's count an old pod that is not Ready in the pass that replaces it, 1.27's do not.
Release = Literal["1.31", "1.27"]


@dataclass
class Pod:
    """A pod of the DaemonSet: of the new template or an old one, Ready or not, told to end or not."""

    new: bool = False
    ready: bool = True
    ending: bool = False


@dataclass
class Node:
    """A node, how it behaves, whether the DaemonSet wants a pod on it, and the pods of it that are there."""

    kind: Kind = "well"
    wanted: bool = True
    pods: list[Pod] = field(default_factory=lambda: [Pod()])

    @property
    def is_through(self) -> bool:
        """Return whether it has its new pod, Ready."""
        return any(pod.new and pod.ready and not pod.ending for pod in self.pods)

    @property
    def serves(self) -> bool:
        """Return whether it has a Ready pod that was not told to end."""
        return any(pod.ready and not pod.ending for pod in self.pods)


def fleet(well: int, *others: Node) -> list[Node]:
    """Return `others`, then `well` nodes, all with Ready pods of the old template."""
    return [*others, *(Node() for _ in range(well))]


def dead() -> Node:
    return Node("dead", pods=[Pod(ready=False)])


def at_a_time(max_unavailable: int | str, nodes: int) -> int:
    """Return how many nodes may be unavailable: a number as it is, a share rounded up, at least one."""
    if isinstance(max_unavailable, int):
        return max_unavailable or min(1, nodes)
    percent = int(max_unavailable.removesuffix("%"))
    return -(-nodes * percent // 100) or min(1, nodes)


def replaced_now(nodes: list[Node], max_unavailable: int | str, release: Release = "1.31") -> list[Pod]:
    """Return the old pods that the controller tells to end in one pass."""
    limit = at_a_time(max_unavailable, sum(node.wanted for node in nodes))
    unavailable, at_once, candidates = 0, [], []
    for node in nodes:
        if not node.pods and not node.wanted:
            continue
        # A pod that was told to end is as good as gone: then the node has none, and is unavailable.
        found = [pod for pod in node.pods if not pod.ending]
        if len(found) != 1:
            unavailable += 1
        elif not found[0].ready:
            unavailable += found[0].new or release == "1.31"
            at_once += [pod for pod in found if not pod.new]
        elif not found[0].new:
            candidates.append(found[0])
    return at_once + candidates[: max(0, limit - unavailable)]


def manage(nodes: list[Node]) -> None:
    """Create wanted pods where there is none at all, and tell unwanted ones to end."""
    for node in nodes:
        if node.wanted and not node.pods:
            node.pods.append(Pod(new=True, ready=False))
        for pod in node.pods if not node.wanted else ():
            pod.ending = True


def kubelets(nodes: list[Node]) -> None:
    """Act as the nodes: end the pods that were told to end, and make new ones Ready."""
    for node in nodes:
        if node.kind == "dead":
            continue
        if node.kind != "mounted":
            node.pods = [pod for pod in node.pods if not pod.ending]
        for pod in node.pods:
            pod.ready = pod.ready or node.kind == "well"


def roll_out(
    nodes: list[Node],
    max_unavailable: int | str,
    release: Release = "1.31",
    watch: Callable[[list[Node]], None] = lambda _: None,
) -> int:
    """Go on until nothing changes any more, and return the number of passes that replaced pods.

    Args:
        nodes: of the cluster; changed in place.
        max_unavailable: as the DaemonSet states it.
        release: of Kubernetes, whose rules hold.
        watch: sees the nodes whenever pods were told to end.
    """
    passes, before = 0, ""
    while (now := repr(nodes)) != before:
        before = now
        manage(nodes)
        ending = replaced_now(nodes, max_unavailable, release)
        for pod in ending:
            pod.ending = True
        passes += bool(ending)
        watch(nodes)
        kubelets(nodes)
    return passes
