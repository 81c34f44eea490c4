"""Releases that the plan cannot serve: unresolved ones, and those whose toolkit has not the kernel of their nodes."""

from __future__ import annotations

from typing import Any

import pytest

from kmatrix.decide.lock_news import discovery_exit, mismatches, news_of
from kmatrix.decide.plan import Plan, Row, make_plan, plan_json
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.lock import Lock, ProfileLock, read_lock, write_lock
from kmatrix.values.matrix import Exclude
from kmatrix.values.names import ImageRef, ReleaseVersion
from kmatrix.values.pins import EmptyChannelPin, KernelPin, ReleasePin, RetiredPin, UnavailablePin, UnresolvedPin
from tests.unit.support.made_up_profile import digest, lock, profile

KERNEL = "5.14.0-427.22.1.el9_4.x86_64"
OTHER = "5.14.0-427.99.9.el9_4.x86_64"
NODES = "5.14.0-427.31.1.el9_4.x86_64"


def release(version: str, kernel: str = KERNEL, **changes: Any) -> ReleasePin:
    pin = ReleasePin(
        version=ReleaseVersion.parse(version),
        arch="x86_64",
        channels=("stable-4.16",),
        payload=ImageRef.parse(f"registry.example/release@{digest(version[-1])}"),
        toolkit=ImageRef.parse(f"registry.example/toolkit@{digest(version[-1])}"),
        rhel="9.4",
        kernels=(KernelPin(release=kernel, flavour="standard"),),
    )
    return pin.model_copy(update=changes)


def unresolved(version: str, **changes: Any) -> UnresolvedPin:
    pin = UnresolvedPin(
        version=ReleaseVersion.parse(version),
        arch="x86_64",
        channels=("stable-4.16",),
        payload=ImageRef.parse(f"registry.example/release@{digest(version[-1])}"),
        obstacle="malformed",
        reason="its payload is a page",
        since="2026-03-31",
    )
    return pin.model_copy(update=changes)


def pins(*releases: ReleasePin, **changes: Any) -> ProfileLock:
    return lock(profile()).model_copy(update={"releases": releases, **changes})


def plan(found: ProfileLock, *excludes: Exclude) -> Plan:
    return make_plan("one", profile(excludes=excludes), found)


def by_kernel(found: Plan) -> dict[str, Row]:
    return {row.kernel: row for row in found.rows if str(row.client) == "8.2.2"}


def test_a_kernel_that_no_toolkit_has_is_open_and_nothing_is_built_from_the_wrong_toolkit() -> None:
    found = plan(pins(release("4.16.1"), release("4.16.2", OTHER, node_kernel=NODES)))
    rows = by_kernel(found)
    assert {kernel: row.state for kernel, row in rows.items()} == {KERNEL: "in", NODES: "open"}
    assert rows[NODES].releases == ("4.16.2",)
    assert rows[NODES].reason == f"open: no toolkit has this kernel: that of 4.16.2 has {OTHER}"
    [one] = found.open
    assert (one.release, one.code, one.expected, one.actual) == ("4.16.2", "toolkit-kernel-mismatch", NODES, OTHER)
    assert "publisher" in one.next_step
    data = plan_json(found)
    assert [cell["cell"] for cell in data["open"]] == [f"7.4.6-{NODES}", f"8.2.2-{NODES}"]
    assert data["releases"][0]["code"] == "toolkit-kernel-mismatch"


def test_the_toolkit_of_another_release_serves_a_release_with_a_wrong_one() -> None:
    wrong = release("4.16.1", OTHER, node_kernel=NODES)
    right = release("4.16.2", NODES, node_kernel=NODES)
    found = plan(pins(wrong, right))
    row = by_kernel(found)[NODES]
    assert row.cell is not None
    assert row.cell.toolkit == right.toolkit, "the wrong toolkit is the older one"
    assert row.releases == ("4.16.1", "4.16.2")
    assert [each.release for each in found.open] == ["4.16.1"], "it is the release's fault all the same"
    assert OTHER not in by_kernel(found)


def test_a_toolkit_of_another_stream_than_the_nodes_does_not_decide_their_stream() -> None:
    nodes = "6.12.0-211.28.1.el10_2.x86_64"
    wrong = release("4.22.0", KERNEL, node_kernel=nodes)
    right = release("4.22.1", nodes, rhel="10.2", node_kernel=nodes)
    assert (wrong.stream, right.stream) == ("el10", "el10")
    alone = by_kernel(plan(pins(release("4.16.1"), wrong)))[nodes]
    assert (alone.state, alone.stream) == ("open", "el10")
    # Packages of el9 there are; those of el10 decide.
    el9 = tuple(pin for pin in lock(profile()).clients if pin.stream == "el9")
    missing = tuple(
        UnavailablePin(client=client, stream="el10", arch="x86_64", reason="none") for client in profile().clients
    )
    row = by_kernel(plan(pins(wrong, right, clients=el9, unavailable=missing)))[nodes]
    assert (row.state, row.stream) == ("out", "el10")


