"""Merges a new result with an earlier one: facts that the new run did not examine stay known, with their times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kmatrix.values.attestation import KINDS
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult, Verdict


def keep_known(new: CellResult, old: CellResult | None, now: str, asked: bool = False) -> CellResult:
    """Return a cell's new result with the facts of an earlier one that this run did not examine.

    Args:
        new: the result of this run.
        old: the result that was known before it.
        now: the time, UTC, ISO 8601.
        asked: whether the registry reported to this run, before it built, that no image of the cell's present inputs is
            published.
    """
    # A digest in a result is always an answer of the registry's.
    if not new.seen and (new.digest or asked):
        new = replace(new, seen=now)
    if old is None:
        return new
    merged = _merged(new, old)
    return _keep_of_digest(merged, old) if merged.digest == old.digest else merged


def keep_published(new: BundleResult, old: BundleResult | None, now: str) -> BundleResult:
    """Return a bundle's new result with the published bundle that was known before, where this run published none.

    Args:
        new: the result of this run.
        old: the result that was known before it.
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


def _merged(new: CellResult, old: CellResult) -> CellResult:
    if new.verdict == "skipped":
        return _keep_of_published(new, old) if new.digest == old.digest else new
    merged = new
    if not new.seen and new.verdict in ("failed", "errored"):
        # The registry was not queried, or did not answer: its content is as it was.
        merged = replace(new, digest=old.digest, seen=old.seen, image=new.image or (old.image if old.digest else ""))
    if new.image_id:
        same = new.image_id == old.image_id or bool(new.digest and new.digest == old.digest)
    else:
        # No image was built: the earlier one is still there, unless the registry names another.
        same = new.verdict == "errored" and merged.digest == old.digest
    return _keep_of_tested(merged, old) if same else merged


def _keep_of_digest(new: CellResult, old: CellResult) -> CellResult:
    """Keep the facts about what the registry has under a digest, whichever image the new run tested."""
    kinds = {*new.attestations, *old.attestations}
    return replace(
        new,
        pushed=new.pushed or old.pushed,
        signed=old.signed if new.signed is None else new.signed,
        attestations=tuple(name for name in KINDS.values() if name in kinds),
    )


def _keep_of_published(new: CellResult, old: CellResult) -> CellResult:
    """Keep the facts from when the image was built: it is still the published one."""
    return replace(
        _keep_of_module(new, old),
        srcversion=old.srcversion,
        vmlinuz=old.vmlinuz,
        log=old.log,
        serial=old.serial,
        image_id=old.image_id,
        stages=new.stages or old.stages,
        gates={**old.gates, **new.gates},
        gates_at=_latest(new, old),
    )


def _keep_of_tested(new: CellResult, old: CellResult) -> CellResult:
    """Keep the facts about an image that both runs tested, and the gates that it passed before.

    A gate that the image fails now is failed; one that reached no verdict is no failure.
    """
    kept = replace(
        _keep_of_module(new, old),
        image=new.image or (old.image if new.verdict == "errored" else ""),
        image_id=new.image_id or old.image_id,
        srcversion=new.srcversion or old.srcversion,
        serial=new.serial or old.serial,
        vmlinuz=new.vmlinuz or old.vmlinuz,
    )
    passed = [name for name, verdict in old.gates.items() if verdict == "passed"]
    earlier = [name for name in passed if new.gates.get(name, "errored") == "errored"]
    if not earlier:
        return kept
    gates: dict[str, Verdict] = {**new.gates, **dict.fromkeys(earlier, "passed")}
    reason = kept.reason
    if kept.verdict == "passed":
        reason += "".join(f"; an earlier run passed gate {name}{_at(old, name)}" for name in earlier)
    ordered = {name: gates[name] for name in (*old.gates, *gates) if name in gates}
    return replace(kept, gates=ordered, gates_at=_latest(new, old, earlier), reason=reason)


def _keep_of_module(new: CellResult, old: CellResult) -> CellResult:
    """Keep the facts about the module of an image that both runs know: a record or a gate may not have had them."""
    found = (*new.warnings, *new.findings)
    return replace(
        new,
        features=old.features if new.features is None else new.features,
        abi=new.abi or old.abi,
        labels=new.labels or old.labels,
        depends=old.depends if new.depends is None else new.depends,
        symbols=old.symbols if new.symbols is None else new.symbols,
        namespaces=old.namespaces if new.namespaces is None else new.namespaces,
        reusable_from=old.reusable_from if new.reusable_from is None else new.reusable_from,
        warnings=(*new.warnings, *(warning for warning in old.warnings if warning not in found)),
    )


def _at(old: CellResult, name: str) -> str:
    return f", at {old.gates_at[name]}" if name in old.gates_at else ""


def _latest(new: CellResult, old: CellResult, of_old: Iterable[str] | None = None) -> dict[str, str]:
    """Return when each gate was last passed; of the old times only those of the gates named."""
    times = {name: at for name, at in old.gates_at.items() if of_old is None or name in of_old}
    return {**times, **{name: max(at, times.get(name, "")) for name, at in new.gates_at.items()}}
