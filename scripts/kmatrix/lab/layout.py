"""The lab's folders and the names of its containers; its addresses come from its profile alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kmatrix.values.errors import InputError
from kmatrix.values.matrix import Profile
from kmatrix.values.names import Arch

LAB_LABEL = "io.github.beegfs-kmatrix.lab"
IMAGES = "kmatrix-lab"


@dataclass(frozen=True)
class Layout:
    """The lab of one checkout: its folders, its containers' names, its addresses (HOST:PORT)."""

    root: Path
    registry: str
    web: str

    @property
    def id(self) -> str:
        """An id that differs between the labs of several checkouts on one machine."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def state(self) -> Path:
        """The file that lists the parts of the lab, and from which inputs it was built."""
        return self.folder / "state.json"

    def state_of(self, arch: Arch) -> Path:
        """Return the same file for the parts of a further architecture."""
        return self.folder / f"{arch}.json"

    @property
    def folder(self) -> Path:
        """The folder of everything that the lab writes."""
        return self.root / "build" / "lab"

    @property
    def www(self) -> Path:
        """The folder that the web server serves: graph/ and release/."""
        return self.folder / "www"

    @property
    def gnupg(self) -> Path:
        """The signing key; it never leaves this folder."""
        return self.folder / "gnupg"

    @property
    def keys(self) -> Path:
        """The folder of the keys that sign images and kernel modules."""
        return self.folder / "keys"

    @property
    def registry_container(self) -> str:
        """The name of the container that runs the registry, and of the volume with its content."""
        return f"{IMAGES}-{self.id}-registry"

    @property
    def web_container(self) -> str:
        """The name of the container that runs the web server."""
        return f"{IMAGES}-{self.id}-web"

    def images(self, name: str) -> Path:
        """Return the build context of one of the lab's images."""
        return self.root / "images" / f"lab-{name}"


def layout_of(profile: Profile, root: Path) -> Layout:
    """Return the layout of the lab a profile describes.

    Raises:
        InputError: its addresses are not on this machine, or do not fit together.
    """
    registry, web = profile.base.host, urlsplit(profile.graph).netloc
    for key, address in (("base", registry), ("graph", web)):
        host, _, port = address.partition(":")
        if host != "127.0.0.1" or not port:
            raise InputError(
                f"the lab's {key} is at {address}: the lab listens on 127.0.0.1 only",
                f"Set profiles.lab.{key} in matrix.yaml to an address on 127.0.0.1 with a port.",
            )
    if urlsplit(profile.packages).netloc not in (web, ""):
        raise InputError(
            f"the lab's packages are at {profile.packages}, its graph at {profile.graph}: one server serves both",
            "Give graph and packages of profile lab the same host and port.",
        )
    return Layout(root, registry, web)
