"""Gate `mount`: mounts the file system in the cell's own kernel, without a server, and unmounts it."""

from __future__ import annotations

from kmatrix.decide.boot import judge_boot
from kmatrix.decide.mount import judge_mount, mount_began
from kmatrix.decide.mount_config import unknown_keys
from kmatrix.stages.gates.boot import outcome_of, refused
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Finding

_TEMPLATE = "/etc/beegfs/beegfs-client.conf"


def mount_module(image: ImageUnderTest) -> Outcome:
    """Boot the cell's kernel, and mount with the image's module and its own configuration template.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    subject, facts = image.subject, image.facts
    if isinstance(subject, BootReport):
        return refused("mount", image, subject, "", "")
    if facts.client_config is None:
        return _wrong_config(image, (Finding("mount", "config-missing", f"the image has no {_TEMPLATE}"),))
    unknown = unknown_keys(facts.client_config, facts.helperd_config, image.cell.recipe.cell.client.major)
    if unknown:
        return _wrong_config(image, unknown)
    boot = image.boot(subject, mounting=True)
    report = judge_mount(boot.transcript, boot.end)
    if not mount_began(boot.transcript):
        # A module that is not loaded cannot be mounted: the reason for that is the more specific one.
        loaded = judge_boot(boot.transcript, boot.end, subject.module)
        report = loaded if loaded.verdict != "passed" else report
    return outcome_of("mount", image, report, subject, mounting=True)


def _wrong_config(image: ImageUnderTest, findings: tuple[Finding, ...]) -> Outcome:
    report = BootReport("failed", findings[0].code, findings[0].message, findings)
    return refused("mount", image, report, "", "")
