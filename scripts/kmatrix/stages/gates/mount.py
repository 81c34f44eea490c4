"""Gate `mount`: mounts the file system in the cell's own kernel, without a server, and unmounts it."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.decide.boot import judge_boot
from kmatrix.decide.mount import judge_mount, mount_began
from kmatrix.decide.mount_config import unknown_keys
from kmatrix.stages.boot import Boot
from kmatrix.stages.gates.boot import outcome_of, refused
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.stages.subject import Subject
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Finding
from kmatrix.values.module import CLIENT_CONFIG, ImageFacts

# For reasons that neither the guest's console nor its prompt shows anything about.
_NEXT_STEPS = {
    "config-missing": f"Check that the client's package still has {CLIENT_CONFIG}, and build again.",
    "config-key-unknown": "Look for the key's new name in the package's template and the vendor's release notes; "
    "docs/findings.md (config-key-unknown) names the files that write it.",
    "mount-interface-missing": "Look in the toolkit for the modules dummy, veth, bridge and ifb (kernel-modules-core, "
    "kernel-modules); to publish without this gate, leave `mount` out of the profile's `gates` in matrix.yaml.",
}


def mount_module(image: ImageUnderTest) -> Outcome:
    """Boot the cell's kernel, and mount with the image's module and its own configuration template.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    subject = image.subject
    if isinstance(subject, BootReport):
        return refused("mount", image, subject, "", "")
    if unfit := judge_templates(image.facts, image.cell.recipe.cell.client.major):
        return _advised(refused("mount", image, unfit, "", ""), unfit)
    report = mount_report(image.boot(subject, mounting=True), subject)
    return _advised(outcome_of("mount", image, report, subject, mounting=True), report)


def judge_templates(facts: ImageFacts, major: int) -> BootReport | None:
    """Return the report on an image whose configuration templates rule out a mount; None if nothing does.

    Args:
        facts: of the image.
        major: of the client version.
    """
    if facts.client_config is None:
        findings: tuple[Finding, ...] = (Finding("mount", "config-missing", f"the image has no {CLIENT_CONFIG}"),)
    else:
        findings = unknown_keys(facts.client_config, facts.helperd_config, major)
    return BootReport("failed", findings[0].code, findings[0].message, findings) if findings else None


def mount_report(boot: Boot, subject: Subject) -> BootReport:
    """Return the report on the mounts of a boot; if it came to none, why the module was not loaded."""
    report = judge_mount(boot.transcript, boot.end)
    if mount_began(boot.transcript):
        return report
    loaded = judge_boot(boot.transcript, boot.end, subject.module)
    return loaded if loaded.verdict != "passed" else report


def _advised(outcome: Outcome, report: BootReport) -> Outcome:
    return replace(outcome, next_step=_NEXT_STEPS.get(report.code, outcome.next_step))
