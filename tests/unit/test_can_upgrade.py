"""can-upgrade: the route through the graph, and what each kernel on it needs before nodes may run it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kmatrix.decide.can_upgrade import can_upgrade
from kmatrix.decide.plan import make_plan
from kmatrix.decide.update_routes import edges_of, newest_reachable, shortest_route
from kmatrix.decide.upgrade_answer import Answer, Known, Question, can_upgrade_json
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import InputError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Profile
from kmatrix.values.names import Arch, ClientVersion, Flavour, ImageRef, ReleaseVersion
from kmatrix.values.pins import KernelPin, ReleasePin, UnresolvedPin, UpdatesPin
from tests.unit.support.made_up_profile import digest, lock, profile

CLIENT = ClientVersion(8, 2, 2)
GATES = ("static", "boot")
# Two releases share a kernel, as 4.18.13 and 4.18.14 do.
FIRST, NEXT, LAST = "5.14.0-427.50.1.el9_4.x86_64", "5.14.0-427.60.1.el9_4.x86_64", "5.14.0-427.68.1.el9_4.x86_64"
RT = f"{LAST}+rt"
TEN = "6.12.0-211.28.1.el10_2.x86_64"


def version(text: str) -> ReleaseVersion:
    return ReleaseVersion.parse(text)


def pin(release: str, *kernels: str, rhel: str = "9.4", **changes: Any) -> ReleasePin:
    flavours: dict[bool, Flavour] = {True: "rt", False: "standard"}
    values: dict[str, Any] = {
        "version": version(release),
        "arch": "x86_64",
        "channels": ("stable-4.18",),
        "payload": ImageRef.parse(f"registry.example/release@{digest('1')}"),
        "toolkit": ImageRef.parse(f"registry.example/toolkit{rhel[:2].rstrip('.')}@{digest('2')}"),
        "rhel": rhel,
        "kernels": tuple(KernelPin(release=each, flavour=flavours[each.endswith("+rt")]) for each in kernels),
    }
    return ReleasePin(**{**values, **changes})


def updates(**sources: str) -> tuple[UpdatesPin, ...]:
    return tuple(
        UpdatesPin.model_validate({"to": f"4.18.{to[1:]}", "arch": "x86_64", "from": text})
        for to, text in sources.items()
    )


PINS = (pin("4.18.9", FIRST), pin("4.18.12", NEXT), pin("4.18.13", LAST, RT), pin("4.18.14", LAST, RT))


def pins(*releases: ReleasePin, **changes: Any) -> ProfileLock:
    made = {"releases": releases or PINS, "updates": updates(_12="4.18.9", _14="4.18.12"), **changes}
    return lock(profile()).model_copy(update=made)


def result(kernel: str, **changes: Any) -> CellResult:
    made = CellResult(
        cell=f"{CLIENT}-{kernel}",
        client=str(CLIENT),
        kernel=kernel,
        releases=("4.18.9",),
        verdict="passed",
        reason="loaded",
        digest=digest("a"),
        gates=dict.fromkeys(GATES, "passed"),
        seen="2026-03-31T03:17:05Z",
    )
    return replace(made, **changes)


def bundle(*kernels: str, **changes: Any) -> BundleResult:
    made = BundleResult(str(CLIENT), "registry.example/beegfs-client:8.2.2", "passed", "loaded", digest("b"))
    return replace(made, kernels=kernels or (FIRST, NEXT, LAST, RT, TEN), **changes)


def known(locked: ProfileLock | None = None, wanted: Profile | None = None, **changes: Any) -> Known:
    locked = locked or pins()
    results = [result(kernel) for kernel in (FIRST, NEXT, LAST, RT, TEN)]
    made = Known(
        profile_name="ocp",
        pins=locked,
        plan=make_plan("ocp", wanted or profile(), locked),
        results={each.cell: each for each in results},
        bundle=bundle(),
        gates=GATES,
    )
    return replace(made, **changes)


def ask(
    facts: Known,
    start: str = "4.18.9",
    end: str = "4.18.14",
    arches: tuple[Arch, ...] = ("x86_64",),
    flavours: tuple[Flavour, ...] = ("standard", "rt"),
) -> Answer:
    return can_upgrade(Question(version(start), version(end), CLIENT, arches, flavours), facts)


def why(answer: Answer, kernel: str) -> str:
    (found,) = (each for each in answer.kernels if each.kernel == kernel)
    assert not found.safe
    return found.reason


def test_every_kernel_of_every_release_on_the_route_counts_both_ends_included() -> None:
    answer = ask(known())
    assert answer.safe
    assert [(str(step.source), str(step.to)) for step in answer.routes["x86_64"]] == [
        ("4.18.9", "4.18.12"),
        ("4.18.12", "4.18.14"),
    ]
    assert {each.kernel: each.releases for each in answer.kernels} == {
        FIRST: ("4.18.9",),
        NEXT: ("4.18.12",),
        LAST: ("4.18.14",),
        RT: ("4.18.14",),
    }
    assert "seen in the registry at 2026-03-31T03:17:05Z" in answer.kernels[0].reason


@pytest.mark.parametrize("kernel", [FIRST, NEXT, LAST, RT])
def test_one_kernel_that_the_bundle_lacks_makes_the_update_unsafe(kernel: str) -> None:
    others = [each for each in (FIRST, NEXT, LAST, RT) if each != kernel]
    answer = ask(known(bundle=bundle(*others)))
    assert not answer.safe
    assert "published, but not in the bundle of client 8.2.2; run `nox -s bundle" in why(answer, kernel)
    assert [each.kernel for each in answer.kernels if each.safe] == others


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verdict": "failed", "reason": "it does not compile"}, "failed: it does not compile"),
        ({"verdict": "errored", "reason": "the engine is gone"}, "errored: the engine is gone"),
        ({"digest": ""}, "passed, but not pushed; run `nox -s push"),
        ({"gates": {"static": "passed"}}, "published, but without a pass of boot; run `nox -s build"),
        ({"gates": {"static": "passed", "boot": "errored"}}, "without a pass of boot"),
    ],
)
def test_a_kernel_needs_a_published_image_with_every_gate_passed(changes: dict[str, Any], reason: str) -> None:
    cell = result(LAST, **changes)
    facts = known()
    answer = ask(replace(facts, results={**facts.results, cell.cell: cell}))
    assert reason in why(answer, LAST)
    assert not answer.safe


def test_a_published_cell_that_a_run_skipped_is_as_good_as_one_that_it_built() -> None:
    cell = result(LAST, verdict="skipped", reason="already published")
    facts = known()
    assert ask(replace(facts, results={**facts.results, cell.cell: cell})).safe


def test_no_result_and_no_bundle_are_never_safe() -> None:
    facts = known()
    answer = ask(replace(facts, results={}))
    assert "there is no result of 8.2.2-5.14.0-427.68.1.el9_4.x86_64 here" in why(answer, LAST)
    assert "client 8.2.2: it has no published bundle; run `nox -s bundle" in why(ask(replace(facts, bundle=None)), LAST)
    failed = replace(bundle(), verdict="failed", reason="one does not load")
    assert "client 8.2.2: its last bundle failed (one does not load)" in why(ask(replace(facts, bundle=failed)), LAST)


def test_a_kernel_that_the_bundle_kept_counts_although_its_cell_is_gone() -> None:
    facts = known(bundle=bundle(kept={LAST: "its cell is not published any more"}))
    gone = {name: each for name, each in facts.results.items() if each.kernel != LAST}
    answer = ask(replace(facts, results=gone))
    assert answer.safe
    assert [each.reason for each in answer.kernels if each.kernel == LAST] == [
        "in the bundle, kept from an earlier one: its cell is not published any more"
    ]


def test_a_kernel_that_matrix_yaml_leaves_out_has_its_reason() -> None:
    wanted = profile(flavours=("standard",))
    answer = ask(known(wanted=wanted))
    assert why(answer, RT) == "not built: flavour rt is not in profiles.ocp.flavours"
    assert ask(known(wanted=wanted), flavours=("standard",)).safe


@pytest.mark.parametrize("stated", ["4.18.9", "4.18.9?"])
def test_a_direct_update_is_preferred_and_a_conditional_one_is_marked(stated: str) -> None:
    locked = pins(updates=updates(_12="4.18.9", _14=f"4.18.12 {stated}"))
    answer = ask(known(locked))
    (step,) = answer.routes["x86_64"]
    assert (str(step.to), step.conditional) == ("4.18.14", stated.endswith("?"))
    assert NEXT not in [each.kernel for each in answer.kernels]


def test_of_routes_of_equal_length_the_one_with_fewer_risks_then_the_newest_is_taken() -> None:
    edges = edges_of(updates(_10="4.18.9?", _11="4.18.9", _12="4.18.9", _14="4.18.10 4.18.11 4.18.12"), "x86_64")
    route = shortest_route(edges, version("4.18.9"), version("4.18.14"))
    assert route
    assert [str(step.to) for step in route] == ["4.18.12", "4.18.14"]
    edges = edges_of(updates(_11="4.18.9", _12="4.18.9?", _14="4.18.11 4.18.12"), "x86_64")
    route = shortest_route(edges, version("4.18.9"), version("4.18.14"))
    assert route
    assert [str(step.to) for step in route] == ["4.18.11", "4.18.14"]


def test_edges_of_another_architecture_are_not_taken() -> None:
    assert edges_of(updates(_12="4.18.9"), "aarch64") == ()


def test_without_a_route_the_nearest_release_and_the_sources_of_the_wanted_one_are_named() -> None:
    locked = pins(updates=updates(_12="4.18.9", _14="4.18.13"))
    answer = ask(known(locked))
    assert not answer.safe
    assert [each.reason for each in answer.obstacles] == [
        "the update graph has no route from 4.18.9 to 4.18.14: the nearest that can be reached from 4.18.9 is 4.18.12; "
        "4.18.14 can be reached from 4.18.13"
    ]
    edges = edges_of(locked.updates, "x86_64")
    assert newest_reachable(edges, version("4.18.13"), version("4.18.14")) is None


def test_a_lock_without_updates_says_what_to_run() -> None:
    answer = ask(known(pins(updates=())))
    assert not answer.safe
    assert "the lock has no updates of the graph; run `nox -s discover -- --profile ocp`" in answer.obstacles[0].reason


def unresolved(release: str) -> UnresolvedPin:
    return UnresolvedPin(
        version=version(release),
        arch="x86_64",
        channels=("stable-4.18",),
        payload=ImageRef.parse(f"registry.example/release@{digest('3')}"),
        obstacle="credential",
        reason="registry.example/toolkit refuses anonymous access",
        credential="registry.example/toolkit",
        since="2026-03-31",
    )


@pytest.mark.parametrize("release", ["4.18.12", "4.18.14"])
def test_an_unresolved_release_on_the_route_is_never_safe(release: str) -> None:
    left = [each for each in PINS if str(each.version) != release]
    answer = ask(known(pins(*left, unresolved=(unresolved(release),))))
    assert not answer.safe
    (obstacle,) = answer.obstacles
    assert obstacle.release == release
    assert "registry.example/toolkit refuses anonymous access" in obstacle.reason
    assert "a credential for registry.example/toolkit would resolve it" in obstacle.reason


def test_a_toolkit_of_a_dual_stream_release_that_is_unresolved_is_not_forgotten() -> None:
    assert not ask(known(pins(unresolved=(unresolved("4.18.14"),)))).safe
    assert ask(known(pins(unresolved=(unresolved("4.18.13"),)))).safe, "4.18.13 is not on the route"


def test_both_streams_of_a_release_count() -> None:
    locked = pins(*PINS, pin("4.18.14", TEN, rhel="10.2"))
    assert ask(known(locked)).safe
    answer = ask(known(locked, bundle=bundle(FIRST, NEXT, LAST, RT)))
    assert "not in the bundle" in why(answer, TEN)
    assert [each.stream for each in answer.kernels] == ["el9", "el9", "el9", "el9", "el10"]


def test_a_toolkit_that_lacks_the_nodes_kernel_blocks_unless_another_release_has_it() -> None:
    wrong = pin("4.18.14", FIRST, node_kernel=LAST)
    alone = pins(PINS[0], PINS[1], wrong)
    assert "open: no toolkit has this kernel: that of 4.18.14 has" in why(ask(known(alone)), LAST)
    served = pins(*PINS[:3], wrong)
    answer = ask(known(served))
    assert answer.safe
    assert LAST in [each.kernel for each in answer.kernels]


def test_a_toolkit_that_is_itself_not_that_of_its_nodes_serves_no_other_release() -> None:
    wrong = pin("4.18.14", FIRST, node_kernel=LAST)
    also_wrong = pin("4.18.13", LAST, node_kernel=NEXT)
    assert "open: no toolkit has this kernel: that of 4.18.14 has" in why(
        ask(known(pins(*PINS[:2], also_wrong, wrong))), LAST
    )


def test_the_real_time_kernel_of_such_a_release_is_not_known() -> None:
    wrong = pin("4.18.14", FIRST, f"{FIRST}+rt", node_kernel=LAST)
    served = known(pins(*PINS[:3], wrong))
    answer = ask(served)
    assert not answer.safe
    assert "its rt kernel (el9) is not known" in answer.obstacles[0].reason
    assert ask(served, flavours=("standard",)).safe


def test_a_flavour_that_the_first_release_has_and_a_later_one_lacks_is_not_forgotten() -> None:
    locked = pins(pin("4.18.9", FIRST, RT), pin("4.18.12", NEXT), pin("4.18.14", LAST, RT))
    answer = ask(known(locked))
    assert not answer.safe
    assert [(each.release, each.reason) for each in answer.obstacles] == [
        ("4.18.12", "its toolkit has no rt kernel, but 4.18.9 has one")
    ]
    assert ask(known(locked), flavours=("standard",)).safe


def test_a_release_on_the_route_without_pins_is_not_forgotten() -> None:
    answer = ask(known(pins(PINS[0], PINS[3])))
    assert not answer.safe
    assert [(each.release, each.reason) for each in answer.obstacles] == [
        ("4.18.12", "the lock does not have its kernels; run `nox -s discover -- --profile ocp`")
    ]


@pytest.mark.parametrize(
    ("start", "end", "says", "hint"),
    [
        ("4.18.8", "4.18.14", "--from 4.18.8: the lock of profile ocp has no such release for x86_64", "4.18.9"),
        ("4.18.9", "4.18.20", "--to 4.18.20: the lock of profile ocp has no such release for x86_64", "discover"),
        ("4.18.14", "4.18.9", "--to 4.18.9 is not newer than --from 4.18.14", "Exchange"),
        ("4.18.9", "4.18.9", "--to 4.18.9 is not newer than --from 4.18.9", "Exchange"),
    ],
)
def test_releases_that_the_lock_lacks_or_that_lead_backwards_are_usage_errors(
    start: str, end: str, says: str, hint: str
) -> None:
    with pytest.raises(InputError, match=says) as raised:
        ask(known(), start, end)
    assert hint in raised.value.hint


def test_a_release_that_the_lock_has_for_another_architecture_alone_is_unknown() -> None:
    with pytest.raises(InputError, match="has no such release for aarch64"):
        ask(known(), arches=("x86_64", "aarch64"))


def test_the_json_has_the_route_every_kernel_and_the_bundle() -> None:
    facts = known(bundle=bundle(FIRST, NEXT, LAST, seen="2026-03-31T03:17:05Z"))
    data = can_upgrade_json(ask(facts), facts)
    assert (data["schema"], data["from"], data["to"], data["client"]) == (1, "4.18.9", "4.18.14", "8.2.2")
    assert data["safe"] is False
    assert (data["arches"], data["flavours"]) == (["x86_64"], ["standard", "rt"])
    assert data["routes"][0]["updates"][0] == {"from": "4.18.9", "to": "4.18.12", "conditional": False}
    assert {each["kernel"]: each["safe"] for each in data["kernels"]} == {
        FIRST: True,
        NEXT: True,
        LAST: True,
        RT: False,
    }
    assert data["bundle"] == {
        "image": "registry.example/beegfs-client:8.2.2",
        "digest": digest("b"),
        "seen": "2026-03-31T03:17:05Z",
    }


def test_no_kernel_of_the_flavours_asked_for_is_no_safe_answer() -> None:
    answer = ask(known(), flavours=("64k",))
    assert answer.kernels == ()
    assert not answer.safe
