"""Reads a BeeGFS package root: a web server's or a local folder's, in the vendor's layout.

Layout (docs of BeeGFS, seen in its repositories): ROOT/beegfs_7.4.6/ or ROOT/beegfs_8.2/, below it
gpg/GPG-KEY-beegfs (older: gpg/RPM-GPG-KEY-beegfs) and dists/rhel9/repodata/.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import requests
import zstandard
from defusedxml import DefusedXmlException

from kmatrix.effects import http
from kmatrix.effects.files import write_atomically
from kmatrix.values.errors import InputError, ProtocolError
from kmatrix.values.names import Arch

_SERVICE = "package root"
_REPO = "{http://linux.duke.edu/metadata/repo}"
_COMMON = "{http://linux.duke.edu/metadata/common}"
KEY_LOCATIONS = ("gpg/GPG-KEY-beegfs", "gpg/RPM-GPG-KEY-beegfs")


@dataclass(frozen=True)
class Package:
    """One package of a repository; `location` is relative to the repository directory (beegfs_7.4.6)."""

    name: str
    epoch: str
    version: str
    release: str
    arch: str
    location: str
    sha256: str
    size: int

    @property
    def nevra(self) -> str:
        """name-epoch:version-release.arch, as rpm prints it."""
        return f"{self.name}-{self.epoch}:{self.version}-{self.release}.{self.arch}"


class PackageRoot:
    """A package root; `where` is an http(s) address or a folder. Safe to share between threads."""

    def __init__(self, where: str, root: Path) -> None:
        """Open a package root.

        Args:
            where: address or folder; a relative folder is taken from `root`.
            root: the project's folder.

        Raises:
            InputError: the folder is not there.
        """
        self.where = where.rstrip("/")
        self._folder: Path | None = None
        if "://" not in where:
            self._folder = (root / where.removeprefix("file:")).resolve()
            if not self._folder.is_dir():
                raise InputError(
                    f"package root {where}: there is no such folder",
                    "Set packages in matrix.yaml, --packages or KMATRIX_PACKAGES to a folder or a web address.",
                )
        self._session = http.new_session()

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None where the root says there is none.

        Raises:
            UnreachableError: it could not be told.
            ProtocolError: the server answers neither 200 nor 404.
        """
        if self._folder is not None:
            try:
                return (self._folder / path).read_bytes()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise InputError(f"package root: cannot read {self._folder / path}: {error.strerror}") from error
        url = f"{self.where}/{path}"

        def read(response: requests.Response) -> bytes | None:
            if response.status_code == requests.codes.not_found:
                return None
            if response.status_code != requests.codes.ok:
                raise ProtocolError(f"{_SERVICE}: {url} answers {response.status_code} {response.reason}")
            return response.content

        return http.whole(lambda: http.get(self._session, url, _SERVICE), read, _SERVICE)

    def fetch(self, path: str, sha256: str, target: Path) -> None:
        """Bring a file to `target` if it is not there with this SHA-256 already.

        Raises:
            UnreachableError: it could not be asked.
            ProtocolError: it is not there, or its content is another than pinned.
        """
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == sha256:
            return
        if self._folder is None:
            http.download(self._session, f"{self.where}/{path}", target, sha256, _SERVICE)
            return
        data = self.read(path)
        if data is None:
            raise ProtocolError(f"package root {self.where}: {path} is pinned but not there", "Run `nox -s discover`.")
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise ProtocolError(
                f"{_SERVICE}: {self.where}/{path} has the SHA-256 {found}, the pin says {sha256}",
                "If the file was replaced on purpose, run `nox -s discover` and look at what changed.",
            )
        write_atomically(target, data)

    def packages(self, directory: str, line: str, arch: Arch) -> tuple[Package, ...] | None:
        """Return the packages of a repository for an RHEL line and arch (noarch ones included).

        Args:
            directory: the repository directory, e.g. beegfs_7.4.6.
            line: e.g. el9.
            arch: the machine.

        Returns:
            None where the root has no repository for the line.

        Raises:
            UnreachableError, ProtocolError: it could not be told.
        """
        base = f"dists/rhel{line.removeprefix('el')}"
        repomd = self.read(f"{directory}/{base}/repodata/repomd.xml")
        if repomd is None:
            return None
        name = f"{_SERVICE} {self.where}/{directory}/{base}"
        location, sha256 = _primary_of(repomd, name)
        primary = self.read(f"{directory}/{base}/{location}")
        if primary is None:
            raise ProtocolError(f"{name}: its repomd.xml names {location}, which is not there")
        if hashlib.sha256(primary).hexdigest() != sha256:
            raise ProtocolError(f"{name}: {location} is not what repomd.xml says (a mirror in mid-update?)")
        found = _packages_of(_decompressed(primary, location), name, base)
        return tuple(package for package in found if package.arch in ("noarch", arch))


def _parsed(data: bytes, name: str) -> Element:
    try:
        root: Element = defusedxml.ElementTree.fromstring(data)
    except (ParseError, DefusedXmlException) as error:
        raise ProtocolError(f"{name}: not readable as repository metadata: {error}") from error
    return root


def _primary_of(repomd: bytes, name: str) -> tuple[str, str]:
    for data in _parsed(repomd, f"{name}/repodata/repomd.xml").iter(f"{_REPO}data"):
        location, checksum = data.find(f"{_REPO}location"), data.find(f"{_REPO}checksum")
        if data.get("type") == "primary" and location is not None and checksum is not None:
            if checksum.get("type") != "sha256":
                raise ProtocolError(f"{name}: its repomd.xml has no SHA-256 checksum for primary")
            return location.get("href", ""), checksum.text or ""
    raise ProtocolError(f"{name}: its repomd.xml names no primary metadata")


def _decompressed(data: bytes, location: str) -> bytes:
    try:
        if location.endswith(".gz"):
            return gzip.decompress(data)
        if location.endswith(".xz"):
            return lzma.decompress(data)
        if location.endswith(".zst"):
            return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise ProtocolError(f"{location}: not readable: {error}") from error
    return data


def _packages_of(primary: bytes, name: str, base: str) -> Iterable[Package]:
    for entry in _parsed(primary, f"{name} (primary)").iter(f"{_COMMON}package"):
        fields = {child.tag.removeprefix(_COMMON): child for child in entry}
        try:
            version, checksum = fields["version"], fields["checksum"]
            if checksum.get("type") != "sha256":
                raise ProtocolError(f"{name}: a package without a SHA-256 checksum")
            yield Package(
                name=fields["name"].text or "",
                epoch=version.get("epoch", "0"),
                version=version.attrib["ver"],
                release=version.attrib["rel"],
                arch=fields["arch"].text or "",
                location=f"{base}/{fields['location'].attrib['href']}",
                sha256=checksum.text or "",
                size=int(fields["size"].attrib["package"]),
            )
        except (KeyError, ValueError) as error:
            raise ProtocolError(f"{name}: a package without {error} in its primary metadata") from error
