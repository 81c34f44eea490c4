"""Judge the mounts of a boot: a transcript in, one classified report out; nothing is run."""

from __future__ import annotations

from kmatrix.values.boot import BootReport, End, Transcript


def mount_began(transcript: Transcript) -> bool:
    """Return whether the guest came as far as the first mount."""
    return any(name.startswith("mount-") for name in transcript.sections) or transcript.step.startswith("mount-")


def judge_mount(transcript: Transcript, end: End) -> BootReport:
    """Return the report of the mounts of a boot; the first fault gives its code.

    Args:
        transcript: the serial line, as read.
        end: how the machine ended.
    """
    raise NotImplementedError(transcript, end)
