"""Define matrix.lock as a value: every pin that `discover` resolved; reading and writing are lossless."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, field_validator

from kmatrix.values.command_lines import command
from kmatrix.values.errors import InputError, Problem
from kmatrix.values.fields import (
    ClientField,
    DigestField,
    FingerprintField,
    KernelField,
    LineField,
    Many,
    Model,
    NevraField,
    PackageName,
    Path,
    PathField,
    PinnedImage,
    ProfileName,
    ReleaseField,
    RhelField,
    Sha256Field,
    Some,
    Text,
    dotted,
    fault,
    named,
)
from kmatrix.values.matrix import Profile
from kmatrix.values.names import Arch, Flavour, line_of_rhel

SCHEMA = 1
# Keys of a profile that change where bytes come from or which cells are built, never which pins exist.
_NOT_INPUTS = {"about", "base_packages", "target", "mirrors", "lock", "excludes", "rdma", "max_unavailable"}
T = TypeVar("T")


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError(f"{value!r} is not a day such as 2026-03-31") from None


DayField = Annotated[str, named(_day)]


class KernelPin(Model):
    """A kernel of a toolkit."""

    release: KernelField
    flavour: Flavour


class ReleasePin(Model):
    """One release on one architecture, with one of its toolkits and that toolkit's kernels.

    A release with two OS streams (from 4.21 on) has two pins: one per toolkit.
    `gone` is the date on which the update graph first lacked the release, which is kept all the same.
    """

    version: ReleaseField
    arch: Arch
    channels: Some[Text]
    payload: PinnedImage
    toolkit: PinnedImage
    rhel: RhelField
    kernels: Some[KernelPin]
    gone: DayField | None = None

    @property
    def line(self) -> str:
        """The RHEL major of the kernels: el9."""
        return line_of_rhel(self.rhel)


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
    line: LineField
    arch: Arch
    key: KeyPin
    packages: Some[PackagePin]
    gone: DayField | None = None

    @field_validator("packages")
    @classmethod
    def _one_each(cls, packages: tuple[PackagePin, ...]) -> tuple[PackagePin, ...]:
        return _unique(packages, (package.name for package in packages))


class UnavailablePin(Model):
    """A client without packages for a RHEL major and architecture, and the reason."""

    client: ClientField
    line: LineField
    arch: Arch
    reason: Text


class RetiredPin(Model):
    """A kernel that lost its pins by a rule of matrix.yaml or by --forget, and the reason.

    A kernel that is neither pinned nor retired was lost by a service: a published bundle keeps it.
    """

    kernel: KernelField
    arch: Arch
    reason: Text


class ProfileLock(Model):
    """The pins of one profile; `inputs` is the digest of the keys of matrix.yaml that they depend on."""

    inputs: DigestField
    base: PinnedImage
    releases: Some[ReleasePin]
    clients: Many[ClientPin]
    unavailable: Many[UnavailablePin] = ()
    retired: Many[RetiredPin] = ()

    @field_validator("releases")
    @classmethod
    def _each_release_once(cls, pins: tuple[ReleasePin, ...]) -> tuple[ReleasePin, ...]:
        return _unique(pins, (f"{pin.version} {pin.arch} with {pin.toolkit.pinned}" for pin in pins))

    @field_validator("retired")
    @classmethod
    def _each_retired_once(cls, pins: tuple[RetiredPin, ...]) -> tuple[RetiredPin, ...]:
        return _unique(pins, (f"{pin.kernel} on {pin.arch}" for pin in pins))

    @field_validator("clients")
    @classmethod
    def _each_client_once(cls, pins: tuple[ClientPin, ...]) -> tuple[ClientPin, ...]:
        return _unique(pins, (f"{pin.version} {pin.line} {pin.arch}" for pin in pins))


class Lock(Model):
    """The content of matrix.lock."""

    schema_version: int = Field(alias="schema", default=SCHEMA)
    profiles: dict[ProfileName, ProfileLock] = Field(default_factory=dict)

    @field_validator("schema_version")
    @classmethod
    def _known_schema(cls, value: int) -> int:
        if value != SCHEMA:
            raise ValueError(f"{value} is not known: this version reads schema {SCHEMA}")
        return value

    def with_profile(self, profile_name: str, pins: ProfileLock) -> Lock:
        """Return the lock with one profile's pins replaced."""
        return Lock(schema=SCHEMA, profiles={**self.profiles, profile_name: pins})


