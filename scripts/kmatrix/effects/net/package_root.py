"""Reads a BeeGFS package root: a web server's or a local folder's, in the vendor's layout.

Layout (docs of BeeGFS, seen in its repositories): ROOT/beegfs_7.4.6/ or ROOT/beegfs_8.2/, below it
gpg/GPG-KEY-beegfs (older: gpg/RPM-GPG-KEY-beegfs) and dists/rhel9/repodata/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import requests

from kmatrix.decide.formats.repodata import Package, package_list, packages_of, primary_of
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.net import http
from kmatrix.effects.registry.encodings import content_that
from kmatrix.values.errors import InputError, ProtocolError
from kmatrix.values.names import Arch
from kmatrix.values.redaction import redacted_reference

_SERVICE = "package root"
KEY_LOCATIONS = ("gpg/GPG-KEY-beegfs", "gpg/RPM-GPG-KEY-beegfs")
_LOOK = (
    "Open the address in a browser: it must be the vendor's folder, or a copy in the same layout. Set another with"
    " packages in matrix.yaml, --packages or KMATRIX_PACKAGES."
)
_IN_MID_UPDATE = (
    "A mirror may be in the middle of an update: run the command again in some minutes. If it stays so, the mirror must"
    " be made whole, or packages in matrix.yaml (--packages, KMATRIX_PACKAGES) must name another package root."
)
_WITHOUT_FOLDERS = (
    "If the packages are to be there, run the command again in some minutes. If they are not, this must be asked of a"
    " server that answers for folders, as nginx and Apache do, or of a local folder: name one with packages in"
    " matrix.yaml, --packages or KMATRIX_PACKAGES, or take this client version out of matrix.yaml."
)


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
                # A path from the top is one; anything else may be an address whose beginning was left out.
                shown = where if where.startswith(("/", "file:")) else redacted_reference(where)
                raise InputError(
                    f"package root {shown}: there is no such folder",
                    "Set packages in matrix.yaml, --packages or KMATRIX_PACKAGES to a folder or a web address.",
                )
        self._session = http.new_session()

    def read(self, path: str, fits: Callable[[bytes], bool] | None = None) -> bytes | None:
        """Return a file's content, or None where the root says there is none.

        Args:
            path: below the root.
            fits: whether a content is the file's own, as a checksum says, where there is one. It is asked only to tell
                a file's own compression from a server's: other content is returned too.

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
                raise InputError(
                    f"package root: cannot read {self._folder / path}: {error.strerror}",
                    "The folder must be in the vendor's layout, and readable for the user that runs this.",
                ) from error
        url = f"{self.where}/{path}"

        def read(response: requests.Response) -> bytes | None:
            if response.status_code == requests.codes.not_found:
                return None
            if response.status_code != requests.codes.ok:
                raise ProtocolError(f"{_SERVICE}: {url} answers {response.status_code} {response.reason}", _LOOK)
            return content_that(response, fits)

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
            raise ProtocolError(
                f"package root {self.where}: {path} is pinned but not there",
                "Run `nox -s discover` for the same profile.",
            )
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise ProtocolError(
                f"{_SERVICE}: {self.where}/{path} has the SHA-256 {found}, the pin says {sha256}",
                "If the file was replaced on purpose, run `nox -s discover` for the same profile "
                "and look at what changed.",
            )
        write_atomically(target, data)

    def packages(self, directory: str, line: str, arch: Arch, names: Collection[str]) -> tuple[Package, ...] | None:
        """Return the packages with some names of a repository for an RHEL line and arch (noarch ones included).

        Args:
            directory: the repository directory, e.g. beegfs_7.4.6.
            line: e.g. el9.
            arch: the machine.
            names: of the packages.

        Returns:
            None where the root has no repository for the line, and shows that it is the one to know.

        Raises:
            UnreachableError, ProtocolError, InputError: it could not be told.
        """
        base = f"dists/rhel{line.removeprefix('el')}"
        repomd = self.read(f"{directory}/{base}/repodata/repomd.xml")
        if repomd is None:
            self._check_absence(directory, base)
            return None
        name = f"{_SERVICE} {self.where}/{directory}/{base}"
        own_address = "" if self._folder else f"{self.where}/{directory}/{base}/"
        location, checksum = primary_of(repomd, name, own_address)
        primary = self.read(f"{directory}/{base}/{location}", checksum.fits)
        if primary is None:
            raise ProtocolError(f"{name}: its repomd.xml names {location}, which is not there", _IN_MID_UPDATE)
        if not checksum.fits(primary):
            raise ProtocolError(f"{name}: {location} is not what repomd.xml says", _IN_MID_UPDATE)
        found = packages_of(package_list(primary, location), name, own_address, names, ("noarch", arch))
        return tuple(replace(package, location=f"{base}/{package.location}") for package in found)

    def sha256_of(self, directory: str, package: Package) -> str:
        """Return the SHA-256 of a package; where the metadata has another checksum, the file is read and held to that.

        Raises:
            UnreachableError, InputError: it could not be told.
            ProtocolError: the file is not there, or not what the metadata says.
        """
        if package.checksum.kind == "sha256":
            return package.checksum.value
        data = self.read(f"{directory}/{package.location}", package.checksum.fits)
        name = f"{_SERVICE} {self.where}/{directory}"
        if data is None:
            raise ProtocolError(f"{name}: its metadata names {package.location}, which is not there", _IN_MID_UPDATE)
        if not package.checksum.fits(data):
            kind = package.checksum.kind
            raise ProtocolError(f"{name}: {package.location} has not the {kind} of its metadata", _IN_MID_UPDATE)
        return hashlib.sha256(data).hexdigest()

    def _check_absence(self, directory: str, base: str) -> None:
        """Refuse a 404 for a repository's index that does not say that there is no such repository.

        A proxy's page, a wrong address and a mirror that is being written answer 404 as well, and pins would be lost.
        What lies around the index tells: the folder of the line must be absent, on a server that is seen to answer for
        folders (anything but 404, as it need not list them), which object stores do not; and the folder of the version
        must be absent too, or hold the client's key.

        Raises:
            UnreachableError, ProtocolError, InputError: it could not be told.
        """
        name = f"{_SERVICE} {self.where}"
        if self._has_folder(f"{directory}/{base}/"):
            raise ProtocolError(f"{name}: {directory}/{base} is there, but has no repodata/repomd.xml", _IN_MID_UPDATE)
        if any(self.read(f"{directory}/{location}") is not None for location in KEY_LOCATIONS):
            if not self._has_folder(f"{directory}/gpg/"):
                raise ProtocolError(
                    f"{name}: it answers 404 for {directory}/{base}, but for the folder of its own key as well, so this"
                    " does not tell whether there are packages",
                    _WITHOUT_FOLDERS,
                )
            return
        if self._has_folder(f"{directory}/"):
            keys = " or ".join(KEY_LOCATIONS)
            raise ProtocolError(f"{name}: {directory} is there, but has none of {keys}", _IN_MID_UPDATE)
        if not self._has_folder(""):
            raise ProtocolError(
                f"{name}: it answers 404 for {directory}/{base}, and for its own address as well, so this does not tell"
                " what it has",
                _LOOK,
            )

    def _has_folder(self, path: str) -> bool:
        if self._folder is not None:
            return (self._folder / path).is_dir()
        url = f"{self.where}/{path}"

        def told(response: requests.Response) -> bool:
            return bool(response.status_code != requests.codes.not_found)

        return http.whole(lambda: http.get(self._session, url, _SERVICE), told, _SERVICE)