def test_a_toolkit_with_the_nodes_kernel_among_several_is_right() -> None:
    both = (KernelPin(release=KERNEL, flavour="standard"), KernelPin(release=f"{KERNEL}+rt", flavour="rt"))
    found = plan(pins(release("4.16.1", kernels=both, node_kernel=KERNEL), release("4.16.2", node_kernel=None)))
    assert {row.state for row in found.rows} == {"in"}
    assert not found.open


def test_an_exclude_of_the_release_silences_it_and_counts_as_used() -> None:
    wrong = release("4.16.2", OTHER, node_kernel=NODES)
    exclude = Exclude(release="4.16.2", reason="known to be wrong")
    found = plan(pins(release("4.16.1"), wrong), exclude)
    assert not found.open
    assert by_kernel(found)[NODES].state == "out"
    exclude = Exclude(release="4.16.[23]", reason="never mind")
    assert not plan(pins(release("4.16.1"), unresolved=(unresolved("4.16.3"),)), exclude).open
    with pytest.raises(InputError, match="matches no cell"):
        plan(pins(release("4.16.1")), exclude)


def test_only_selects_among_open_cells_too() -> None:
    found = pins(release("4.16.1"), release("4.16.2", OTHER, node_kernel=NODES))
    for glob, states in ((f"*-{NODES}", ("out", "open")), (f"*-{KERNEL}", ("in", "out"))):
        rows = by_kernel(make_plan("one", profile(), found, (glob,)))
        assert (rows[KERNEL].state, rows[NODES].state) == states


def test_two_streams_with_one_fault_are_one_open_release() -> None:
    both = (release("4.16.2", OTHER, node_kernel=NODES), release("4.16.2", OTHER, node_kernel=NODES, rhel="10.2"))
    assert len(plan(pins(*both)).open) == 1


def test_an_exclude_of_a_kernel_silences_no_unresolved_release() -> None:
    exclude = Exclude(release="4.16.*", kernel="5.14.*", reason="never mind")
    found = plan(pins(release("4.16.1"), unresolved=(unresolved("4.16.3"),)), exclude)
    assert [each.release for each in found.open] == ["4.16.3"]


@pytest.mark.parametrize(
    ("obstacle", "credential", "next_step"),
    [
        (
            "credential",
            "quay.io/dev/art",
            "may pull quay.io/dev/art, such as the cluster's pull secret",
        ),
        ("unreachable", None, "once the service answers"),
        ("malformed", None, "Report it to the release's publisher"),
    ],
)
def test_an_unresolved_release_names_what_would_resolve_it(obstacle: Any, credential: Any, next_step: str) -> None:
    one = unresolved("4.16.3", obstacle=obstacle, credential=credential)
    [found] = plan(pins(release("4.16.1"), unresolved=(one,))).open
    assert (found.release, found.code) == ("4.16.3", "release-unresolved")
    assert found.reason == "unresolved since 2026-03-31: its payload is a page"
    assert next_step in found.next_step
    assert "nox -s discover -- --profile one" in found.next_step


def test_no_release_at_all_may_be_resolved() -> None:
    found = plan(pins(unresolved=(unresolved("4.16.3"), unresolved("4.16.2"))))
    assert not found.rows
    assert [each.release for each in found.open] == ["4.16.2", "4.16.3"]


# The exit code of a discovery, and its news


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (pins(release("4.16.1")), Exit.OK),
        (pins(release("4.16.1"), unresolved=(unresolved("4.16.2", obstacle="credential"),)), Exit.UNREACHABLE),
        (pins(release("4.16.1"), unresolved=(unresolved("4.16.2", obstacle="unreachable"),)), Exit.UNREACHABLE),
        (
            pins(unresolved=(unresolved("4.16.2"), unresolved("4.16.3", obstacle="unreachable"))),
            Exit.ERRORED,
        ),
        (pins(release("4.16.1", OTHER, node_kernel=NODES)), Exit.ERRORED),
    ],
)
def test_the_worst_fault_of_a_release_decides_the_exit_code(found: ProfileLock, code: Exit) -> None:
    assert discovery_exit(found) == code


def test_a_mismatch_is_named_with_both_kernels() -> None:
    [line] = mismatches(pins(release("4.16.1"), release("4.16.2", OTHER, node_kernel=NODES)))
    assert line.startswith(f"4.16.2 for x86_64: its toolkit has {OTHER}, but its nodes run {NODES}: ")


