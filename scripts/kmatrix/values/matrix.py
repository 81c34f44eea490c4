"""Define matrix.yaml as a value: profiles, their sources, and the releases and clients they select."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kmatrix.values.errors import InputError
from kmatrix.values.fields import (
    ClientField,
    ImageField,
    Many,
    Model,
    PackageName,
    PathField,
    PrefixField,
    ProfileName,
    ReleaseField,
    Some,
    StreamField,
    Text,
    UrlField,
    named,
    relative_path,
    text,
    url,
)
from kmatrix.values.gate_record import DEFAULT_GATES, GATE_NAMES, REQUIRED_GATES, SECURE_BOOT_GATE
from kmatrix.values.names import BOOTED_ARCHES, FLAVOURS, Arch, Flavour, ImageRef, ReleaseVersion, fingerprint
from kmatrix.values.redaction import redacted_reference

SCHEMA = 1
_CHANNEL = re.compile(r"[a-z]+(?:-[a-z]+)*-([0-9]+\.[0-9]+)")
_GLOB = re.compile(r"[*?\[]")
_NODES = re.compile(r"[1-9][0-9]{0,8}")
_PERCENT = re.compile(r"(?:[1-9][0-9]?|100)%")
# How a key is named that is in a file, or in an environment variable.
FILE = "file:"
ENV = "env:"
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
# Services that keep a key and sign with it, by the schemes that securesystemslib knows (securesystemslib/signer).
_KEY_SERVICES = ("hsm:", "awskms:", "gcpkms:", "azurekms:", "hv:")


def _channel_name(value: str) -> str:
    if not _CHANNEL.fullmatch(value):
        raise ValueError(f"{value!r} is not a channel such as stable-4.16")
    return value


def _packages(value: str) -> str:
    if "://" in value:
        return url(value).rstrip("/")
    if re.search(r"\s", text(value)):
        shown = redacted_reference("".join(value.split())) if "@" in value or "?" in value else value
        raise ValueError(f"{shown!r} is neither an address (https://…) nor the path of a folder")
    return value.rstrip("/") or "/"


def _key(value: str) -> str:
    if value.startswith(FILE):
        return FILE + relative_path(value.removeprefix(FILE))
    try:
        return fingerprint(value)
    except ValueError as error:
        raise ValueError(f"{error}, nor file:PATH of a file that holds one") from None


def _private_key(value: str) -> str:
    """Return where a private key is: never the key itself, which matrix.yaml must not have."""
    if value.startswith(FILE):
        return FILE + relative_path(value.removeprefix(FILE))
    if _VARIABLE.fullmatch(value.removeprefix(ENV)) and value.startswith(ENV):
        return value
    if "BEGIN " in value:
        raise ValueError("is a key itself, which must not be committed: write file:PATH or env:VARIABLE")
    raise ValueError(f"{value!r} is neither file:PATH nor env:VARIABLE")


def _image_key(value: str) -> str:
    if value.startswith(_KEY_SERVICES) and not re.search(r"\s", value):
        return value
    return _private_key(value)


def _max_unavailable(value: Any) -> int | str:
    if isinstance(value, int | str) and not isinstance(value, bool):
        if _NODES.fullmatch(str(value)):
            return int(value)
        if _PERCENT.fullmatch(str(value)):
            return str(value)
    if value is None:
        raise ValueError("has no value")
    raise ValueError(f"{value!r} is neither a number of nodes (1 to 999999999) nor a percentage of them (1% to 100%)")


def _booted_arch(value: str) -> Arch:
    for arch in BOOTED_ARCHES:
        if value == arch:
            return arch
    raise ValueError(f"{value!r} is not one of {', '.join(BOOTED_ARCHES)}, the architectures that the boot gate boots")


def _gate(value: str) -> str:
    if value not in GATE_NAMES:
        raise ValueError(f"{value!r} is not one of the gates {', '.join(GATE_NAMES)}")
    return value


def _with_required(gates: tuple[str, ...]) -> tuple[str, ...]:
    if lacking := [name for name in REQUIRED_GATES if name not in gates]:
        raise ValueError(f"lacks {' and '.join(lacking)}: no image is published without the gates static and boot")
    return tuple(name for name in GATE_NAMES if name in gates)


BootedArch = Annotated[Arch, named(_booted_arch)]
# Kubernetes' IntOrString: a number of nodes, or a share of them such as `10%`, which Kubernetes rounds up.
MaxUnavailable = Annotated[int | str, PlainValidator(_max_unavailable)]


class Channel(Model):
    """A channel of the update graph, and the range of its releases that counts."""

    name: Annotated[str, named(_channel_name)]
    first: ReleaseField | None = Field(default=None, alias="from")
    newest: Annotated[int, Field(gt=0)] | None = None

    @property
    def minor(self) -> str:
        """The minor version that the channel is named after: stable-4.16 → 4.16."""
        return self.name.rpartition("-")[2]

    @field_validator("first")
    @classmethod
    def _first_is_of_the_minor(cls, first: ReleaseVersion | None, info: ValidationInfo) -> ReleaseVersion | None:
        name = info.data.get("name")
        if first and name and first.minor != name.rpartition("-")[2]:
            raise ValueError(f"{first} is not a release of {name}")
        return first


class Exclude(Model):
    """Cells that are not supported, and why; every given pattern must match (fnmatch)."""

    reason: Text
    client: Text | None = None
    kernel: Text | None = None
    release: Text | None = None
    arch: Text | None = None
    flavour: Text | None = None
    stream: Text | None = None
    _where: str = PrivateAttr(default="matrix.yaml")

    @property
    def where(self) -> str:
        """FILE:LINE of this exclude, for messages."""
        return self._where

    def placed(self, where: str) -> None:
        """Set FILE:LINE, which only the reader of the file knows."""
        self._where = where

    @field_validator("arch", "flavour")
    @classmethod
    def _known_word(cls, value: str | None, info: ValidationInfo) -> str | None:
        words: tuple[str, ...] = BOOTED_ARCHES if info.field_name == "arch" else FLAVOURS
        if value and not _GLOB.search(value) and value not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(words)}")
        return value

    @model_validator(mode="after")
    def _names_cells(self) -> Exclude:
        if not any((self.client, self.kernel, self.release, self.arch, self.flavour, self.stream)):
            raise ValueError("names nothing to exclude: add client, kernel, release, arch, flavour or stream")
        return self


class ImageSigning(Model):
    """The keys of image signatures and attestations.

    `key` is where the private key is that signs published images: `file:PATH` and `env:VARIABLE` name a PEM, whose
    password KMATRIX_IMAGE_KEY_PASSWORD has; the address of a key service is securesystemslib's. `next_key` is the one
    that is to replace it, and signs beside it until then; its password is in KMATRIX_IMAGE_KEY_NEXT_PASSWORD.
    `public_keys` are PEM files: signatures of every one of them are accepted, those of both keys among them. `keyless`
    adds a signature with the identity of the CI job, made by cosign.
    """

    key: Annotated[str, named(_image_key)] | None = None
    next_key: Annotated[str, named(_image_key)] | None = None
    public_keys: Many[PathField] = ()
    keyless: bool = False

    @model_validator(mode="after")
    def _signs_or_verifies(self) -> ImageSigning:
        if self.key and not self.public_keys:
            raise ValueError("has a key and no public_keys: name the PEM file of its public key there")
        if self.next_key and not self.key:
            raise ValueError("has a next_key and no key: name the key that it is to replace, or call it key")
        if not (self.public_keys or self.keyless):
            raise ValueError("needs key and public_keys, public_keys alone to verify, or keyless: true")
        return self


class ModuleSigning(Model):
    """The key and certificate that kernel modules are signed with; nodes must trust the certificate.

    `key` is `file:PATH` or `env:VARIABLE`, a PEM, whose password KMATRIX_MODULE_KEY_PASSWORD has; `certificate` is the
    path of its X.509 certificate, PEM or DER.
    """

    key: Annotated[str, named(_private_key)]
    certificate: PathField


class Profile(Model):
    """The sources of releases, packages and images, their target, and the selection that is built."""

    about: Text
    graph: UrlField
    packages: Annotated[str, named(_packages)]
    key_fingerprint: Annotated[str, named(_key)]
    base: ImageField
    base_stream: StreamField
    base_packages: Many[PackageName] = ()
    target: PrefixField | None = None
    mirrors: dict[PrefixField, PrefixField] = Field(default_factory=dict)
    lock: PathField = "matrix.lock"
    channels: Some[Channel]
    arches: Some[BootedArch]
    flavours: Some[Flavour]
    clients: Some[ClientField]
    excludes: Many[Exclude] = ()
    rdma: bool = True
    max_unavailable: MaxUnavailable = 1
    retention_days: Annotated[int, Field(gt=0)] | None = None
    kernel_tags: bool = False
    gates: Annotated[Some[Annotated[str, named(_gate)]], AfterValidator(_with_required)] = DEFAULT_GATES
    feature_lost: Literal["warn", "fail"] = "warn"
    image_signing: ImageSigning | None = None
    module_signing: ModuleSigning | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_gates(cls, data: Any) -> Any:
        """Add the gate secure-boot where modules are signed, unless the profile says which gates it wants."""
        if isinstance(data, dict) and data.get("module_signing") is not None and "gates" not in data:
            return {**data, "gates": list(GATE_NAMES)}
        return data

    @model_validator(mode="after")
    def _secure_boot_needs_signed_modules(self) -> Profile:
        if SECURE_BOOT_GATE in self.gates and self.module_signing is None:
            raise ValueError("gates: secure-boot needs module_signing: Secure Boot refuses modules without a signature")
        return self

    @property
    def key_file(self) -> str | None:
        """The relative path of the file that holds the key's fingerprint, if a file does."""
        return self.key_fingerprint.removeprefix(FILE) if self.key_fingerprint.startswith(FILE) else None


