"""Define names as types: kernel release, client version, release version, image reference, digest.

Every constructor refuses malformed text. Values that passed are safe in a path, in an image tag and in a Dockerfile.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Literal

from kmatrix.values.redaction import redacted_reference

Arch = Literal["x86_64", "aarch64", "ppc64le", "s390x"]
Flavour = Literal["standard", "rt", "64k"]

ARCHES: tuple[Arch, ...] = ("x86_64", "aarch64", "ppc64le", "s390x")
# Those that the boot gate has a machine for (effects/vm). No profile may have others: their cells could never pass.
BOOTED_ARCHES: tuple[Arch, ...] = ("x86_64", "aarch64")
FLAVOURS: tuple[Flavour, ...] = ("standard", "rt", "64k")
# Go's names, which the update graph and container engines use.
GO_ARCH: dict[Arch, str] = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}

_KERNEL = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9._+~-]*")
_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*))?")
_RELEASE = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:-[A-Za-z0-9.-]+)?(?:\+[A-Za-z0-9.-]+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Labels as in RFC 1035, 2.3.4: of no longer ones, nor of an empty one, an address can be made.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::([0-9]{{1,5}}))?")
_LAST_PORT = 65535
# Docker Hub as the host of an image's name, which container engines treat alike (distribution/reference, normalize.go),
# and the host of its API. All are one registry to a credential; the last one names images as any other host does.
_HUB = ("docker.io", "index.docker.io")
_HUB_REGISTRY = "registry-1.docker.io"
HUB_HOSTS = (*_HUB, _HUB_REGISTRY)
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LINE = re.compile(r"el[0-9]{1,2}")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")


def kernel_release(text: str) -> str:
    """Return `text` if it has the form of `uname -r` (5.14.0-427.50.1.el9_4.x86_64+rt).

    Raises:
        ValueError: it has another form, or is too long for a tag.
    """
    if not _KERNEL.fullmatch(text) or len(text) > 96:
        raise ValueError(f"{text!r} is not a kernel release such as 5.14.0-427.50.1.el9_4.x86_64")
    return text


def without_arch(kernel: str, arch: Arch) -> str:
    """Return the name that a kernel release has for all architectures, its flavour included.

    5.14.0-427.50.1.el9_4.aarch64+64k gives 5.14.0-427.50.1.el9_4+64k, Debian's 6.1.0-56-rt-amd64 gives 6.1.0-56-rt. A
    release that does not name its architecture gets `.noarch`, so that the name is never a kernel release of a node.
    """
    names = "|".join(re.escape(name) for name in dict.fromkeys((arch, GO_ARCH[arch])))
    found = re.sub(rf"[.-](?:{names})(?![A-Za-z0-9_])", "", kernel, count=1)
    return found if found != kernel else f"{kernel}.noarch"


def digest(text: str) -> str:
    """Return `text` if it is `sha256:` and 64 hexadecimal digits.

    Raises:
        ValueError: it is not.
    """
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"{text!r} is not a digest (sha256: and 64 hexadecimal digits)")
    return text


def digest_of(content: bytes) -> str:
    """Return the digest of the bytes of a blob or a manifest."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def rhel_line(text: str) -> str:
    """Return `text` if it names a RHEL major: el8, el9, el10.

    Raises:
        ValueError: it does not.
    """
    if not _LINE.fullmatch(text):
        raise ValueError(f"{text!r} is not a RHEL major such as el9")
    return text


def stream_of_rhel(rhel_version: str) -> str:
    """Return the RHEL major of a RHEL version: 9.4 → el9.

    Raises:
        ValueError: not of the form MAJOR or MAJOR.MINOR.
    """
    match = re.fullmatch(r"([0-9]{1,2})(?:\.[0-9]+)?", rhel_version)
    if not match:
        raise ValueError(f"{rhel_version!r} is not a RHEL version such as 9.4")
    return f"el{match[1]}"


def fingerprint(text: str) -> str:
    """Return an OpenPGP v4 fingerprint as 40 capital hexadecimal digits, blanks removed.

    Raises:
        ValueError: not 40 hexadecimal digits.
    """
    plain = re.sub(r"\s", "", text).upper()
    if not _FINGERPRINT.fullmatch(plain):
        raise ValueError(f"{text!r} is not an OpenPGP fingerprint (40 hexadecimal digits)")
    return plain


