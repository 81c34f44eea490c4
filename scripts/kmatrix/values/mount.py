"""Define what the guest of the mount gate mounts with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MountSetup:
    """What a guest mounts with.

    Attributes:
        config: text of the client's configuration: the image's own template, with the values for a mount without a
            server.
        limit_seconds: the time that the calls of one mount may take together (mount, statfs, lookup, sync, umount).
    """

    config: str
    limit_seconds: int
