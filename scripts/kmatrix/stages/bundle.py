"""bundle: compose a client's published cells in the registry, boot each kernel, and tag the bundle only then."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from kmatrix.decide.bundle import Composed, Wanted, compose, manifest_list
from kmatrix.effects.clock import utc_now
from kmatrix.effects.registry.client import Manifest
from kmatrix.stages.bundle_boots import boot_bundle, put_untagged
from kmatrix.stages.bundle_kept import keep_kernels
from kmatrix.stages.bundle_record import is_recorded, record_boots, without_record
from kmatrix.stages.gate_records import OTHER_WRITER
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.image_signing import complete_signatures, instances
from kmatrix.stages.module_images import choose_modules, put_modules, with_modules
from kmatrix.stages.publish import IMAGE
from kmatrix.stages.run_context import RunContext, reason_of
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.cells import Cell, Finding, Verdict
from kmatrix.values.errors import InterruptedRunError, KmatrixError, ProtocolError
from kmatrix.values.gate_record import TestedKernel
from kmatrix.values.matrix import mirrored
from kmatrix.values.names import Arch, ImageRef


def make_bundle(run: RunContext, wanted: Wanted) -> BundleResult:
    """Bring one client's bundle to its verdict; a failure of one bundle touches no other.

    Raises:
        InterruptedRunError, KeyboardInterrupt: the run was told to stop; the bundle has no verdict then.
    """
    wanted = replace(wanted, profile_name=run.options.profile_name, places=run.options.places)
    ref = ImageRef.parse(f"{run.options.target}/{IMAGE}:{wanted.client}")
    earlier = tuple(image.cell.id for image in wanted.images if not image.current)
    blank = BundleResult(str(wanted.client), str(ref), "errored", "", earlier=earlier)
    blank = replace(blank, missing=wanted.missing, lacking=dict(wanted.lacking))
    if len(earlier) == len(wanted.images):
        count = len(wanted.missing) + len(earlier) + len(wanted.unread) + len(wanted.lacking)
        reason = f"none of its {count} cells is published with its current inputs and every gate passed"
        reason += f"; run {wanted.next('build')}"
        return _with_unread(replace(blank, reason=reason), wanted)
    try:
        return _with_unread(_make(run, wanted, ref, blank), wanted)
    except InterruptedRunError:
        raise
    except Exception as error:
        return _with_unread(replace(blank, reason=reason_of(run, error)), wanted)


def _make(run: RunContext, wanted: Wanted, ref: ImageRef, blank: BundleResult) -> BundleResult:
    say = run.progress.say
    there = run.registry.named(ref)
    recorded = there is not None and is_recorded(run.records, ref, wanted.client, there.digest)
    bounded = keep_kernels(run.registry, run.records, ref, wanted, there, gates_of_profile(run.options.profile), say)
    faults = tuple(
        Finding("published-cells", "cell-gates-missing", f"{cell}: {why}") for cell, why in bounded.lacking.items()
    )
    wanted = bounded.wanted
    blank = replace(blank, missing=wanted.missing, lacking=dict(wanted.lacking))
    if bounded.held:
        kernels = ", ".join(bounded.held)
        reason = f"{ref} stays as it is: no record shows every gate passed by its modules for {kernels}"
        return _with_lacking(replace(blank, reason=reason), faults)
    if there is not None and not recorded and bounded.kept:
        raise without_record(wanted, ref, there.digest, tuple(bounded.kept))
    blank = replace(blank, dropped=bounded.dropped, kept=bounded.kept)
    return _with_lacking(_publish(run, wanted, ref, blank, there.digest if there and recorded else ""), faults)


def _publish(run: RunContext, wanted: Wanted, ref: ImageRef, blank: BundleResult, recorded: str) -> BundleResult:
    """Boot the bundle and publish it, unless `recorded`, the digest of the published one that was booted, is its."""
    say, began = run.progress.say, utc_now()
    composed = [compose(wanted.client, wanted.of(arch), wanted.profile_name) for arch in wanted.arches]
    complete = manifest_list(composed)
    chosen = choose_modules(run, wanted, ref)
    result = replace(
        blank,
        kernels=tuple(kernel for each in composed for kernel in each.kernels),
        arches=tuple(wanted.arches),
        images=tuple(_measured(run, wanted, each) for each in composed),
        findings=(chosen,) if isinstance(chosen, Finding) else (),
    )
    if recorded == complete.digest:
        modules = put_modules(run, wanted, chosen)
        signed = complete_signatures(run, ref, recorded, lambda: instances(complete))
        reason = "already published, of the same cells" + (f"; now signed with {run.trust.named}" if signed else "")
        return with_modules(replace(result, verdict="skipped", reason=reason, digest=recorded), modules)
    kernels: dict[Arch, tuple[TestedKernel, ...]] = {}
    for each in composed:
        boots = boot_bundle(run, wanted, each, ref)
        kernels[each.arch] = boots.kernels
        if findings := boots.findings:
            others = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            reason = f"{findings[0].code}: {findings[0].message}{others}; not published"
            verdict: Verdict = "errored" if boots.errored else "failed"
            return replace(result, verdict=verdict, reason=reason, findings=(*findings, *result.findings))
    say(f"{wanted.client}: push")
    for each in composed:
        # Boots take time, and a registry may delete manifests without a tag meanwhile.
        put_untagged(run, ref, each)
    modules = put_modules(run, wanted, chosen)
    record_boots(run, ref, wanted, composed, kernels, began)
    digest = run.registry.put_manifest(ref, complete.content, complete.media_type)
    if run.registry.digest_of(ref) != digest:
        raise ProtocolError(
            f"{ref}: the registry has another digest there than the tested one, {digest}",
            OTHER_WRITER,
        )
    return with_modules(replace(result, verdict="passed", reason=_loaded(wanted), digest=digest), modules)


def _loaded(wanted: Wanted) -> str:
    booted = sum(image.bootable for image in wanted.images)
    rest = len(wanted.images) - booted
    every = "each of its " if booted > 1 and not rest else ""
    before = f"; {rest} kept from the earlier bundle, where {'it was' if rest == 1 else 'they were'} loaded"
    return f"loaded in {every}{booted} kernel{'s' if booted != 1 else ''}" + (before if rest else "")


def _with_lacking(result: BundleResult, faults: tuple[Finding, ...]) -> BundleResult:
    """Return the result, errored if the published bundle has cells whose gates are missing."""
    if not faults:
        return result
    others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    verdict: Verdict = "failed" if result.verdict == "failed" else "errored"
    reason = f"{result.reason}; {faults[0].message}{others}"
    return replace(result, verdict=verdict, reason=reason, findings=(*result.findings, *faults))


def _with_unread(result: BundleResult, wanted: Wanted) -> BundleResult:
    """Return the result, errored (though it is published) if the image of a cell that belongs in it was unreadable."""
    if not wanted.unread:
        return result
    findings = tuple(
        Finding("published-cells", "cell-image-unreadable", f"{cell}: {message}")
        for cell, message in wanted.unread.items()
    )
    others = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    again = wanted.next("build", "--force", "--only", next(iter(wanted.unread)))
    reason = f"{result.reason}; but {findings[0].message}{others}; if it is broken for good, {again} builds it again"
    verdict: Verdict = "failed" if result.verdict == "failed" else "errored"
    return replace(result, verdict=verdict, reason=reason, findings=(*result.findings, *findings))


def _measured(run: RunContext, wanted: Wanted, bundle: Composed) -> BundleImage:
    toolkit_bytes = 0
    # For a comparison alone: a boot needs the toolkit itself.
    with suppress(KmatrixError, IndexError):
        newest = [image.cell for image in wanted.of(bundle.arch) if image.bootable][-1]
        toolkit = _manifest(run, mirrored(newest.toolkit, run.options.profile.mirrors), newest)
        toolkit_bytes = sum(size for _, _, size in toolkit.layers)
    return BundleImage(
        arch=bundle.arch,
        digest=bundle.manifest.digest,
        bytes=bundle.size,
        kernels={kernel: layer.size for kernel, layer in bundle.kernels.items()},
        toolkit_bytes=toolkit_bytes,
    )


def _manifest(run: RunContext, ref: ImageRef, cell: Cell) -> Manifest:
    found = run.registry.manifest(ref, cell.arch)
    if found is None:
        raise ProtocolError(
            f"{ref}: the registry reports that there is no such image", "Was it removed just now? Run it again."
        )
    return found
