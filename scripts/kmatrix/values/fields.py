"""Define the field types of matrix.yaml and matrix.lock, and readable messages for faults in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator
from pydantic_core import ErrorDetails

from kmatrix.values.names import (
    ClientVersion,
    ImageRef,
    ReleaseVersion,
    digest,
    fingerprint,
    kernel_release,
    rhel_line,
    stream_of_rhel,
)
from kmatrix.values.redaction import redacted_reference

T = TypeVar("T")
_SAFE_PATH = re.compile(r"[A-Za-z0-9._+~^:@-]+(?:/[A-Za-z0-9._+~^:@-]+)*")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_NEVRA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*-(?:[0-9]+:)?[A-Za-z0-9._+~^]+-[A-Za-z0-9._+~^]+\.[a-z0-9_]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[^\s?#]*)?")
_PROFILE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class Model(BaseModel):
    """A value of a file: frozen, without unknown keys, and without conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def named(parse: Callable[[str], T]) -> PlainValidator:
    """Return a validator that parses the file's text by a constructor of `names`."""

    def check(value: Any) -> T:
        if value is None:
            raise ValueError("has no value")
        if isinstance(value, bool | float | list | tuple | dict):
            raise ValueError("must be text")
        # A plain `8` is an integer in YAML; the constructor reports the expected form.
        return parse(str(value))

    return PlainValidator(check)


def each_once(items: tuple[T, ...], keys: Iterable[str]) -> tuple[T, ...]:
    """Return `items` if each has a key of its own.

    Raises:
        ValueError: a key is there twice.
    """
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise ValueError(f"{key} is listed twice")
        seen.add(key)
    return items


def text(value: str) -> str:
    """Return `value` if it is one line of text.

    Raises:
        ValueError: it is blank or holds a control character.
    """
    if not value.strip():
        raise ValueError("must not be empty")
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("must be one line, without control characters")
    return value


def _matching(pattern: re.Pattern[str], kind: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            # A password may be the reason: in an intended address, blanks do not end it.
            may_hide = any(sign in value for sign in ("://", "@", "?"))
            shown = redacted_reference("".join(value.split())) if may_hide else value
            raise ValueError(f"{shown!r} is not {kind}")
        return value

    return check


url = _matching(_URL, "an address such as https://host/path (no user, no blanks, no query)")
package_name = _matching(_PACKAGE, "a package name")
profile_name = _matching(_PROFILE, "a profile name (lower case letters, digits, -)")


def relative_path(value: str) -> str:
    """Return `value` if it is a relative path that stays below its start and is safe in a command.

    Raises:
        ValueError: it is absolute, climbs with `..`, or holds blanks or other unsafe characters.
    """
    if not _SAFE_PATH.fullmatch(value) or any(part in {"..", "."} for part in value.split("/")):
        raise ValueError(f"{value!r} is not a relative path (no blanks, no leading /, no ..)")
    return str(PurePosixPath(value))


def image_prefix(value: str) -> str:
    """Return `value` if it is a registry host with an optional path: quay.io/team, 127.0.0.1:5080.

    Raises:
        ValueError: it could not come before `/image` in an image reference.
    """
    if ImageRef.parse(f"{value}/image").repository != f"{value}/image":
        raise ValueError(
            f"{redacted_reference(value)!r} is not a registry host with an optional path, such as quay.io/team"
        )
    return value


def _prefix(value: str) -> str:
    try:
        return image_prefix(value)
    except ValueError:
        raise ValueError(
            f"{redacted_reference(value)!r} is not a registry host with an optional path, such as quay.io/team"
        ) from None


def _image(value: str) -> ImageRef:
    image = ImageRef.parse(value)
    if not (image.tag or image.digest):
        raise ValueError(f"{value!r} names neither a tag nor a digest")
    return image


def _pinned_image(value: str) -> ImageRef:
    image = ImageRef.parse(value)
    if not image.digest:
        raise ValueError(f"{value!r} is not pinned: it needs @sha256:…")
    return image


def _some(items: tuple[T, ...]) -> tuple[T, ...]:
    # Not min_length: pydantic counts the valid items, and would report a list of malformed ones as empty.
    if not items:
        raise ValueError("must not be empty")
    return items


def _rhel(value: str) -> str:
    stream_of_rhel(value)
    return value


ClientField = Annotated[ClientVersion, named(ClientVersion.parse), PlainSerializer(str)]
ReleaseField = Annotated[ReleaseVersion, named(ReleaseVersion.parse), PlainSerializer(str)]
ImageField = Annotated[ImageRef, named(_image), PlainSerializer(str)]
PinnedImage = Annotated[ImageRef, named(_pinned_image), PlainSerializer(str)]
PrefixField = Annotated[str, named(_prefix)]
DigestField = Annotated[str, named(digest)]
KernelField = Annotated[str, named(kernel_release)]
StreamField = Annotated[str, named(rhel_line)]
RhelField = Annotated[str, named(_rhel)]
FingerprintField = Annotated[str, named(fingerprint)]
Sha256Field = Annotated[str, named(_matching(_SHA256, "a SHA-256 (64 hexadecimal digits)"))]
NevraField = Annotated[str, named(_matching(_NEVRA, "NAME-[EPOCH:]VERSION-RELEASE.ARCH"))]
PathField = Annotated[str, named(relative_path)]
UrlField = Annotated[str, named(url)]
PackageName = Annotated[str, named(package_name)]
ProfileName = Annotated[str, named(profile_name)]
Text = Annotated[str, named(text)]
# Lists of YAML and JSON become tuples; their items stay strict.
Many = Annotated[tuple[T, ...], Field(strict=False)]
Some = Annotated[tuple[T, ...], Field(strict=False), AfterValidator(_some)]

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """Return a path in its usual notation: profiles.okd.channels[2].from. Keys may be names of registries."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{redacted_reference(part)}" for part in path)
    return "".join(parts).lstrip(".")


def suggestion(word: str, known: list[str]) -> str:
    """Return `did you mean …?` for the nearest known word, or the known words."""
    if not known:
        return "there are none"
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


_MESSAGES = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "too_short": "must not be empty",
}


def fault(error: ErrorDetails, known: Callable[[Path], list[str]]) -> tuple[Path, str]:
    """Return the path of a pydantic error and a readable message.

    Args:
        error: one entry of `ValidationError.errors()`.
        known: the keys that a mapping at a path may have.
    """
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    kind = error["type"]
    if kind == "extra_forbidden":
        return path, f"unknown key; {suggestion(str(path[-1]), known(path[:-1]))}"
    if kind == "value_error":
        return path, str(error["ctx"]["error"])
    if error["input"] is None and kind != "missing":
        return path, "has no value"
    if kind == "literal_error":
        return path, f"{error['input']!r} is not one of {error['ctx']['expected']}"
    if kind == "greater_than":
        return path, f"must be more than {error['ctx']['gt']}"
    return path, _MESSAGES.get(kind, error["msg"])
