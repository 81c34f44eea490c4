"""A made-up profile of three RHEL majors and two clients, its pins, and the recipes of its cells."""

from __future__ import annotations

from pathlib import Path

from kmatrix.decide.plan import make_plan
from kmatrix.decide.render import make_recipe
from kmatrix.effects.engine.build_context import read_image_source
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Channel, Profile
from kmatrix.values.names import ClientVersion, ImageRef, ReleaseVersion
from kmatrix.values.pins import ClientPin, KernelPin, KeyPin, PackagePin, ReleasePin
from kmatrix.values.recipe import ImageSource, Recipe, userland_packages

ROOT = Path(__file__).resolve().parents[3]
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
KERNELS = {
    "el8": ("4.12.3", "8.6", "4.18.0-372.19.1.el8_6.x86_64"),
    "el9": ("4.16.3", "9.4", "5.14.0-427.22.1.el9_4.x86_64+rt"),
    "el10": ("4.22.1", "10.2", "6.12.0-211.28.1.el10_2.x86_64"),
}


def digest(seed: str) -> str:
    return "sha256:" + (seed * 64)[:64]


def profile(**changes: object) -> Profile:
    values: dict[str, object] = {
        "about": "a profile for tests",
        "graph": "https://graph.example/graph",
        "packages": "https://packages.example/release",
        "key_fingerprint": FINGERPRINT,
        "base": ImageRef.parse("registry.example/base/minimal:latest"),
        "base_stream": "el9",
        "base_packages": ("kmod", "libnl3"),
        "target": "registry.example/team",
        "channels": tuple(Channel(name=f"stable-{kernel[0].rpartition('.')[0]}") for kernel in KERNELS.values()),
        "arches": ("x86_64",),
        "flavours": ("standard", "rt"),
        "clients": (ClientVersion(7, 4, 6), ClientVersion(8, 2, 2)),
    }
    return Profile.model_validate({**values, **changes})


def client_pin(client: ClientVersion, line: str) -> ClientPin:
    def package(name: str) -> PackagePin:
        arch = "noarch" if name == "beegfs-client" else "x86_64"
        return PackagePin(
            name=name,
            nevra=f"{name}-20:{client}-{line}.{arch}",
            location=f"dists/rhel{line[2:]}/{arch}/{name}-{client}-{line}.{arch}.rpm",
            sha256=("5" * 64),
            size=1000,
        )

    key = KeyPin(location="gpg/GPG-KEY-beegfs", sha256="7" * 64, fingerprint=FINGERPRINT)
    packages = tuple(package(name) for name in userland_packages(client))
    return ClientPin(version=client, stream=line, arch="x86_64", key=key, packages=packages)


def lock(wanted: Profile) -> ProfileLock:
    releases = tuple(
        ReleasePin(
            version=ReleaseVersion.parse(version),
            arch="x86_64",
            channels=(f"stable-{version.rpartition('.')[0]}",),
            payload=ImageRef.parse(f"registry.example/release@{digest(str(index))}"),
            toolkit=ImageRef.parse(f"registry.example/toolkit@{digest(chr(97 + index))}"),
            rhel=rhel,
            kernels=(KernelPin(release=kernel, flavour="rt" if kernel.endswith("+rt") else "standard"),),
        )
        for index, (version, rhel, kernel) in enumerate(KERNELS.values())
    )
    return ProfileLock(
        inputs=digest("f"),
        base=ImageRef.parse(f"registry.example/base/minimal:latest@{digest('e')}"),
        releases=releases,
        clients=tuple(client_pin(client, line) for client in wanted.clients for line in KERNELS),
    )


def recipes(wanted: Profile, source: ImageSource | None = None, name: str = "ocp") -> dict[str, Recipe]:
    pins = lock(wanted)
    cells = make_plan(name, wanted, pins).cells
    source = source or read_image_source(ROOT / "images" / "beegfs-client")
    return {cell.id: make_recipe(cell, name, wanted, pins, source) for cell in cells}