NEWS: list[tuple[ProfileLock, ProfileLock, str]] = [
    (
        pins(release("4.16.1")),
        pins(release("4.16.1"), release("4.16.2")),
        f"4.16.2 for x86_64 is new, with kernel {KERNEL}",
    ),
    (pins(release("4.16.1"), release("4.16.2")), pins(release("4.16.1")), "4.16.2 for x86_64 has left the lock"),
    (
        pins(release("4.16.1"), unresolved=(unresolved("4.16.2"),)),
        pins(release("4.16.1"), release("4.16.2")),
        f"4.16.2 for x86_64 is resolved, with kernel {KERNEL}",
    ),
    (
        pins(release("4.16.1")),
        pins(release("4.16.1"), unresolved=(unresolved("4.16.2"),)),
        "4.16.2 for x86_64 is unresolved: its payload is a page",
    ),
    (
        pins(release("4.16.1"), unresolved=(unresolved("4.16.2"),)),
        pins(release("4.16.1")),
        "4.16.2 for x86_64, which was unresolved, has left the lock",
    ),
    (
        pins(release("4.16.1")),
        pins(release("4.16.1", gone="2026-04-01")),
        "4.16.1 for x86_64 is gone from the graph since 2026-04-01",
    ),
    (pins(release("4.16.1", gone="2026-04-01")), pins(release("4.16.1")), "4.16.1 for x86_64 is back in the graph"),
    (
        pins(release("4.16.1")),
        pins(release("4.16.1", OTHER)),
        f"4.16.1 for x86_64 has kernel {OTHER} instead of kernel {KERNEL}",
    ),
    (
        pins(release("4.16.1")),
        pins(release("4.16.1", payload=ImageRef.parse(f"registry.example/release@{digest('9')}"))),
        "4.16.1 for x86_64 has another payload",
    ),
    (
        pins(release("4.16.1")),
        pins(release("4.16.1", channels=("eus-4.16", "stable-4.16"))),
        "4.16.1 for x86_64 is in eus-4.16, stable-4.16 instead of stable-4.16",
    ),
    (
        pins(release("4.16.1")),
        pins(release("4.16.1", node_kernel=KERNEL)),
        "4.16.1 for x86_64 has other facts about its toolkit or its nodes",
    ),
    (
        pins(release("4.16.1")),
        pins(release("4.16.1"), base=ImageRef.parse(f"registry.example/base@{digest('9')}")),
        f"the base is registry.example/base@{digest('9')}",
    ),
    (pins(release("4.16.1")), pins(release("4.16.1"), clients=()), "the packages of clients differ"),
    (
        pins(release("4.16.1")),
        pins(release("4.16.1"), retired=(RetiredPin(kernel=OTHER, arch="x86_64", reason="left"),)),
        f"kernel {OTHER} for x86_64 is retired: left",
    ),
    (pins(release("4.16.1")), pins(release("4.16.1"), inputs=digest("9")), "matrix.yaml changed"),
    (
        pins(release("4.16.1"), unresolved=(unresolved("4.16.1"),)),
        pins(release("4.16.1")),
        "4.16.1 for x86_64 is resolved: its pins stay as they were",
    ),
    (
        pins(release("4.16.1"), retired=(RetiredPin(kernel=OTHER, arch="x86_64", reason="left"),)),
        pins(release("4.16.1")),
        f"kernel {OTHER} for x86_64 is no longer retired",
    ),
]


NEWS += [
    (
        pins(release("4.16.1")),
        pins(release("4.16.1"), empty_channels=(EmptyChannelPin(name="stable-4.23", arch="x86_64"),)),
        "stable-4.23 for x86_64 gives no release",
    ),
    (
        pins(release("4.16.1"), empty_channels=(EmptyChannelPin(name="stable-4.23", arch="x86_64"),)),
        pins(release("4.16.1")),
        "stable-4.23 for x86_64, which gave no release, gives some or has left matrix.yaml",
    ),
]


@pytest.mark.parametrize(("before", "after", "line"), NEWS)
def test_every_change_of_the_lock_is_news(before: ProfileLock, after: ProfileLock, line: str) -> None:
    assert news_of(before, after) == (line,)
    assert news_of(after, after) == ()


def test_a_first_lock_is_news() -> None:
    assert news_of(None, pins(release("4.16.1"))) == ("the first lock: 1 release with 1 kernel",)


def test_the_lock_keeps_an_unresolved_release_and_leaves_out_what_is_absent() -> None:
    found = pins(release("4.16.1"), unresolved=(unresolved("4.16.2", found="2026-04-01T03:17:05Z"),))
    text = write_lock(Lock().with_profile("one", found))
    assert read_lock(text).profiles["one"] == found.in_order()
    assert '"credential"' not in text
    assert '"gone"' not in text
