"""Read the metadata of an RPM repository: the place of its package list, its packages, the newest of each.

The formats are createrepo_c's (rpm-software-management/createrepo_c, src/xml_dump_primary.c, src/xml_dump_repomd.c).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from kmatrix.decide.formats import compression
from kmatrix.decide.formats.rpm_versions import evr_order
from kmatrix.values.errors import ProtocolError
from kmatrix.values.fields import relative_path

_REPO = "{http://linux.duke.edu/metadata/repo}"
_COMMON = "{http://linux.duke.edu/metadata/common}"
_BASE = "{http://www.w3.org/XML/1998/namespace}base"
_PORTS = {"http": 80, "https": 443}
_CHECKSUMS = ("sha256", "sha384", "sha512")
_REGENERATE = (
    "Ask the maintainer of this repository to regenerate its metadata with `createrepo_c --checksum sha256`, which is"
    " the program's default."
)
_OUT_OF_STEP = (
    "A mirror may be in the middle of an update: run the command again in some minutes. If it stays, the mirror's"
    " metadata must be regenerated, or packages in matrix.yaml must name another package root."
)


@dataclass(frozen=True)
class Checksum:
    """A checksum of a file: `kind` is sha256, sha384 or sha512, `value` its hexadecimal digits."""

    kind: str
    value: str

    def fits(self, data: bytes) -> bool:
        """Return whether these are the file's bytes."""
        return hashlib.new(self.kind, data).hexdigest() == self.value


@dataclass(frozen=True)
class Package:
    """One package of a repository; `location` is relative to the repository directory (beegfs_7.4.6), `size` in bytes.

    `epoch` is a number in text; a package without one has 0, as rpm compares it.
    """

    name: str
    epoch: str
    version: str
    release: str
    arch: str
    location: str
    checksum: Checksum
    size: int

    @property
    def nevra(self) -> str:
        """The package as rpm names it: name-epoch:version-release.arch."""
        return f"{self.name}-{self.epoch}:{self.version}-{self.release}.{self.arch}"


def newest_of_each(packages: Iterable[Package]) -> dict[str, Package]:
    """Return the newest package of every name, by epoch, version and release as rpm compares them.

    Of two that are equal in these, the one whose architecture is later as text is taken (x86_64 before noarch, noarch
    before aarch64), and of two of one architecture the earlier, as dnf's `max` has it
    (rpm-software-management/libdnf, libdnf/hy-package.cpp, dnf_package_cmp).
    """
    chosen: dict[str, Package] = {}
    for package in packages:
        before = chosen.get(package.name)
        if before is None or _order(package) > _order(before):
            chosen[package.name] = package
    return chosen


def _order(package: Package) -> tuple[object, ...]:
    return (*evr_order(int(package.epoch), package.version, package.release), package.arch)


def primary_of(repomd: bytes, name: str, own_address: str) -> tuple[str, Checksum]:
    """Return the location of a repository's package list, relative to the repository, and its checksum.

    Args:
        repomd: repomd.xml.
        name: of the repository, for errors.
        own_address: the repository's web address with a slash at its end; empty for a folder.

    Raises:
        ProtocolError: it names none, or one outside of the repository or with a checksum that proves nothing.
    """
    for data in _parsed(repomd, f"{name}/repodata/repomd.xml").iter(f"{_REPO}data"):
        location, checksum = data.find(f"{_REPO}location"), data.find(f"{_REPO}checksum")
        if data.get("type") == "primary" and location is not None and checksum is not None:
            what = "its package list"
            return _location(location, name, own_address, what), _checksum(checksum, name, what)
    raise ProtocolError(f"{name}: its repomd.xml names no primary metadata", _OUT_OF_STEP)


def packages_of(
    primary: bytes, name: str, own_address: str, names: Collection[str], arches: Collection[str]
) -> tuple[Package, ...]:
    """Return the packages of some names and architectures; the locations are relative to the repository.

    Args:
        primary: the package list, decompressed.
        name: of the repository, for errors.
        own_address: the repository's web address with a slash at its end; empty for a folder.
        names: of the packages that are wanted; all others are ignored, also malformed ones.
        arches: of the packages that are wanted.

    Raises:
        ProtocolError: the entry of a wanted package is malformed.
    """
    return tuple(_packages(primary, name, own_address, names, arches))