@total_ordering
@dataclass(frozen=True)
class ClientVersion:
    """A full BeeGFS client version, e.g. 7.4.6; ordered as numbers."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> ClientVersion:
        """Parse MAJOR.MINOR.PATCH (7.2 alone is the vendor's 7.2.0).

        Raises:
            ValueError: any other form.
        """
        match = _VERSION.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is not a client version such as 7.4.6")
        version = cls(int(match[1]), int(match[2]), int(match[3] or 0))
        # The vendor names the first release of some minor versions without the zero: 7.2, but 7.3.0.
        if match[3] is None and str(version) != text:
            raise ValueError(f"{text!r} is not a full client version: write {version}")
        return version

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    def __lt__(self, other: ClientVersion) -> bool:
        return (self.major, self.minor, self.patch) < (other.major, other.minor, other.patch)

    @property
    def repository_directory(self) -> str:
        """The vendor's directory below the package root: full version for 7, major.minor from 8 on."""
        return f"beegfs_{self}" if self.major < 8 else f"beegfs_{self.major}.{self.minor}"


@total_ordering
@dataclass(frozen=True)
class ReleaseVersion:
    """An OpenShift release version, e.g. 4.16.3 or 4.17.0-rc.1; ordered as semantic versions."""

    text: str

    @classmethod
    def parse(cls, text: str) -> ReleaseVersion:
        """Parse a semantic version.

        Raises:
            ValueError: any other form.
        """
        if not _RELEASE.fullmatch(text):
            raise ValueError(f"{text!r} is not an OpenShift release such as 4.16.3")
        return cls(text)

    def __str__(self) -> str:
        return self.text

    @property
    def minor(self) -> str:
        """The minor version, e.g. 4.16."""
        return ".".join(self.text.split(".")[:2])

    @property
    def _order(self) -> tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]:
        core, _, pre = self.text.partition("+")[0].partition("-")
        parts = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in pre.split(".") if pre)
        return tuple(int(part) for part in core.split(".")), not pre, parts

    def __lt__(self, other: ReleaseVersion) -> bool:
        return self._order < other._order


@dataclass(frozen=True)
class ImageRef:
    """The name of an image: registry host, repository path, and a tag or a digest (or neither)."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Parse HOST[:PORT]/PATH[:TAG][@sha256:…]; the host is never implied. An IPv6 host stands in brackets.

        Raises:
            ValueError: any other form; the message names the malformed part, and shows no user or password.
        """
        shown = redacted_reference(text)
        rest, _, found_digest = text.partition("@")
        host, slash, path_and_tag = rest.partition("/")
        path, _, tag = path_and_tag.partition(":")
        if slash and host.startswith("[") and ("." in host or "%" in host):
            raise ValueError(
                f"{shown!r} names no registry: container engines accept an IPv6 host of hexadecimal digits and "
                "colons alone, without a zone and without an IPv4 address in it"
            )
        match = _HOST.fullmatch(host)
        named = match and int(match[1] or 0) <= _LAST_PORT and ("." in host or ":" in host or host == "localhost")
        if not slash or not named or (host.startswith("[") and not _is_ipv6(host)):
            raise ValueError(f"{shown!r} names no registry: write HOST/PATH, e.g. quay.io/team/image")
        if not _PATH.fullmatch(path):
            raise ValueError(f"{shown!r} names no repository path (lower case letters, digits, . _ - /) after the host")
        if (":" in path_and_tag and not _TAG.fullmatch(tag)) or ("@" in text and not _DIGEST.fullmatch(found_digest)):
            raise ValueError(f"{shown!r}: the tag or the digest is malformed")
        return cls(host, path, tag, found_digest)

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def repository(self) -> str:
        """Host and path, without tag and digest."""
        return f"{self.host}/{self.path}"

    @property
    def registry(self) -> tuple[str, str]:
        """The host and the path of the image in a registry's HTTP API, which differ from its name for Docker Hub.

        Docker maps names the same (moby/moby, daemon/pkg/registry/config.go; older: registry/service_v2.go).
        """
        if self.host not in _HUB:
            return self.host, self.path
        return _HUB_REGISTRY, self.path if "/" in self.path else f"library/{self.path}"

    @property
    def normalized(self) -> str:
        """Host and path in the one spelling by which container engines compare repositories.

        Docker Hub has several (distribution/reference, normalize.go, splitDockerDomain).
        """
        if self.host not in _HUB:
            return self.repository
        return f"{_HUB[0]}/{self.registry[1]}"

    @property
    def pinned(self) -> str:
        """Host, path and digest, by which a container engine pulls the image.

        Raises:
            ValueError: the reference has no digest.
        """
        if not self.digest:
            raise ValueError(f"{self} has no digest")
        return f"{self.repository}@{self.digest}"

    def with_digest(self, found: str) -> ImageRef:
        """Return the same repository and tag at this digest."""
        return ImageRef(self.host, self.path, self.tag, digest(found))

    def with_tag(self, tag: str) -> ImageRef:
        """Return the same repository under this tag, without a digest."""
        return ImageRef(self.host, self.path, tag)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host[1 : host.index("]")])
    except ValueError:
        return False
    return True


def image_tag(name: str) -> str:
    """Return `name` as an image tag: `+`, which no tag may hold, becomes `_` as in KMM.

    Raises:
        ValueError: it is still not a tag.
    """
    tag = name.replace("+", "_").replace("~", "_")
    if not _TAG.fullmatch(tag):
        raise ValueError(f"{name!r} cannot be an image tag")
    return tag
