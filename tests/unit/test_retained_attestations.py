"""Retention of signed cells that have no record of gates: signatures and attestations go with their image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kmatrix.decide.gate_record import record_tag
from kmatrix.values import labels
from kmatrix.values.errors import KmatrixError
from kmatrix.values.names import image_tag
from tests.unit.support.fake_registry import problem
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.image_registry import image_registry
from tests.unit.support.prune_bench import CLIENT, MAIN, NEW, OLD, Target


@pytest.fixture
def target() -> Iterator[Target]:
    with image_registry() as server:
        yield Target(server)


def name_of(image: str) -> str:
    return image.replace(":", "-")


def signed(target: Target, kernel: str, tag: str | None = None) -> tuple[str, set[str]]:
    """Publish a cell with a signature and two attestations and no record; returns its digest and theirs."""
    image = target.cell(kernel, tag=tag)
    there = target.server.repository(MAIN)
    there.manifests.pop(there.tags.pop(record_tag(image)))
    return image, attached(target, image)


def attached(target: Target, image: str) -> set[str]:
    """Attach a signature and two attestations to a digest; returns their digests."""
    signature = target.server.put(MAIN, f"{name_of(image)}.sig", f'{{"layers": [], "sig": "{image}"}}'.encode())
    attestations = [
        target.server.put(MAIN, "", f'{{"layers": [], "{kind}": "{image}"}}'.encode()) for kind in ("tested", "made")
    ]
    return {signature, *attestations, target.listing(name_of(image), *attestations)}


def test_a_signature_and_attestations_leave_after_their_image_and_those_of_others_stay(target: Target) -> None:
    old, gone = signed(target, OLD)
    new, kept = signed(target, NEW)
    removals = target.prune()
    assert removals[0].digest == old
    assert {each.digest for each in removals[1:]} == gone
    assert target.server.repository(MAIN).manifests.keys() == {new, *kept}
    assert target.prune() == []


@pytest.mark.parametrize("interface", [False, True])
@pytest.mark.parametrize("done", range(4))
def test_what_an_interrupted_run_left_of_a_removed_image_is_removed_by_the_next(
    target: Target, done: int, interface: bool
) -> None:
    """Nothing but the image said which kernel it was for."""
    old, gone = signed(target, OLD)
    new, kept = signed(target, NEW)
    if interface:
        there = target.server.repository(MAIN)
        target.server.referrers = {}
        for image, own in ((old, gone), (new, kept)):
            whole = there.tags.pop(name_of(image))
            there.manifests.pop(whole)
            own.discard(whole)
            signature = there.tags[f"{name_of(image)}.sig"]
            target.server.referrers |= dict.fromkeys(own - {signature}, image)
    left = [done]

    def break_off(request: Request) -> Reply | None:
        if request.method != "DELETE":
            return None
        left[0] -= 1
        return problem(400, "BROKEN") if left[0] < 0 else None

    target.server.instead = break_off
    with pytest.raises(KmatrixError):
        target.prune()
    there = target.server.repository(MAIN)
    assert done == 0 or old not in there.manifests, "the image is the first to go"
    target.server.instead = lambda _: None
    target.prune()
    assert there.manifests.keys() == {new, *kept}


def test_a_signed_image_that_another_one_replaced_leaves_with_its_kernel(target: Target) -> None:
    old, gone = signed(target, OLD, tag="")
    new, kept = signed(target, NEW, tag="")
    removals = target.prune()
    assert (removals[0].digest, removals[0].kind, removals[0].kernel) == (old, "cell", OLD)
    assert {each.digest for each in removals[1:]} == gone
    assert target.server.repository(MAIN).manifests.keys() == {new, *kept}


def test_a_signed_image_of_others_stays_with_its_signature(target: Target) -> None:
    named = {labels.CLIENT: CLIENT, labels.KERNEL: OLD}
    theirs = target.server.image(MAIN, "", {"config": {"Labels": named}})
    kept = attached(target, theirs)
    assert target.prune() == []
    assert target.server.repository(MAIN).manifests.keys() == {theirs, *kept}


def test_the_signature_of_an_attestation_does_not_make_it_an_image(target: Target) -> None:
    old, gone = signed(target, OLD)
    (inner, *_) = sorted(gone - {target.server.repository(MAIN).tags[f"{name_of(old)}.sig"]})
    target.server.put(MAIN, f"{name_of(inner)}.sig", b'{"layers": [], "sig": "of an attestation"}')
    target.prune()
    assert not gone & target.server.repository(MAIN).manifests.keys()


def test_a_digest_that_may_not_be_read_is_not_taken_for_gone(target: Target) -> None:
    signed(target, NEW)
    lost = "sha256:" + "0" * 64
    attached(target, lost)
    target.server.instead = lambda request: problem(403, "DENIED") if lost in request.path else None
    with pytest.raises(KmatrixError):
        target.prune()
    assert not target.server.sent("DELETE")
    target.server.instead = lambda _: None
    assert len(target.prune()) == 4
    assert target.tags() == {image_tag(f"{CLIENT}-{NEW}")}
