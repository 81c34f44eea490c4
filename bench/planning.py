"""Part `planning`: the wall time of planning and rendering 5,000 made-up cells in a fresh process."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import yaml

from bench.aims import Measures
from bench.machine import load
from bench.setting import PROFILE, Setting
from kmatrix.effects.disk.files import write_atomically
from kmatrix.values.errors import ToolError
from kmatrix.values.lock import Lock, ProfileLock, inputs_digest, write_lock
from kmatrix.values.matrix import Channel, Profile
from kmatrix.values.names import ClientVersion, ImageRef, ReleaseVersion
from kmatrix.values.pins import ClientPin, KernelPin, KeyPin, PackagePin, ReleasePin
from kmatrix.values.recipe import userland_packages

CLIENTS = 25
RELEASES = 100
# A standard and a real-time kernel each.
CELLS = CLIENTS * RELEASES * 2
_HOST = "registry.example"
_FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
_STREAM = "el9"


def measure_planning(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return the seconds that `python -m kmatrix render` takes for 5,000 cells, and the raw run.

    Raises:
        ToolError: it failed, or did not write every Dockerfile.
    """
    root = setting.folder / "planning"
    setting.say(f"planning: {CELLS:,} cells")
    try:
        _write_project(setting, root)
        before = load()
        ended = setting.tool("planning-render", "render", root=root)
        written = sum(1 for _ in (root / "dockerfiles" / PROFILE).glob("*/Dockerfile"))
        if written != CELLS:
            raise ToolError(
                f"render wrote {written} Dockerfiles instead of {CELLS}",
                "Run `pytest tests/unit/test_plan.py tests/unit/test_dockerfiles_stage.py`: planning or writing has "
                "lost cells.",
            )
    finally:
        shutil.rmtree(root, ignore_errors=True)
    raw = {
        "cells": CELLS,
        "load_before": before,
        "seconds": ended.seconds,
        "peak_rss_mb": ended.peak_rss_mb,
        "how": "wall time of `python -m kmatrix render` in a fresh process, its start and imports included: reads "
        "matrix and lock, plans, computes recipes and keys, writes every Dockerfile",
    }
    return Measures(plan_render_5000_seconds=round(ended.seconds, 3)), raw


def _write_project(setting: Setting, root: Path) -> None:
    profile = made_up_profile()
    stated = profile.model_dump(mode="json", by_alias=True)
    matrix = {"schema": 1, "default_profile": PROFILE, "profiles": {PROFILE: stated}}
    write_atomically(root / "matrix.yaml", yaml.safe_dump(matrix))
    write_atomically(root / profile.lock, write_lock(Lock().with_profile(PROFILE, made_up_pins(profile))))
    shutil.copytree(setting.call.root / "images" / "beegfs-client", root / "images" / "beegfs-client")


def made_up_profile() -> Profile:
    """Return a profile with 25 clients for both kernels of every release."""
    return Profile(
        about="a matrix of 5,000 cells",
        graph=f"https://{_HOST}/graph",
        packages=f"https://{_HOST}/release",
        key_fingerprint=_FINGERPRINT,
        base=ImageRef.parse(f"{_HOST}/base/minimal:latest"),
        base_stream=_STREAM,
        base_packages=("kmod", "libnl3"),
        target=f"{_HOST}/team",
        channels=(Channel(name="stable-4.16"),),
        arches=("x86_64",),
        flavours=("standard", "rt"),
        clients=tuple(ClientVersion(8, number // 5, number % 5) for number in range(CLIENTS)),
    )


def made_up_pins(profile: Profile) -> ProfileLock:
    """Return pins for every client and release of the profile."""
    return ProfileLock(
        inputs=inputs_digest(profile),
        base=profile.base.with_digest(_digest("base")),
        releases=tuple(_release(number) for number in range(RELEASES)),
        clients=tuple(_client(client) for client in profile.clients),
    )


def _release(number: int) -> ReleasePin:
    kernel = f"5.14.0-427.{number}.1.el9_4.x86_64"
    return ReleasePin(
        version=ReleaseVersion.parse(f"4.16.{number}"),
        arch="x86_64",
        channels=("stable-4.16",),
        payload=ImageRef.parse(f"{_HOST}/release@{_digest(f'payload {number}')}"),
        toolkit=ImageRef.parse(f"{_HOST}/toolkit@{_digest(f'toolkit {number}')}"),
        rhel="9.4",
        kernels=(KernelPin(release=kernel, flavour="standard"), KernelPin(release=f"{kernel}+rt", flavour="rt")),
    )


def _client(client: ClientVersion) -> ClientPin:
    return ClientPin(
        version=client,
        stream=_STREAM,
        arch="x86_64",
        key=KeyPin(location="gpg/GPG-KEY-beegfs", sha256="7" * 64, fingerprint=_FINGERPRINT),
        packages=tuple(
            PackagePin(
                name=name,
                nevra=f"{name}-20:{client}-{_STREAM}.x86_64",
                location=f"dists/rhel9/x86_64/{name}-{client}-{_STREAM}.x86_64.rpm",
                sha256="5" * 64,
                size=1000,
            )
            for name in userland_packages(client)
        ),
    )


def _digest(seed: str) -> str:
    return "sha256:" + hashlib.sha256(seed.encode()).hexdigest()
