"""Define the pins that matrix.lock consists of: releases, kernels, packages, and everything known about their state."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator

from kmatrix.values.fields import (
    ClientField,
    FingerprintField,
    ImageField,
    KernelField,
    Many,
    Model,
    NevraField,
    PackageName,
    PathField,
    PinnedImage,
    ReleaseField,
    RhelField,
    Sha256Field,
    Some,
    StreamField,
    Text,
    each_once,
    named,
)
from kmatrix.values.names import Arch, Flavour, stream_of_rhel


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError(f"{value!r} is not a day such as 2026-03-31") from None


def _time(value: str) -> str:
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            raise ValueError
    except ValueError:
        raise ValueError(f"{value!r} is not a time such as 2026-03-31T03:17:05Z") from None
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# As in 5.14.0-427.50.1.el9_4.x86_64.
_EL = re.compile(r"\.el([0-9]{1,2})(?![0-9])")
DayField = Annotated[str, named(_day)]
TimeField = Annotated[str, named(_time)]
# Why a release is unresolved: a service refused, did not answer, or answered in a form that is none of a release's.
Obstacle = Literal["credential", "unreachable", "malformed"]


class KernelPin(Model):
    """A kernel of a toolkit."""

    release: KernelField
    flavour: Flavour


class ReleasePin(Model):
    """One release on one architecture, with one of its toolkits and that toolkit's kernels.

    A release with two OS streams (from 4.21 on) has two pins: one per toolkit.
    `node_kernel` is the kernel of the OS image that the toolkit belongs to, as the toolkit spells kernels; None where
    the release names no OS image, or one that does not state its kernel.
    `found` is when discovery first saw the release in the update graph, `unseen` when it last did not see it there:
    the release appeared between the two. `gone` is the date on which the graph first lacked it; it is kept even so.
    """

    version: ReleaseField
    arch: Arch
    channels: Some[Text]
    payload: PinnedImage
    toolkit: PinnedImage
    rhel: RhelField
    kernels: Some[KernelPin]
    node_kernel: KernelField | None = None
    unseen: TimeField | None = None
    found: TimeField | None = None
    gone: DayField | None = None

    @property
    def stream(self) -> str:
        """The RHEL major of the nodes: el9; a toolkit that lacks their kernel may be of another one."""
        named = _EL.search(self.node_kernel or "") if self.lacks_node_kernel else None
        return f"el{named[1]}" if named else stream_of_rhel(self.rhel)

    @property
    def lacks_node_kernel(self) -> bool:
        """Whether the toolkit is not the one of the release's nodes: it has another kernel than they run."""
        return self.node_kernel is not None and self.node_kernel not in {kernel.release for kernel in self.kernels}


class UnresolvedPin(Model):
    """A release on one architecture whose kernels are not known: the next discovery tries again.

    Pins that an earlier discovery found for it stay beside this.

    Attributes:
        payload: as the update graph names it.
        toolkits: those that its payload names, where that could be read.
        obstacle: the kind of fault.
        reason: one line, the same as long as the fault is the same.
        credential: the repository (HOST/PATH) that a credential is needed for; empty for other obstacles.
        since: the day since which it is unresolved.
        unseen, found, gone: as those of a ReleasePin.
    """

    version: ReleaseField
    arch: Arch
    channels: Some[Text]
    payload: ImageField
    toolkits: Many[PinnedImage] = ()
    obstacle: Obstacle
    reason: Text
    credential: Text | None = None
    since: DayField
    unseen: TimeField | None = None
    found: TimeField | None = None
    gone: DayField | None = None


class EmptyChannelPin(Model):
    """A channel of matrix.yaml of which the update graph had no release on an architecture."""

    name: Text
    arch: Arch


class KeyPin(Model):
    """The key that signs a client's packages; `location` is relative to the repository directory."""

    location: PathField
    sha256: Sha256Field
    fingerprint: FingerprintField


class PackagePin(Model):
    """One package file; `location` is relative to the repository directory, `size` in bytes."""

    name: PackageName
    nevra: NevraField
    location: PathField
    sha256: Sha256Field
    size: Annotated[int, Field(gt=0)]


class ClientPin(Model):
    """The packages of a client for one RHEL major and architecture.

    `gone` is the date on which the package root first lacked them; they are kept all the same.
    """

    version: ClientField
    stream: StreamField
    arch: Arch
    key: KeyPin
    packages: Some[PackagePin]
    gone: DayField | None = None

    @field_validator("packages")
    @classmethod
    def _one_each(cls, packages: tuple[PackagePin, ...]) -> tuple[PackagePin, ...]:
        return each_once(packages, (package.name for package in packages))


class UnavailablePin(Model):
    """A client without packages for a RHEL major and architecture, and the reason."""

    client: ClientField
    stream: StreamField
    arch: Arch
    reason: Text


class RetiredPin(Model):
    """A kernel that lost its pins by a rule of matrix.yaml or by --forget, and the reason.

    A kernel that is neither pinned nor retired was lost by a service: a published bundle keeps it. `since` is the day
    on which its last release left the channels; None in locks that did not keep it.
    """

    kernel: KernelField
    arch: Arch
    reason: Text
    since: DayField | None = None


class UpdatesPin(Model):
    """The updates to one release that the graph has: from which releases of the lock, as `4.18.9 4.18.10?`.

    A question mark marks a conditional update: one that the graph offers with a known risk.
    """

    to: ReleaseField
    arch: Arch
    sources: Annotated[Text, Field(alias="from")]
