"""A project whose profile discovers the releases of a service on this machine, by the real command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kmatrix.cli import main
from kmatrix.values.lock import ProfileLock, read_lock
from tests.unit.support.release_service import ReleaseService
from tests.unit.test_discover_packages import CLIENT, FIRST, KEY, put, put_packages


@dataclass(frozen=True)
class DiscoveryProject:
    """A project in a folder; `authfile` has the service's credential, if it demands one."""

    root: Path
    authfile: Path
    profile: str

    def run(self, command: str, *arguments: str) -> int:
        """Run a command and return its exit code."""
        return main([command, *arguments, "--root", str(self.root)])

    def discover(self, *arguments: str) -> int:
        """Run `discover` and return its exit code."""
        return self.run("discover", "--authfile", str(self.authfile), *arguments)

    @property
    def text(self) -> str:
        """The text of the lock; empty if there is none."""
        path = self.root / "matrix.lock"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def pins(self) -> ProfileLock:
        """The pins in the lock."""
        return read_lock(self.text).profiles[self.profile]

    @property
    def kernels(self) -> dict[str, list[str]]:
        """The kernels of each release in the lock."""
        return {str(pin.version): [kernel.release for kernel in pin.kernels] for pin in self.pins.releases}

    @property
    def unresolved(self) -> dict[str, str]:
        """The obstacle of each unresolved release in the lock."""
        return {str(pin.version): pin.obstacle for pin in self.pins.unresolved}

    def forget_answers(self) -> None:
        """Remove what earlier discoveries kept on disk."""
        shutil.rmtree(self.root / "build" / "cache", ignore_errors=True)

    def forget_lock(self) -> None:
        """Remove the lock."""
        (self.root / "matrix.lock").unlink()


def discovery_project(
    root: Path,
    service: ReleaseService,
    channels: Iterable[str | Mapping[str, Any]],
    profile: str = "site",
    **more: Any,
) -> DiscoveryProject:
    """Write a project for the channels of a service, with a package root of its own.

    Args:
        root: the project's folder.
        service: the releases.
        channels: their names, or with other keys as in matrix.yaml.
        profile: the name of its only profile.
        more: other keys of the profile.
    """
    put(root, "packages/beegfs_8.98/gpg/GPG-KEY-beegfs", KEY.read_bytes())
    names = ("beegfs-client", "beegfs-tools")
    put_packages(root / "packages", *((name, "", str(CLIENT), "1.el9") for name in names), kind="sha256")
    stated = {
        "about": "made-up releases",
        "graph": service.graph,
        "packages": "packages",
        "key_fingerprint": FIRST,
        "base": service.image("base/minimal", "latest"),
        "base_stream": "el9",
        "channels": [{"name": each} if isinstance(each, str) else each for each in channels],
        "arches": ["x86_64"],
        "flavours": ["standard", "rt"],
        "clients": [str(CLIENT)],
        **more,
    }
    matrix = {"schema": 1, "default_profile": profile, "profiles": {profile: stated}}
    put(root, "matrix.yaml", yaml.safe_dump(matrix).encode())
    auths = {}
    if service.user:
        name, password = service.user
        auths[service.registry.address] = {"username": name, "password": password}
    put(root, "auth.json", json.dumps({"auths": auths}).encode())
    return DiscoveryProject(root, root / "auth.json", profile)
