"""The facts about a build that attestations state beside its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmatrix.values.redaction import redacted


@dataclass(frozen=True)
class Source:
    """The repository of this program's files: its web address and the commit; each empty if it is not known.

    `uri` alone may be shown to others: the address may hold a credential.
    """

    address: str = ""
    revision: str = ""

    @property
    def uri(self) -> str:
        """The address as version control names it (SPDX 2.3, 7.7); empty if it is not known."""
        if not self.address:
            return ""
        # With its revision, an address looks as if it had a user.
        return f"git+{redacted(self.address)}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class RunFacts:
    """The facts about a run that its builds share.

    Attributes:
        files: SHA-256, in hexadecimal digits, of files of the checkout that decide what is built, by path.
        versions: of the builder's components, by name.
    """

    files: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class BuildFacts:
    """A build: what it was asked for, and where and when it was done.

    Attributes:
        profile: name of the profile.
        source: the files' repository.
        files: SHA-256, in hexadecimal digits, of files of the checkout that decide what is built, by path; empty for an
            image that an earlier run built.
        packages_root: the web address of the package root; empty if it is a folder of this machine.
        versions: of the builder's components, by name.
        started: when the build began (UTC, ISO 8601); empty if it is not known.
        finished: when it ended.
    """

    profile: str
    source: Source
    files: Mapping[str, str] = field(default_factory=dict)
    packages_root: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    finished: str = ""
