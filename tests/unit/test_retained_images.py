"""Retention: images of kernels without a release leave with their records, and nothing that is needed does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kmatrix.decide.gate_record import record_tag
from kmatrix.decide.prunable_kernels import KernelAges, OtherProfile, kernel_ages, same_target
from kmatrix.decide.prune import Pruning
from kmatrix.effects.registry.remover import RegistryRemover
from kmatrix.stages.prune import pruning_json
from kmatrix.values import labels
from kmatrix.values.errors import KmatrixError, NotReadableError, ToolError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import ImageRef, ReleaseVersion
from kmatrix.values.pins import KernelPin, ReleasePin, RetiredPin, UnresolvedPin
from tests.unit.support.fake_registry import digest, problem
from tests.unit.support.http_server import RESET, Reply, Request
from tests.unit.support.image_registry import image_registry
from tests.unit.support.made_up_profile import lock, profile
from tests.unit.support.prune_bench import (
    AGES,
    CLIENT,
    MAIN,
    NEW,
    NEW_ARM,
    OLD,
    OLD_ARM,
    OTHER,
    SINCE,
    Target,
)

RT = "5.14.0-96.1.el9_4.x86_64+rt"


@pytest.fixture
def target() -> Iterator[Target]:
    with image_registry() as server:
        yield Target(server)


def reasons(prunings: tuple[Pruning, ...]) -> dict[str, str]:
    """Return why each tag stays that is not a record's."""
    return {stay.tag: stay.reason for each in prunings for stay in each.stays if stay.kind != "record"}


def test_cells_of_a_retired_kernel_leave_with_their_records_and_all_others_stay(target: Target) -> None:
    old = [target.cell(OLD), target.cell(OLD, OTHER)]
    new = [target.cell(NEW), target.cell(NEW, OTHER)]
    removals = target.prune()
    assert target.tags() == {f"{CLIENT}-{NEW}", f"{OTHER}-{NEW}"}
    assert target.records == {record_tag(image) for image in new}
    assert {each.digest for each in removals if each.kind == "cell"} == {*old}
    assert [each.kind for each in removals] == ["cell", "cell", "record", "record"], "a record goes after its image"
    (first,) = [each for each in removals if each.client == CLIENT]
    assert (first.kernel, first.since, first.tags) == (OLD, SINCE, (f"{CLIENT}-{OLD}",))
    assert first.reason == f"the last release with {OLD} left its channels on {SINCE}"
    assert target.prune() == []


def test_a_kernel_that_nobody_retired_stays_with_the_reason(target: Target) -> None:
    target.cell(NEW)
    target.cell("5.14.0-1.el9_4.x86_64")
    assert reasons(target.decide()) == {
        f"{CLIENT}-{NEW}": "release 4.96.2 has it",
        f"{CLIENT}-5.14.0-1.el9_4.x86_64": "the lock neither has this kernel nor says why it left",
    }
    assert target.prune() == []


@pytest.mark.parametrize("page", [1, 3])
def test_every_page_of_tags_counts(target: Target, page: int) -> None:
    for kernel in (OLD, NEW, "5.14.0-1.el9_4.x86_64"):
        target.cell(kernel)
        target.cell(kernel, OTHER)
    target.server.page = page
    target.prune()
    assert not [tag for tag in target.tags() if OLD in tag]
    assert len(target.tags()) == 4


def test_a_cell_of_a_bundle_stays_until_the_bundle_is_without_its_kernel(target: Target) -> None:
    old = target.cell(OLD)
    target.cell(OLD, OTHER)
    target.bundle(OLD, NEW)
    target.by_kernel(old, OLD)
    found = reasons(target.decide())
    assert found == {CLIENT: "bundles stay", f"{CLIENT}-{OLD}": f"bundle {CLIENT} has its kernel", OLD: found[OLD]}
    assert found[OLD] == f"bundle {CLIENT} has its kernel"
    target.prune()
    assert target.tags() == {CLIENT, f"{CLIENT}-{OLD}"}, "the other client's bundle has it not"
    target.bundle(NEW)
    target.prune()
    assert target.tags() == {CLIENT}
    assert target.tags(f"{MAIN}-{CLIENT}") == set()


