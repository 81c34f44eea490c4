"""Projects for the command `manifests`: matrix, pins and packages on disk, and bundles as far as their file goes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kmatrix.cli import main
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.disk.bundles import write_bundles
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.lock import Lock, ProfileLock, inputs_digest, write_lock
from kmatrix.values.names import ImageRef, ReleaseVersion
from kmatrix.values.pins import KernelPin, ReleasePin
from tests.unit.support.made_up_profile import FINGERPRINT, KERNELS, ROOT, client_pin, digest
from tests.unit.support.manifest_maker import REPOSITORY

PROFILE = "here"
CLIENTS = ("7.4.6", "8.2.2")
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmade up\n-----END PGP PUBLIC KEY BLOCK-----\n"
RELEASE, RHEL, KERNEL = KERNELS["el9"]
# Where a matrix, a command line or an environment could send the command elsewhere.
SETTINGS = ("GRAPH", "PACKAGES", "TARGET", "LOCK", "MIRRORS", "PROFILE", "ROOT", "BASE", "KEY_FINGERPRINT")
_MATRIX = f"""
schema: 1
default_profile: {PROFILE}
profiles:
  {PROFILE}:
    about: a profile for tests
    graph: https://graph.example/graph
    packages: packages
    key_fingerprint: {FINGERPRINT}
    base: registry.example/base/minimal:latest
    base_stream: el9
    target: {REPOSITORY.rpartition("/")[0]}
    channels: [{{name: stable-4.16}}]
    arches: [x86_64]
    flavours: [standard, rt]
    clients: [CLIENTS]
    max_unavailable: 10%
"""


def write_project(root: Path, clients: Sequence[str] = CLIENTS) -> Path:
    """Write a project of one kernel, without any bundle, and return its folder."""
    for folder in ("deploy", "images"):
        shutil.copytree(ROOT / folder, root / folder)
    matrix = _MATRIX.replace("CLIENTS", ", ".join(clients))
    (root / "matrix.yaml").write_text(matrix, encoding="utf-8")
    profile = read_matrix(matrix).profile(PROFILE)
    pins = []
    for client in profile.clients:
        pin = client_pin(client, "el9")
        key = pin.key.model_copy(update={"sha256": hashlib.sha256(KEY.encode()).hexdigest()})
        pins.append(pin.model_copy(update={"key": key}))
        path = root / "packages" / client.repository_directory / key.location
        path.parent.mkdir(parents=True)
        path.write_text(KEY, encoding="utf-8")
    lock = ProfileLock(
        inputs=inputs_digest(profile),
        base=ImageRef.parse(f"registry.example/base/minimal@{digest('a')}"),
        releases=(
            ReleasePin(
                version=ReleaseVersion.parse(RELEASE),
                arch="x86_64",
                channels=("stable-4.16",),
                payload=ImageRef.parse(f"registry.example/release@{digest('c')}"),
                toolkit=ImageRef.parse(f"registry.example/toolkit@{digest('d')}"),
                rhel=RHEL,
                kernels=(KernelPin(release=KERNEL, flavour="rt"),),
            ),
        ),
        clients=tuple(pins),
    )
    (root / "matrix.lock").write_text(write_lock(Lock().with_profile(PROFILE, lock)), encoding="utf-8")
    return root


def bundle(client: str, **changes: Any) -> BundleResult:
    """Return a published bundle with changes."""
    made = BundleResult(
        client=client,
        image=f"{REPOSITORY}:{client}",
        verdict="passed",
        reason="loaded in 1 kernel",
        digest=digest("b"),
        kernels=(KERNEL,),
        arches=("x86_64",),
        images=(BundleImage("x86_64", digest("b"), 1, {KERNEL: 1}, 1),),
        modules={KERNEL: f"{REPOSITORY}@{digest(client[0])}"},
    )
    return replace(made, **changes)


def write_file(root: Path, bundles: list[BundleResult], profile: str = PROFILE) -> None:
    """Leave the file that `bundle` leaves; results of `build`, which may have run elsewhere, are not needed."""
    write_bundles(root / "build" / "bundles.json", profile, bundles)


def deploy_folder(root: Path) -> Path:
    """Return the folder into which `manifests` writes."""
    return root / "build" / "deploy" / PROFILE


def manifests(root: Path, *arguments: str) -> int:
    """Run the command and return its exit code."""
    return main(["manifests", "--root", str(root), *arguments])


def rendered(folder: Path) -> list[Path]:
    """Return every folder that can be applied."""
    return sorted(path.parent for path in folder.glob("*/*/kustomization.yaml") if path.parts[-3] != "components")


def names(folder: Path) -> set[str]:
    """Return the same as `METHOD/CLIENT`."""
    return {f"{path.parent.name}/{path.name}" for path in rendered(folder)}


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file, by its path below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