class Matrix(Model):
    """The content of matrix.yaml, the only hand-written statement of the supported versions."""

    schema_version: int = Field(alias="schema")
    default_profile: Text
    profiles: Annotated[dict[ProfileName, Profile], Field(min_length=1)]

    @field_validator("schema_version")
    @classmethod
    def _known_schema(cls, value: int) -> int:
        if value != SCHEMA:
            raise ValueError(f"{value} is not known: this version reads schema {SCHEMA}")
        return value

    def profile(self, name: str | None = None) -> Profile:
        """Return a profile, the default one unless named.

        Raises:
            InputError: there is no such profile.
        """
        wanted = name or self.default_profile
        if wanted not in self.profiles:
            raise InputError(
                f"matrix.yaml has no profile {wanted!r} (--profile or KMATRIX_PROFILE)",
                f"Use one of {', '.join(self.profiles)}.",
            )
        return self.profiles[wanted]


def mirrored(ref: ImageRef, mirrors: Mapping[str, str]) -> ImageRef:
    """Return `ref` as this site pulls it: the longest prefix that ends at a `/` (or is the complete path) wins.

    Tag and digest stay, so a mirror cannot give other bytes than the lock names.
    """
    for prefix in sorted(mirrors, key=len, reverse=True):
        rest = ref.repository.removeprefix(prefix)
        if ref.repository.startswith(prefix) and (not rest or rest.startswith("/")):
            moved = ImageRef.parse(mirrors[prefix] + rest)
            return ImageRef(moved.host, moved.path, ref.tag, ref.digest)
    return ref


def required_target(profile_name: str, profile: Profile) -> str:
    """Return the registry (and path prefix) that images go to.

    Raises:
        InputError: the profile has none and no override gave one.
    """
    if profile.target is None:
        raise InputError(
            f"profile {profile_name} names no registry to push to",
            f"Set profiles.{profile_name}.target in matrix.yaml, give --target, or set KMATRIX_TARGET.",
        )
    return profile.target