def test_an_image_whose_module_or_digest_a_bundle_names_stays(target: Target) -> None:
    """Such as a bundle whose label was lost on the way: its layers and its history still say what it needs."""
    old, other = target.cell(OLD), target.cell(OLD, OTHER)
    target.bundle(NEW, origins=[other])
    target.server.image(
        MAIN, "also", {"config": {"Labels": {labels.KERNELS: "x"}}}, (f"module {CLIENT}-{OLD}".encode(),)
    )
    found = reasons(target.decide())
    assert found[f"{CLIENT}-{OLD}"] == "bundle also has its module"
    assert found[f"{OTHER}-{OLD}"] == f"bundle {CLIENT} has its module"
    target.prune()
    assert {old, other} <= set(target.server.repository(MAIN).manifests)


def test_a_digest_that_a_tag_which_stays_names_is_not_deleted(target: Target) -> None:
    """A delete takes all tags of a digest with it."""
    old = target.cell(OLD)
    target.server.repository(MAIN).tags["keep-this"] = old
    other = target.cell(OLD, OTHER)
    target.listing("a-list", other)
    found = reasons(target.decide())
    assert found["keep-this"] == found["a-list"] == "not this project's"
    assert found[f"{CLIENT}-{OLD}"] == "tag keep-this names the same image"
    assert found[f"{OTHER}-{OLD}"] == "tag a-list names the same image"
    assert target.prune() == []
    assert len(target.records) == 2


def test_an_image_that_is_itself_attached_to_another_one_stays(target: Target) -> None:
    old, new = target.cell(OLD), target.cell(NEW)
    target.server.repository(MAIN).tags[f"{new.replace(':', '-')}.sbom"] = old
    assert target.prune() == []
    assert f"{CLIENT}-{OLD}" in target.tags()
    assert record_tag(old) in target.records


def test_what_manifests_of_this_checkout_name_stays(target: Target) -> None:
    old = target.cell(OLD)
    found = target.decide(named={old: "bundles.json"})
    assert reasons(found) == {f"{CLIENT}-{OLD}": "bundles.json"}
    assert target.prune(named={old: "bundles.json"}) == []


def test_tags_of_others_are_never_touched(target: Target) -> None:
    derived = {labels.CLIENT: CLIENT, labels.KERNEL: OLD, labels.ARCH: "x86_64"}
    target.server.image(MAIN, "debug", {"config": {"Labels": derived}})
    target.server.image(MAIN, f"{CLIENT}-{OLD}", {"config": {"Labels": {}}})
    target.server.put(MAIN, "chart", json.dumps({"config": {"mediaType": "x/y"}, "layers": []}).encode())
    target.server.put(MAIN, "old-form", b'{"schemaVersion": 1, "fsLayers": []}')
    target.server.repository(MAIN).tags["names-nothing"] = digest(b"absent")
    target.server.repository(MAIN).tags["sha256-" + "0" * 64 + ".other"] = digest(b"absent")
    prunings = target.decide()
    assert set(reasons(prunings).values()) == {"not this project's"}
    assert len(prunings[-1].unknown) == 6
    assert target.prune() == []


@pytest.mark.parametrize("client", ["Some Thing", "8.98.1/x", "8.98.1:x", "x", "8.98"])
def test_a_label_of_others_that_is_no_client_names_no_repository(target: Target, client: str) -> None:
    target.cell(OLD)
    target.cell(OLD, client, tag="theirs")
    target.prune()
    assert target.tags() == {"theirs"}
    asked = {request.partition("/tags/list")[0] for request in target.server.sent("GET") if "/tags/" in request}
    assert asked <= {f"GET {MAIN}", f"GET {MAIN}-{CLIENT}", f"GET {MAIN}-{OTHER}"}


