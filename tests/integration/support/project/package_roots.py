"""Package roots as local folders: the lab's own client of one version, and packages with one fault of another."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.lab.layout import Layout
from kmatrix.lab.packages import package_client
from kmatrix.values.names import ClientVersion
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT

LINE = "el9"


@dataclass(frozen=True)
class _OtherKey(Layout):
    """The lab with another signing key."""

    folder_of_key: Path

    @property
    def gnupg(self) -> Path:
        return self.folder_of_key


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others away from a folder: two containers that sign with one key ring end each other's agent."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


class PackageFolder:
    """A package root in a folder: NEWER_CLIENT is the lab's, OLDER_CLIENT is a test's."""

    def __init__(self, root: Path, lab: Lab) -> None:
        self.root = root
        self._lab = lab
        sound = ClientVersion.parse(NEWER_CLIENT).repository_directory
        shutil.copytree(lab.layout.www / "release" / sound, root / sound)

    @property
    def repository(self) -> Path:
        """The repository of the test's packages."""
        return self.root / ClientVersion.parse(OLDER_CLIENT).repository_directory

    @property
    def packages(self) -> Path:
        """The folder of its RPMs, in noarch and x86_64."""
        return self.repository / "dists" / f"rhel{LINE.removeprefix('el')}"

    def make(self, *arguments: str, version: str = OLDER_CLIENT, gnupg: Path | None = None) -> None:
        """Package the stand-in client with arguments of images/lab-client/package, by default with the lab's key.

        Its sources are one unit, which takes half the time to compile.
        """
        lab = self._lab.layout
        layout = _OtherKey(lab.root, lab.registry, lab.web, gnupg) if gnupg else lab
        words = ["--version", version, "--dist", LINE, "--one-unit", *arguments]
        with DockerEngine("tests") as engine, _alone(layout.gnupg):
            package_client(engine, layout, self._lab.workshop, self.root, words)

    def take_key_of_the_lab(self) -> None:
        """Publish the lab's key, whichever key signed the packages."""
        key = Path("gpg", "GPG-KEY-beegfs")
        shutil.copy(self._lab.layout.www / "release" / self.repository.name / key, self.repository / key)

    def alter(self, package: str, change: Callable[[bytes], bytes]) -> None:
        """Change an RPM, and its checksum in the metadata accordingly."""
        (path,) = self.packages.rglob(f"{package}-*.rpm")
        old = path.read_bytes()
        new = change(old)
        path.write_bytes(new)
        self.alter_metadata(lambda text: text.replace(hashlib.sha256(old).hexdigest(), hashlib.sha256(new).hexdigest()))

    def alter_metadata(self, change: Callable[[str], str]) -> None:
        """Change the primary metadata, and its checksum in repomd.xml accordingly."""
        repomd = self.packages / "repodata" / "repomd.xml"
        (primary,) = repomd.parent.glob("*-primary.xml.gz")
        packed = primary.read_bytes()
        text = gzip.decompress(packed).decode()
        changed = change(text)
        assert changed != text
        again = gzip.compress(changed.encode())
        primary.write_bytes(again)
        entry = repomd.read_text(encoding="utf-8")
        old, new = hashlib.sha256(packed).hexdigest(), hashlib.sha256(again).hexdigest()
        # The file's name, which holds its checksum as well, stays.
        repomd.write_text(entry.replace(f">{old}</checksum>", f">{new}</checksum>"), encoding="utf-8")
