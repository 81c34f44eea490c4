"""The pace of a roll-out, and its obstacles: the numbers of docs/upgrade.md, by the DaemonSet controller's rules.

The rules are those of every release that OpenShift 4.14 and later use.
"""

from __future__ import annotations

import json
import random
import re
from typing import get_args

import pytest

from tests.unit.support.daemonset_controller import (
    Kind,
    Node,
    Pod,
    Release,
    at_a_time,
    dead,
    fleet,
    manage,
    replaced_now,
    roll_out,
)
from tests.unit.support.documents import section

SECTION = section("docs/upgrade.md", "Roll-out speed")


each_release = pytest.mark.parametrize("release", get_args(Release))


def through(nodes: list[Node]) -> int:
    """How many of the nodes that behave well have their new pod."""
    return sum(node.is_through for node in nodes if node.kind == "well")


def first_turn(kind: Kind, max_unavailable: int | str, nodes: int, well: int, release: Release) -> int:
    """How many get their new pod though the others hold up the roll-out: whose old pods are not Ready count late."""
    return min(at_a_time(max_unavailable, nodes), well) if release == "1.27" and kind == "dead" else 0


def stuck(kind: Kind) -> Node:
    """A node that never gets a Ready new pod, as a roll-out finds it."""
    return dead() if kind == "dead" else Node(kind)


@pytest.mark.parametrize(
    ("stated", "nodes", "number"),
    [("10%", 3, 1), ("10%", 11, 2), ("10%", 500, 50), ("1%", 500, 5), ("100%", 3, 3), ("34%", 3, 2), (7, 3, 7)],
)
def test_a_share_is_rounded_up(stated: int | str, nodes: int, number: int) -> None:
    assert at_a_time(stated, nodes) == number


@each_release
@pytest.mark.parametrize("nodes", [1, 3, 20])
def test_a_healthy_fleet_is_through_one_node_after_the_other(nodes: int, release: Release) -> None:
    found = fleet(nodes)
    assert roll_out(found, 1, release) == nodes
    assert through(found) == nodes


@each_release
def test_five_hundred_nodes_take_as_many_turns_or_ten(release: Release) -> None:
    assert roll_out(fleet(500), 1, release) == 500
    assert roll_out(fleet(500), "10%", release) == 10


@pytest.mark.parametrize("nodes", [3, 20])
@pytest.mark.parametrize(("release", "first"), [("1.31", 0), ("1.27", 1)])
def test_one_dead_node_stops_everybody_if_one_may_be_unavailable(nodes: int, release: Release, first: int) -> None:
    found = fleet(nodes - 1, dead())
    roll_out(found, 1, release)
    assert through(found) == first
    assert found[0].pods == [Pod(ready=False, ending=True)], "its pod is Terminating for ever"


def test_ten_percent_of_a_small_cluster_is_one_node() -> None:
    found = fleet(2, dead())
    roll_out(found, "10%")
    assert through(found) == 0


@each_release
@pytest.mark.parametrize("kind", ["no-module", "mounted"])
def test_one_node_whose_new_pod_never_becomes_ready_stops_all_that_come_after_it(kind: Kind, release: Release) -> None:
    for position in range(5):
        found = [*fleet(position), Node(kind), *fleet(4 - position)]
        roll_out(found, 1, release)
        assert through(found) == position


@each_release
@pytest.mark.parametrize("kind", ["dead", "no-module", "mounted"])
def test_a_fleet_goes_on_past_as_many_nodes_as_it_may_miss_less_one(kind: Kind, release: Release) -> None:
    stated: list[int | str] = [1, 2, 3, 5, "10%", "25%", "100%"]
    for nodes in (1, 2, 3, 5, 9, 10, 11, 20, 21, 40):
        for missing in range(min(nodes, 6)):
            for max_unavailable in stated:
                well = nodes - missing
                found = fleet(well, *(stuck(kind) for _ in range(missing)))
                roll_out(found, max_unavailable, release)
                goes_on = at_a_time(max_unavailable, nodes) > missing
                before = first_turn(kind, max_unavailable, nodes, well, release)
                assert through(found) == (well if goes_on else before), (nodes, missing, max_unavailable)


@each_release
def test_the_table_says_when_ten_percent_goes_on(release: Release) -> None:
    rows = re.findall(r"^\| (\d+) to (\d+) \| (\d+) \| (\w+) \|$", SECTION, re.MULTILINE)
    assert len(rows) >= 3
    for first, last, number, past in rows:
        for nodes in (int(first), int(last)):
            assert at_a_time("10%", nodes) == int(number)
            missing = 0 if past == "none" else int(past)
            for more in (0, 1):
                well = nodes - missing - more
                found = fleet(well, *(dead() for _ in range(missing + more)))
                roll_out(found, "10%", release)
                assert through(found) == (first_turn("dead", "10%", nodes, well, release) if more else well)


@pytest.mark.parametrize(("release", "others"), [("1.31", 0), ("1.27", 1)])
def test_an_old_pod_that_is_not_ready_is_replaced_at_once_wherever_it_is(release: Release, others: int) -> None:
    found = [Node(pods=[Pod(ready=False)]) for _ in range(20)] + fleet(3)
    assert len(replaced_now(found, 1, release)) == 20 + others
    roll_out(found, 1, release)
    assert through(found) == 23


@each_release
def test_never_more_nodes_are_without_a_ready_pod_than_is_said_and_were_before(release: Release) -> None:
    chance = random.Random(7)
    for max_unavailable in (1, 3, "10%", "50%"):
        for _ in range(20):
            found = [stuck(chance.choice(["well", "well", "well", "dead", "no-module", "mounted"])) for _ in range(24)]
            before = sum(not node.serves for node in found)
            said = at_a_time(max_unavailable, len(found))
            limit = max(before, said) if release == "1.31" else before + said

            def within(nodes: list[Node], limit: int = limit) -> None:
                assert sum(not node.serves for node in nodes) <= limit

            roll_out(found, max_unavailable, release, within)


def test_a_node_that_is_deleted_stops_nobody_and_a_pod_that_is_forced_to_end_changes_nothing() -> None:
    found = fleet(4, dead())
    roll_out(found, 1)
    found[0].pods.clear()
    manage(found)
    assert found[0].pods == [Pod(new=True, ready=False)], "the controller makes a new one on the dead node"
    roll_out(found, 1)
    assert through(found) == 0
    roll_out(found[1:], 1)
    assert through(found) == 4


def test_a_dead_node_that_the_daemonset_does_not_want_stops_nobody_once_its_pod_is_gone() -> None:
    found = fleet(4, dead())
    found[0].wanted = False
    roll_out(found, 1)
    assert through(found) == 0, "its pod is Terminating, and counts"
    found[0].pods.clear()
    roll_out(found, 1)
    assert through(found) == 4


def test_the_command_for_one_roll_out_changes_the_speed_alone() -> None:
    commands = re.findall(r"oc -n beegfs-client patch (\S+) --type=merge -p '(.*?)'", SECTION)
    assert [kind for kind, _ in commands] == ["daemonset/beegfs-client"]
    (patch,) = (json.loads(text) for _, text in commands)
    assert patch == {"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "10%"}}}}
