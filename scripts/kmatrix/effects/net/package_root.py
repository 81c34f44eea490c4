"""Reads a BeeGFS package root, on a web server or in a local folder, in the vendor's layout.

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
from kmatrix.effects.net.bodies import download
from kmatrix.effects.net.encodings import content_that
from kmatrix.values.errors import InputError, ProtocolError
from kmatrix.values.names import Arch
from kmatrix.values.redaction import redacted_reference

_SERVICE = "package root"
KEY_LOCATIONS = ("gpg/GPG-KEY-beegfs", "gpg/RPM-GPG-KEY-beegfs")
_LOOK = (
    "Open the address in a browser: it must be the vendor's folder, or a copy in the same layout. Set another one with"
    " packages in matrix.yaml, --packages or KMATRIX_PACKAGES."
)
_IN_MID_UPDATE = (
    "A mirror may be in the middle of an update: run the command again in some minutes. If this persists, repair the"
    " mirror, or name another package root with packages in matrix.yaml (--packages, KMATRIX_PACKAGES)."
)
_WITHOUT_FOLDERS = (
    "If the packages should exist, run the command again in some minutes. Otherwise, name a server that answers for"
    " folders, as nginx and Apache do, or a local folder, with packages in matrix.yaml, --packages or"
    " KMATRIX_PACKAGES; or remove this client version from matrix.yaml."
)


class PackageRoot:
    """A package root; `where` is an http(s) address or a folder. Safe to share between threads."""

    def __init__(self, where: str, root: Path) -> None:
        """Open a package root.

        Args:
            where: address or folder; a relative folder is resolved against `root`.
            root: the project's folder.

        Raises:
            InputError: the folder does not exist.
        """
        self.where = where.rstrip("/")
        self._folder: Path | None = None
        if "://" not in where:
            self._folder = (root / where.removeprefix("file:")).resolve()
            if not self._folder.is_dir():
                # An absolute path is one; anything else may be an address without its scheme.
                shown = where if where.startswith(("/", "file:")) else redacted_reference(where)
                raise InputError(
                    f"package root {shown}: there is no such folder",
                    "Set packages in matrix.yaml, --packages or KMATRIX_PACKAGES to a folder or a web address.",
                )
        self._session = http.new_session()

    def read(self, path: str, fits: Callable[[bytes], bool] | None = None) -> bytes | None:
        """Return a file's content, or None if the root reports that it is missing.

        Args:
            path: below the root.
            fits: whether content has the file's checksum, where one is known. It only distinguishes a file's own
                compression from a server's: other content is returned too.

        Raises:
            UnreachableError: it could not be determined.
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
                    "The folder must have the vendor's layout, and be readable for the user who runs this command.",
                ) from error
        url = f"{self.where}/{path}"

        def read(response: requests.Response) -> bytes | None:
            if response.status_code == requests.codes.not_found:
                return None
            if response.status_code != requests.codes.ok:
                raise ProtocolError(f"{_SERVICE}: {url} answers {response.status_code} {response.reason}", _LOOK)
            return content_that(response, fits)

        return http.read_body(lambda: http.get(self._session, url, _SERVICE), read, _SERVICE)

    def fetch(self, path: str, sha256: str, target: Path) -> None:
        """Copy a file to `target` unless `target` has this SHA-256 already.

        Raises:
            UnreachableError: the root could not be reached.
            ProtocolError: the file does not exist, or its content is not the pinned one.
        """
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == sha256:
            return
        if self._folder is None:
            download(self._session, f"{self.where}/{path}", target, sha256, _SERVICE)
            return
        data = self.read(path)
        if data is None:
            raise ProtocolError(
                f"package root {self.where}: {path} is pinned but does not exist",
                "Run `nox -s discover` for the same profile.",
            )
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise ProtocolError(
                f"{_SERVICE}: {self.where}/{path} has the SHA-256 {found}, but {sha256} is pinned",
                "If the file was replaced on purpose, run `nox -s discover` for the same profile "
                "and review the changes.",
            )
        write_atomically(target, data)

    def packages(self, directory: str, stream: str, arch: Arch, names: Collection[str]) -> tuple[Package, ...] | None:
        """Return a repository's packages of some names for an RHEL major and arch (noarch ones included).

        Args:
            directory: the repository directory, e.g. beegfs_7.4.6.
            stream: the RHEL major, e.g. el9.
            arch: the machine.
            names: of the packages.

        Returns:
            None if the root has no repository for the RHEL major, and proves to be a package root.

        Raises:
            UnreachableError, ProtocolError, InputError: it could not be determined.
        """
        base = f"dists/rhel{stream.removeprefix('el')}"
        repomd = self.read(f"{directory}/{base}/repodata/repomd.xml")
        if repomd is None:
            self._check_absence(directory, base)
            return None
        name = f"{_SERVICE} {self.where}/{directory}/{base}"
        own_address = "" if self._folder else f"{self.where}/{directory}/{base}/"
        location, checksum = primary_of(repomd, name, own_address)
        primary = self.read(f"{directory}/{base}/{location}", checksum.fits)
        if primary is None:
            raise ProtocolError(f"{name}: its repomd.xml names {location}, which does not exist", _IN_MID_UPDATE)
        if not checksum.fits(primary):
            raise ProtocolError(f"{name}: {location} does not have the checksum in repomd.xml", _IN_MID_UPDATE)
        found = packages_of(package_list(primary, location), name, own_address, names, ("noarch", arch))
        return tuple(replace(package, location=f"{base}/{package.location}") for package in found)

    def sha256_of(self, directory: str, package: Package) -> str:
        """Return the SHA-256 of a package; if the metadata has another checksum, the file is read and compared with it.

        Raises:
            UnreachableError, InputError: it could not be determined.
            ProtocolError: the file does not exist, or differs from the metadata.
        """
        if package.checksum.kind == "sha256":
            return package.checksum.value
        data = self.read(f"{directory}/{package.location}", package.checksum.fits)
        name = f"{_SERVICE} {self.where}/{directory}"
        if data is None:
            raise ProtocolError(f"{name}: its metadata names {package.location}, which does not exist", _IN_MID_UPDATE)
        if not package.checksum.fits(data):
            kind = package.checksum.kind
            raise ProtocolError(f"{name}: {package.location} does not have the {kind} in its metadata", _IN_MID_UPDATE)
        return hashlib.sha256(data).hexdigest()

    def _check_absence(self, directory: str, base: str) -> None:
        """Refuse a 404 for a repository's index that does not prove that there is no such repository.

        A proxy's page, a wrong address and a mirror that is being written answer 404 as well, and pins would be lost.
        The folders around the index decide: that of the RHEL major must be absent, on a server that is seen to answer
        for folders (with anything but 404, as it need not list them), which object stores do not; and that of the
        version must be absent too, or hold the client's key.

        Raises:
            UnreachableError, ProtocolError, InputError: it could not be determined.
        """
        name = f"{_SERVICE} {self.where}"
        if self._has_folder(f"{directory}/{base}/"):
            raise ProtocolError(f"{name}: {directory}/{base} exists, but has no repodata/repomd.xml", _IN_MID_UPDATE)
        if any(self.read(f"{directory}/{location}") is not None for location in KEY_LOCATIONS):
            if not self._has_folder(f"{directory}/gpg/"):
                raise ProtocolError(
                    f"{name}: it answers 404 for {directory}/{base}, but for the folder of its own key as well, so this"
                    " does not show whether there are packages",
                    _WITHOUT_FOLDERS,
                )
            return
        if self._has_folder(f"{directory}/"):
            keys = " nor ".join(KEY_LOCATIONS)
            raise ProtocolError(f"{name}: {directory} exists, but has neither {keys}", _IN_MID_UPDATE)
        if not self._has_folder(""):
            raise ProtocolError(
                f"{name}: it answers 404 for {directory}/{base}, and for its own address as well, so this does not show"
                " which packages it has",
                _LOOK,
            )

    def _has_folder(self, path: str) -> bool:
        if self._folder is not None:
            return (self._folder / path).is_dir()
        url = f"{self.where}/{path}"

        def exists(response: requests.Response) -> bool:
            return bool(response.status_code != requests.codes.not_found)

        return http.read_body(lambda: http.get(self._session, url, _SERVICE), exists, _SERVICE)
