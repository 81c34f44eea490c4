"""What a result keeps of an earlier run's: what the new run did not look at stays known, with when it was last seen."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult


def keep_known(new: CellResult, old: CellResult | None, now: str, asked: bool = False) -> CellResult:
    """Return a cell's new result with what an earlier run knew of the cell and this one did not look at.

    Args:
        new: what this run came to.
        old: what was known before it.
        now: the time, UTC, ISO 8601.
        asked: whether this run asked the registry, before it built, if the cell is published from its inputs of now.
    """
    new = _dated(new, now, asked)
    if old is None:
        return new
    if new.verdict == "skipped":
        return _keep_of_published(new, old) if new.digest == old.digest else new
    merged = new
    if not new.seen and new.verdict in ("failed", "errored"):
        # The registry was not asked, or did not answer: it has what it had.
        merged = replace(new, digest=old.digest, seen=old.seen, image=new.image or (old.image if old.digest else ""))
    if new.image_id:
        same = new.image_id == old.image_id or bool(new.digest and new.digest == old.digest)
    else:
        # It did not get as far as an image: the earlier one is still there, unless the registry names another.
        same = new.verdict == "errored" and merged.digest == old.digest
    return _keep_of_tested(merged, old) if same else merged


def keep_published(new: BundleResult, old: BundleResult | None, now: str) -> BundleResult:
    """Return a bundle's new result with the published bundle that was known before, where this run published none.

    Args:
        new: what this run came to.
        old: what was known before it.
        now: the time, UTC, ISO 8601.
    """
    if new.digest:
        return replace(new, seen=now)
    if old is None or not old.digest:
        return new
    return replace(
        new,
        image=old.image,
        digest=old.digest,
        kernels=old.kernels,
        arches=old.arches,
        images=old.images,
        modules=old.modules,
        seen=old.seen,
    )


def _dated(new: CellResult, now: str, asked: bool) -> CellResult:
    # A digest in a result is always an answer of the registry's.
    if not new.seen and (new.digest or asked):
        new = replace(new, seen=now)
    return replace(new, booted_at=now) if new.booted and "boot" in new.stages else new


def _keep_of_published(new: CellResult, old: CellResult) -> CellResult:
    """What was found out when it was built is still true of what is published."""
    return replace(
        new,
        srcversion=old.srcversion,
        log=old.log,
        serial=old.serial,
        image_id=old.image_id,
        booted=new.booted or old.booted,
        booted_at=old.booted_at,
    )


def _keep_of_tested(new: CellResult, old: CellResult) -> CellResult:
    kept = replace(
        new,
        image=new.image or (old.image if new.verdict == "errored" else ""),
        image_id=new.image_id or old.image_id,
        srcversion=new.srcversion or old.srcversion,
        serial=new.serial or old.serial,
    )
    if new.booted or not old.booted or ("boot" in new.stages and new.verdict == "failed"):
        return kept
    reason = kept.reason
    if kept.verdict == "passed":
        reason += f"; an earlier run booted it{f', at {old.booted_at}' if old.booted_at else ''}"
    return replace(kept, booted=True, booted_at=old.booted_at, reason=reason)