def read_lock(text: str, name: str = "matrix.lock") -> Lock:
    """Read a lock.

    Raises:
        InputError: the file is malformed; has every problem, each with file and key.
    """
    try:
        return Lock.model_validate(json.loads(text, object_pairs_hook=_no_duplicates))
    except json.JSONDecodeError as error:
        problems = [Problem(f"{name}:{error.lineno}", f"not JSON (column {error.colno}): {error.msg}")]
    except ValidationError as error:
        faults = [fault(detail, _any_key) for detail in error.errors()]
        problems = [Problem(name, f"{dotted(path)}: {message}".removeprefix(": ")) for path, message in faults]
    except (ValueError, RecursionError) as error:
        problems = [Problem(name, str(error))]
    raise InputError(f"{name} cannot be used", _discover(), tuple(problems))


def write_lock(lock: Lock) -> str:
    """Return the lock as text: sorted, so that the same pins always give the same bytes."""
    profiles = {
        name: pins.model_copy(
            update={
                "releases": tuple(sorted(pins.releases, key=lambda p: (p.version, p.arch, p.toolkit.pinned))),
                "clients": tuple(sorted(pins.clients, key=lambda p: (p.version, p.line, p.arch))),
                "unavailable": tuple(sorted(pins.unavailable, key=lambda p: (p.client, p.line, p.arch))),
                "retired": tuple(sorted(pins.retired, key=lambda p: (p.kernel, p.arch))),
            }
        )
        for name, pins in lock.profiles.items()
    }
    # An absent date and an empty list of retired kernels are left out, so that they do not change the text.
    data = Lock(schema=SCHEMA, profiles=profiles).model_dump(mode="json", by_alias=True, exclude_none=True)
    for entry in data["profiles"].values():
        if not entry["retired"]:
            del entry["retired"]
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def inputs_digest(profile: Profile) -> str:
    """Return the digest of the keys that decide a profile's pins.

    Mirrors are left out, so that a site behind mirrors can use the lock unchanged. For the same reason, pass the
    profile as matrix.yaml states it, before overrides.
    """
    data = profile.model_dump(mode="json", by_alias=True, exclude=_NOT_INPUTS)
    for key in ("arches", "flavours", "clients"):
        data[key].sort()
    data["channels"].sort(key=lambda channel: channel["name"])
    return "sha256:" + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def pins_of(lock: Lock, profile_name: str, profile: Profile) -> ProfileLock:
    """Return a profile's pins if they are current.

    Raises:
        InputError: there are none, or matrix.yaml changed since they were resolved.
    """
    pins = lock.profiles.get(profile_name)
    if pins is None:
        raise InputError(f"{profile.lock} has no pins for profile {profile_name}", _discover(profile_name))
    if pins.inputs != inputs_digest(profile):
        message = f"matrix.yaml changed since {profile.lock} was written for profile {profile_name}"
        raise InputError(message, _discover(profile_name))
    return pins


def _discover(profile_name: str = "") -> str:
    return f"Run {command('discover', profile_name)}."


def _unique(items: tuple[T, ...], keys: Iterable[str]) -> tuple[T, ...]:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise ValueError(f"{key} is listed twice")
        seen.add(key)
    return items


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)}: duplicate key")
    return data


_KEYS: dict[str, type[Model]] = {
    "releases": ReleasePin,
    "kernels": KernelPin,
    "clients": ClientPin,
    "key": KeyPin,
    "packages": PackagePin,
    "unavailable": UnavailablePin,
    "retired": RetiredPin,
}


def _any_key(path: Path) -> list[str]:
    words = [part for part in path[2:] if isinstance(part, str)]
    model: type[Model] = _KEYS[words[-1]] if words else ProfileLock if path else Lock
    return [info.alias or name for name, info in model.model_fields.items()]