def package_list(data: bytes, location: str) -> bytes:
    """Return a metadata file unpacked by its own first bytes; all members, streams and frames of it.

    Args:
        data: the file.
        location: its name, for errors.

    Raises:
        ProtocolError: it cannot be decompressed.
    """
    try:
        return b"".join(compression.decompressed((data,)))
    except compression.DamagedError as error:
        raise ProtocolError(f"{location}: not readable: {error}", _OUT_OF_STEP) from error


def _parsed(data: bytes, name: str) -> Element:
    try:
        root: Element = defusedxml.ElementTree.fromstring(data)
    except (ParseError, DefusedXmlException) as error:
        raise ProtocolError(
            f"{name}: not readable as repository metadata: {error}",
            "If a proxy or a sign-in page answers in its place, check packages in matrix.yaml (--packages,"
            " KMATRIX_PACKAGES).",
        ) from error
    return root


def _packages(
    primary: bytes, name: str, own_address: str, names: Collection[str], arches: Collection[str]
) -> Iterator[Package]:
    for entry in _parsed(primary, f"{name} (primary)").iter(f"{_COMMON}package"):
        fields = {child.tag.removeprefix(_COMMON): child for child in entry}
        try:
            own, arch = fields["name"].text or "", fields["arch"].text or ""
            if own not in names or arch not in arches:
                continue
            version = fields["version"]
            yield Package(
                name=own,
                # createrepo_c always writes the attribute, other programs omit it or leave it empty.
                epoch=str(int(version.get("epoch") or "0")),
                version=version.attrib["ver"],
                release=version.attrib["rel"],
                arch=arch,
                location=_location(fields["location"], name, own_address, f"package {own}"),
                checksum=_checksum(fields["checksum"], name, f"package {own}"),
                size=int(fields["size"].attrib["package"]),
            )
        except (KeyError, ValueError) as error:
            raise ProtocolError(f"{name}: a package without {error} in its primary metadata", _OUT_OF_STEP) from error


def _checksum(element: Element, name: str, what: str) -> Checksum:
    kind, value = element.get("type", ""), (element.text or "").strip().lower()
    if kind in ("md5", "sha", "sha1"):
        raise ProtocolError(
            f"{name}: {what} has only {'an MD5' if kind == 'md5' else 'a SHA-1'} checksum, which proves nothing: files"
            " that differ can be crafted to have the same one",
            _REGENERATE,
        )
    if kind not in _CHECKSUMS:
        known = ", ".join(_CHECKSUMS)
        raise ProtocolError(f"{name}: {what} has a checksum of type {kind!r}, not one of {known}", _REGENERATE)
    if len(value) != hashlib.new(kind).digest_size * 2 or set(value) - set("0123456789abcdef"):
        raise ProtocolError(f"{name}: {what} has the {kind} checksum {value!r}, which is malformed", _REGENERATE)
    return Checksum(kind, value)


def _normal(own_address: str, base: str, href: str = "") -> str:
    """Return an address normalised for comparison (RFC 3986, 6.2.2.1 and 6.2.3), without user; empty if malformed."""
    try:
        parts = urlsplit(urljoin(own_address, base))
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return ""
    if parts.query or parts.fragment:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path}{href}"


def _location(element: Element, name: str, own_address: str, what: str) -> str:
    """Return the location relative to the repository; `xml:base` is honoured if it leads to the repository itself."""
    href, base = element.get("href", ""), element.get(_BASE)
    if base is not None:
        own, address = _normal(own_address, ""), _normal(own_address, base.rstrip("/") + "/", href)
        if not own_address or not own or not address.startswith(own):
            raise ProtocolError(
                f"{name}: {what} lies elsewhere: its metadata gives {href!r} the base {base!r}",
                "Only packages below the package root itself are accepted. Set packages in matrix.yaml (--packages,"
                " KMATRIX_PACKAGES) to their address, or have the metadata regenerated without `--baseurl`.",
            )
        href = address.removeprefix(own)
    try:
        return relative_path(href)
    except ValueError as error:
        raise ProtocolError(
            f"{name}: {what} is not below the repository: {error}",
            "Have the metadata regenerated in the folder that holds the packages, without `--location-prefix`.",
        ) from error
