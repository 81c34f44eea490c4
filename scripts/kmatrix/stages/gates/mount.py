"""Gate `mount`: mounts the file system in the cell's own kernel, without a server, and unmounts it."""

from __future__ import annotations

from kmatrix.decide.boot import judge_boot
from kmatrix.decide.mount import judge_mount, mount_began
from kmatrix.decide.mount_config import unknown_keys
from kmatrix.stages.boot import Boot, Subject
from kmatrix.stages.gates.boot import outcome_of, refused
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Finding
from kmatrix.values.module import CLIENT_CONFIG, ImageFacts


def mount_module(image: ImageUnderTest) -> Outcome:
    """Boot the cell's kernel, and mount with the image's module and its own configuration template.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    subject = image.subject
    if isinstance(subject, BootReport):
        return refused("mount", image, subject, "", "")
    if unfit := judge_templates(image.facts, image.cell.recipe.cell.client.major):
        return refused("mount", image, unfit, "", "")
    boot = image.boot(subject, mounting=True)
    return outcome_of("mount", image, mount_report(boot, subject), subject, mounting=True)


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