def test_images_for_all_architectures_leave_before_the_cells_that_they_list(target: Target) -> None:
    own = [target.cell(OLD), target.cell(OLD_ARM, arch="aarch64")]
    whole = target.module_image(*own)
    target.record(whole, CLIENT)
    removals = target.prune()
    assert [each.kind for each in removals[:3]] == ["module image", "cell", "cell"]
    assert (removals[0].digest, removals[0].tags) == (whole, (f"{CLIENT}-5.14.0-96.1.el9_4",))
    assert (target.tags(), target.records, target.server.repository(MAIN).manifests) == (set(), set(), {})


def test_one_architecture_that_stays_keeps_the_image_for_all_and_what_it_lists(target: Target) -> None:
    old, arm = target.cell(OLD), target.cell(OLD_ARM, arch="aarch64")
    target.module_image(old, arm)
    ages = KernelAges({("x86_64", OLD): SINCE}, {("aarch64", OLD_ARM): "release 4.96.9 has it"})
    found = reasons(target.decide(ages))
    assert found[f"{CLIENT}-5.14.0-96.1.el9_4"] == "release 4.96.9 has it"
    assert found[f"{CLIENT}-{OLD}"] == f"tag {CLIENT}-5.14.0-96.1.el9_4 names the same image"
    assert target.prune(ages) == []


def test_an_image_that_stands_in_for_another_architecture_is_not_removed_with_it(target: Target) -> None:
    """An image for all architectures lists the newest kernel's cell of an architecture that lacks the kernel."""
    old, newest = target.cell(OLD), target.cell(NEW_ARM, arch="aarch64")
    target.module_image(old, newest)
    target.prune()
    assert target.tags() == {f"{CLIENT}-{NEW_ARM}"}
    assert record_tag(newest) in target.records


def test_a_rebuilt_cell_that_only_a_removed_list_named_leaves_too(target: Target) -> None:
    first = target.cell(OLD, tag="")
    arm = target.cell(OLD_ARM, arch="aarch64")
    target.module_image(first, arm)
    target.server.image(MAIN, f"{CLIENT}-{OLD}", {"other": True})
    del target.server.repository(MAIN).tags[f"{CLIENT}-{OLD}"]
    target.prune()
    assert first not in target.server.repository(MAIN).manifests
    assert (target.tags(), target.records) == (set(), set())


def test_a_tag_for_all_architectures_of_one_is_the_cells_own_image(target: Target) -> None:
    old = target.cell(OLD)
    target.module_image(old)
    (removal, _) = target.prune()
    assert (removal.digest, set(removal.tags)) == (old, {f"{CLIENT}-{OLD}", f"{CLIENT}-5.14.0-96.1.el9_4"})
    assert target.tags() == set()


def test_images_by_kernel_leave_before_the_cells_repository_forgets_them(target: Target) -> None:
    old, new, real_time = target.cell(OLD), target.cell(NEW), target.cell(RT)
    for image, kernel in ((old, OLD), (new, NEW), (real_time, RT)):
        target.by_kernel(image, kernel)
    target.server.image(f"{MAIN}-{CLIENT}", "latest", {"config": {"Labels": {}}})
    ages = KernelAges({**AGES.removable, ("x86_64", RT): SINCE}, AGES.kept)
    removals = target.prune(ages)
    assert [each.kind for each in removals[:2]] == ["kernel tag", "kernel tag"]
    assert {tag for each in removals[:2] for tag in each.tags} == {OLD, RT.replace("+", "_")}
    assert target.tags(f"{MAIN}-{CLIENT}") == {NEW, "latest"}
    assert target.tags() == {f"{CLIENT}-{NEW}"}


