"""Define matrix.lock as a value: every pin that `discover` resolved; reading and writing are lossless."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from kmatrix.values.command_lines import command
from kmatrix.values.errors import InputError, Problem
from kmatrix.values.fields import DigestField, Many, Model, Path, PinnedImage, ProfileName, dotted, each_once, fault
from kmatrix.values.matrix import Profile
from kmatrix.values.pins import (
    ClientPin,
    EmptyChannelPin,
    KernelPin,
    KeyPin,
    PackagePin,
    ReleasePin,
    RetiredPin,
    UnavailablePin,
    UnresolvedPin,
    UpdatesPin,
)

SCHEMA = 2
# Keys of a profile that change where bytes come from, which cells are built or how long they are kept: never which pins
# a discovery has to find.
_NOT_INPUTS = {"about", "base_packages", "target", "mirrors", "lock", "excludes", "rdma", "max_unavailable"}
_NOT_INPUTS |= {"retention_days", "kernel_tags", "gates", "feature_lost", "image_signing", "module_signing"}


class ProfileLock(Model):
    """The pins of one profile; `inputs` is the digest of the keys of matrix.yaml that they depend on."""

    inputs: DigestField
    base: PinnedImage
    unresolved: Many[UnresolvedPin] = ()
    releases: Many[ReleasePin]
    updates: Many[UpdatesPin] = ()
    empty_channels: Many[EmptyChannelPin] = ()
    clients: Many[ClientPin]
    unavailable: Many[UnavailablePin] = ()
    retired: Many[RetiredPin] = ()

    @field_validator("releases")
    @classmethod
    def _each_release_once(cls, pins: tuple[ReleasePin, ...], info: ValidationInfo) -> tuple[ReleasePin, ...]:
        if not pins and not info.data.get("unresolved"):
            raise ValueError("must not be empty, unless a release is unresolved")
        return each_once(pins, (f"{pin.version} {pin.arch} with {pin.toolkit.pinned}" for pin in pins))

    @field_validator("unresolved")
    @classmethod
    def _each_unresolved_once(cls, pins: tuple[UnresolvedPin, ...]) -> tuple[UnresolvedPin, ...]:
        return each_once(pins, (f"{pin.version} {pin.arch}" for pin in pins))

    @field_validator("updates")
    @classmethod
    def _each_update_once(cls, pins: tuple[UpdatesPin, ...]) -> tuple[UpdatesPin, ...]:
        return each_once(pins, (f"{pin.to} {pin.arch}" for pin in pins))

    @field_validator("retired")
    @classmethod
    def _each_retired_once(cls, pins: tuple[RetiredPin, ...]) -> tuple[RetiredPin, ...]:
        return each_once(pins, (f"{pin.kernel} on {pin.arch}" for pin in pins))

    @field_validator("clients")
    @classmethod
    def _each_client_once(cls, pins: tuple[ClientPin, ...]) -> tuple[ClientPin, ...]:
        return each_once(pins, (f"{pin.version} {pin.stream} {pin.arch}" for pin in pins))

    def in_order(self) -> ProfileLock:
        """Return the same pins in the order of the lock's text."""
        return self.model_copy(
            update={
                "releases": tuple(sorted(self.releases, key=lambda p: (p.version, p.arch, p.toolkit.pinned))),
                "unresolved": tuple(sorted(self.unresolved, key=lambda p: (p.version, p.arch))),
                "updates": tuple(sorted(self.updates, key=lambda p: (p.to, p.arch))),
                "empty_channels": tuple(sorted(self.empty_channels, key=lambda p: (p.name, p.arch))),
                "clients": tuple(sorted(self.clients, key=lambda p: (p.version, p.stream, p.arch))),
                "unavailable": tuple(sorted(self.unavailable, key=lambda p: (p.client, p.stream, p.arch))),
                "retired": tuple(sorted(self.retired, key=lambda p: (p.kernel, p.arch))),
            }
        )


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


class MergeConflictError(InputError):
    """A lock has the marks of a merge conflict of git."""


def read_lock(text: str, name: str = "matrix.lock") -> Lock:
    """Read a lock.

    Raises:
        MergeConflictError: it has a merge conflict.
        InputError: the file is malformed; has every problem, each with file and key.
    """
    try:
        return Lock.model_validate(_upgraded(json.loads(text, object_pairs_hook=_no_duplicates)))
    except json.JSONDecodeError as error:
        if (line := _conflict(text)) is not None:
            raise MergeConflictError(
                f"{name}:{line}: has a merge conflict",
                f"Take one side (`git checkout --theirs {name}`), then run {command('discover')}: it finds the rest.",
            ) from None
        problems = [Problem(f"{name}:{error.lineno}", f"not JSON (column {error.colno}): {error.msg}")]
    except ValidationError as error:
        faults = [fault(detail, _any_key) for detail in error.errors()]
        problems = [Problem(name, f"{dotted(path)}: {message}".removeprefix(": ")) for path, message in faults]
    except (ValueError, RecursionError) as error:
        problems = [Problem(name, str(error))]
    raise InputError(f"{name} cannot be used", _discover(), tuple(problems))


def write_lock(lock: Lock) -> str:
    """Return the lock as text: sorted, so that the same pins always give the same bytes."""
    profiles = {name: pins.in_order() for name, pins in lock.profiles.items()}
    # Absent values, and lists that few locks have, are left out, so that they do not change the text.
    data = Lock(schema=SCHEMA, profiles=profiles).model_dump(mode="json", by_alias=True, exclude_none=True)
    for entry in data["profiles"].values():
        for name in ("retired", "unresolved", "updates", "empty_channels"):
            if not entry[name]:
                del entry[name]
        for pin in entry.get("unresolved", ()):
            if not pin["toolkits"]:
                del pin["toolkits"]
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


def _upgraded(data: Any) -> Any:
    """Return a lock of schema 1, in which a stream was named `line`, as one of this schema, so that no pin is lost."""
    if not isinstance(data, dict) or data.get("schema") != 1 or not isinstance(data.get("profiles"), dict):
        return data
    for entry in data["profiles"].values():
        for key in ("clients", "unavailable"):
            for pin in entry.get(key, ()) if isinstance(entry, dict) else ():
                if isinstance(pin, dict) and "line" in pin:
                    pin["stream"] = pin.pop("line")
    return {**data, "schema": SCHEMA}


def _conflict(text: str) -> int | None:
    """Return the number of the first line that marks a merge conflict of git, or None."""
    marks = ("<<<<<<< ", "||||||| ", ">>>>>>> ")
    lines = enumerate(text.splitlines(), 1)
    return next((number for number, line in lines if line.startswith(marks) or line == "======="), None)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)}: duplicate key")
    return data


_KEYS: dict[str, type[Model]] = {
    "releases": ReleasePin,
    "kernels": KernelPin,
    "unresolved": UnresolvedPin,
    "updates": UpdatesPin,
    "empty_channels": EmptyChannelPin,
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