def test_signatures_and_referrers_leave_with_their_image_and_the_record_of_gates_last(target: Target) -> None:
    old, new = target.cell(OLD), target.cell(NEW)
    there = target.server.repository(MAIN)
    for image in (old, new):
        name = image.replace(":", "-")
        for suffix in (".sig", ".att", ".sbom"):
            target.server.put(MAIN, f"{name}{suffix}", f'{{"layers": [], "of": "{image}{suffix}"}}'.encode())
        inner = target.server.put(MAIN, "", f'{{"layers": [], "inner": "{image}"}}'.encode())
        target.listing(name, inner)
    referrer = target.server.put(MAIN, "", b'{"layers": [], "subject": "old"}')
    kept = target.server.put(MAIN, "", b'{"layers": [], "subject": "new"}')
    target.server.referrers = {referrer: old, kept: new}
    before = len(there.manifests)
    removals = target.prune()
    assert removals[0].digest == old
    assert removals[-1].tags == (record_tag(old),)
    assert referrer in {each.digest for each in removals}
    assert before - len(there.manifests) == len(removals) == 8
    assert {tag.partition(".")[0] for tag in target.records} == {new.replace(":", "-")}
    assert kept in there.manifests
    assert len(target.records) == 5


@pytest.mark.parametrize("way", ["referrer", "fallback", "tag"])
def test_an_image_that_is_attached_to_a_removed_one_is_not_removed_as_its_document(target: Target, way: str) -> None:
    """Here a cell that stays by its kernel: it has no tag, and a list that is removed names it."""
    old, new = target.cell(OLD), target.cell(NEW_ARM, arch="aarch64", tag="")
    target.module_image(old, new)
    tag = old.replace(":", "-")
    if way == "referrer":
        target.server.referrers = {new: old}
    elif way == "fallback":
        target.listing(tag, new)
    else:
        target.server.repository(MAIN).tags[tag] = new
    target.prune()
    there = target.server.repository(MAIN).manifests
    assert (old in there, new in there) == (False, True)


def test_a_document_that_two_images_share_stays_with_the_one_that_stays(target: Target) -> None:
    old, new = target.cell(OLD), target.cell(NEW)
    for image in (old, new):
        target.server.put(MAIN, f"{image.replace(':', '-')}.sbom", b'{"layers": [], "same": true}')
    target.prune()
    assert f"{new.replace(':', '-')}.sbom" in target.records
    assert target.tags() == {f"{CLIENT}-{NEW}"}


@pytest.mark.parametrize("after", range(1, 6))
def test_an_interrupted_run_is_finished_by_the_next(target: Target, after: int) -> None:
    old = target.cell(OLD)
    target.by_kernel(old, OLD)
    target.server.put(MAIN, f"{old.replace(':', '-')}.sig", b'{"layers": [], "sig": 1}')
    new = target.cell(NEW)
    left = [after]

    def break_off(request: Request) -> Reply | None:
        if request.method != "DELETE":
            return None
        left[0] -= 1
        return problem(400, "BROKEN") if left[0] == 0 else None

    target.server.instead = break_off
    if after <= 4:
        with pytest.raises(KmatrixError):
            target.prune()
    own = target.server.repository(MAIN).tags
    assert f"{CLIENT}-{OLD}" not in own or record_tag(old) in own, "no published image without its record"
    target.server.instead = lambda _: None
    target.prune()
    assert (target.tags(), target.records) == ({f"{CLIENT}-{NEW}"}, {record_tag(new)})
    assert target.tags(f"{MAIN}-{CLIENT}") == set()


def test_a_record_without_an_image_stays_unless_it_names_a_cell_that_may_be_removed(target: Target) -> None:
    for name in (f"{CLIENT}-{NEW}", CLIENT, f"x-{OLD}"):
        target.record(digest(name.encode()), name)
    lost = digest(b"lost")
    target.record(lost, f"{CLIENT}-{OLD}")
    target.prune()
    assert len(target.records) == 3
    assert record_tag(lost) not in target.records


HTML = Reply(200, b"<html>")
PARTS = ("tags", "manifests", "blobs", "referrers", f"{MAIN}-{CLIENT}")
# Registries without a list of referrers answer with a page; signatures are then found by their tags.
UNREAD = [
    (part, reply)
    for part in PARTS
    for reply in (Reply(500), HTML, problem(403, "DENIED"), RESET)
    if (part, reply) != ("referrers", HTML)
]


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(("part", "reply"), UNREAD)
def test_nothing_is_removed_unless_everything_was_read(target: Target, part: str, reply: Reply) -> None:
    target.cell(OLD)
    target.cell(NEW)
    target.server.instead = lambda request: reply if f"/{part}" in request.path else None
    with pytest.raises(KmatrixError) as caught:
        target.prune()
    assert caught.value.hint
    assert not target.server.sent("DELETE")
    assert len(target.tags()) == 2


def test_a_repository_of_images_by_kernel_that_is_not_there_or_not_readable_holds_nothing_else(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quay answers alike for both (endpoints/v2/__init__.py, _require_repo_permission)."""
    target.cell(OLD)
    plain = RegistryRemover.tags

    def tags(remover: RegistryRemover, ref: ImageRef) -> tuple[str, ...]:
        if ref.path != MAIN:
            raise NotReadableError(f"{ref.repository} does not exist, or may not be read", "…")
        return plain(remover, ref)

    monkeypatch.setattr(RegistryRemover, "tags", tags)
    target.prune()
    assert target.tags() == set()
    assert f"images by kernel of client {CLIENT} stay" in "".join(target.said)


def test_a_registry_that_deletes_nothing_ends_at_its_first_answer(target: Target) -> None:
    target.cell(OLD)
    target.cell(OLD, OTHER)
    target.server.deletes = False
    with pytest.raises(ToolError, match="deletes no images"):
        target.prune()
    assert len(target.server.sent("DELETE")) == 1
    assert len(target.tags()) == 2


def test_a_target_without_a_repository_has_nothing_to_remove(target: Target) -> None:
    assert target.prune() == []


def test_the_decision_is_readable_by_machines(target: Target) -> None:
    old = target.cell(OLD)
    target.cell(NEW)
    prunings = target.decide()
    found = pruning_json(prunings, {"profile": "ocp"}, prunings[-1].removals[:1])
    assert json.loads(json.dumps(found)) == found
    assert (found["schema"], found["profile"]) == (1, "ocp")
    assert found["removals"][0] == {
        "repository": f"{target.server.web.address}/{MAIN}",
        "digest": old,
        "tags": [f"{CLIENT}-{OLD}"],
        "kind": "cell",
        "reason": f"the last release with {OLD} left its channels on {SINCE}",
        "client": CLIENT,
        "kernel": OLD,
        "since": SINCE,
        "removed": True,
    }
    assert [each["removed"] for each in found["removals"]] == [True, False]
    assert {each["tag"] for each in found["stays"] if each["kind"] == "cell"} == {f"{CLIENT}-{NEW}"}


def pins(**changes: Any) -> ProfileLock:
    made = lock(profile())
    (release,) = [pin for pin in made.releases if str(pin.version) == "4.16.3"]
    kept = release.model_copy(update={"kernels": (KernelPin(release=NEW, flavour="standard"),)})
    gone = [RetiredPin(kernel=OLD, arch="x86_64", reason="left", since=SINCE)]
    return made.model_copy(update={"releases": (kept,), "retired": tuple(gone), **changes})


def unresolved(gone: str | None = None, version: str = "4.16.4") -> UnresolvedPin:
    return UnresolvedPin(
        version=ReleaseVersion.parse(version),
        arch="x86_64",
        channels=("stable-4.16",),
        payload=ImageRef.parse(f"registry.example/release@{digest(b'4')}"),
        obstacle="malformed",
        reason="no references",
        since=SINCE,
        gone=gone,
    )


def test_a_retired_kernel_may_be_removed_once_it_is_older_than_the_profile_says() -> None:
    assert kernel_ages(pins(), (), 30, "2026-02-01").removable == {("x86_64", OLD): SINCE}
    young = kernel_ages(pins(), (), 31, "2026-02-01")
    assert young.removable == {}
    assert young.why_kept(("x86_64", OLD)) == f"its last release left on {SINCE}, not longer than 31 days ago"
    assert young.why_kept(("x86_64", NEW)) == "release 4.16.3 has it"
    unknown = RetiredPin(kernel=OLD, arch="x86_64", reason="left")
    assert kernel_ages(pins(retired=(unknown,)), (), 1, "2027-01-01").removable == {}


def with_pin(**changes: Any) -> tuple[ReleasePin, ...]:
    return (*pins().releases, pins().releases[0].model_copy(update=changes))


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ({"releases": with_pin(kernels=(KernelPin(release=OLD, flavour="standard"),), gone="2020-01-01")}, None),
        ({"releases": with_pin(node_kernel=OLD)}, None),
        ({"unresolved": (unresolved(),)}, None),
        ({}, {"releases": with_pin(kernels=(KernelPin(release=OLD, flavour="standard"),))}),
        ({}, {"unresolved": (unresolved(),)}),
    ],
)
def test_a_kernel_that_a_release_has_or_may_have_is_never_removed(
    mine: dict[str, Any], other: dict[str, Any] | None
) -> None:
    others = () if other is None else (OtherProfile("two", pins(retired=(), **other), 1),)
    found = kernel_ages(pins(**mine), others, 1, "2027-01-01")
    assert found.removable == {}
    assert "release 4.16." in found.why_kept(("x86_64", OLD))


@pytest.mark.parametrize("pin", [unresolved("2026-01-01"), unresolved(version="4.16.3")])
def test_an_unresolved_release_holds_its_kernels_until_it_is_gone_for_long_enough(pin: UnresolvedPin) -> None:
    """Also one with earlier pins: those are of another payload, or lack a toolkit that could not be read."""
    gone = (RetiredPin(kernel=OLD, arch="x86_64", reason="left", since="2025-01-01"),)
    for mine, other in ((pin,), ()), ((), (pin,)):
        others = (OtherProfile("two", pins(retired=(), unresolved=other), 20),)
        found = kernel_ages(pins(retired=gone, unresolved=mine), others, 20, "2026-01-21")
        assert found.removable == {}
        assert "is unresolved, and might have it" in found.why_kept(("x86_64", OLD))
        later = kernel_ages(pins(retired=gone, unresolved=mine), others, 20, "2026-01-22")
        assert bool(later.removable) is bool(pin.gone)


@pytest.mark.parametrize("kernel", [f"{OLD}+rt", "4.18.0-305.rt7.72.el8.x86_64", "6.1.0-56-rt-amd64"])
def test_a_release_whose_toolkit_is_not_that_of_its_nodes_may_have_any_kernel_of_another_flavour(kernel: str) -> None:
    """Its OS image states the standard kernel alone."""
    gone = (RetiredPin(kernel=kernel, arch="x86_64", reason="left", since=SINCE),)
    found = kernel_ages(
        pins(releases=with_pin(node_kernel="5.14.0-96.9.el9_4.x86_64"), retired=gone), (), 1, "2027-01-01"
    )
    assert found.removable == {}
    assert found.why_kept(("x86_64", kernel)) == "the real-time and 64k kernels of release 4.16.3 are not known"
    assert kernel_ages(pins(retired=gone), (), 1, "2027-01-01").removable == {("x86_64", kernel): SINCE}


@pytest.mark.parametrize(
    ("days", "since", "why"),
    [
        (None, "2020-01-01", "profile two keeps every image"),
        (400, SINCE, f"for profile two its last release left on {SINCE}, not longer than 400 days ago"),
        (1, None, "profile two does not say since when it is retired; the next discovery notes it"),
        (1, SINCE, ""),
    ],
)
def test_the_profile_that_keeps_images_the_longest_counts(days: int | None, since: str | None, why: str) -> None:
    other = pins(retired=(RetiredPin(kernel=OLD, arch="x86_64", reason="left", since=since),))
    found = kernel_ages(pins(), (OtherProfile("two", other, days),), 1, "2026-06-01")
    assert found.why_kept(("x86_64", OLD)) == why
    assert bool(found.removable) is (not why)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("quay.io/team", "quay.io/team", True),
        ("docker.io/team", "index.docker.io/team", True),
        ("quay.io/team", "quay.io/teams", False),
        ("quay.io/team", "quay.io/team/more", False),
        ("quay.io/team", "quay.example/team", False),
    ],
)
def test_a_target_by_another_name_of_its_registry_is_the_same(one: str, other: str, same: bool) -> None:
    assert same_target(one, other) is same
