"""The cold matrix: a project with weighted clients and a registry of its own, all of it temporary."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from bench.setting import PROFILE, Setting
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import pins_for
from kmatrix.commands.profile import recipes_for, select_profile
from kmatrix.decide.plan import make_plan
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.lab.servers import Server, free_address, start_server, stop_server
from kmatrix.lab.layout import LAB_LABEL
from kmatrix.lab.packages import LINES, package_client
from kmatrix.lab.state import lab_state
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import DEFAULT_GATES, GATE_NAMES
from kmatrix.values.matrix import Profile
from kmatrix.values.recipe import Recipe

# One of each major version, as in the lab: a kernel is read once for both, and packages are unpacked once for several
# kernels.
CLIENTS = ("7.98.60", "8.98.60")
_PORT = 5000
_KEYS = "keys"
_SIGNING: dict[str, Any] = {
    "image_signing": {"key": f"file:{_KEYS}/images.key", "public_keys": [f"{_KEYS}/images.pub"]},
    "module_signing": {"key": f"file:{_KEYS}/modules.key", "certificate": f"{_KEYS}/modules.pem"},
    "gates": list(GATE_NAMES),
}
_WITHOUT_SIGNING: dict[str, Any] = {"image_signing": None, "module_signing": None, "gates": list(DEFAULT_GATES)}


@dataclass(frozen=True)
class Site:
    """The project in `root`, its cells' recipes, and the package root."""

    root: Path
    packages: Path
    recipes: tuple[Recipe, ...]


@contextmanager
def cold_site(setting: Setting, *, signed: bool = False) -> Iterator[Site]:
    """Create the project, with toolkits and base in the engine and nothing compiled; all is removed at the end.

    Args:
        setting: of the bench.
        signed: whether its modules and images are signed, with the lab's keys.

    Raises:
        ToolError: the client cannot be packaged, `discover` fails, or the lab has no keys.
        UnreachableError: the engine or the lab went away.
    """
    engine, state = setting.engine, lab_state(setting.layout)
    root = setting.folder / "site"
    server = Server("bench's image registry", f"{setting.name}-registry", free_address(), "/v2/")
    _clear(setting, server)
    try:
        command = ["docker-registry", "serve", "/etc/kmatrix-lab/registry.yml"]
        start_server(engine, server, state["services"], command, _PORT, (), {LAB_LABEL: "bench"})
        fingerprint = ""
        setting.say(f"packaging clients {' and '.join(CLIENTS)} of weight {setting.weight}")
        for client, line in product(CLIENTS, LINES):
            arguments = ["--version", client, "--dist", line, "--weight", str(setting.weight)]
            fingerprint = package_client(engine, setting.layout, state["workshop"], root / "packages", arguments)
        if signed:
            _copy_keys(setting, root)
        _write_project(setting, root, f"{server.address}/{setting.name}", fingerprint, signed=signed)
        setting.tool("cold-discover", "discover", root=root)
        recipes = _recipes(root)
        for image in sorted({image.pinned for recipe in recipes for image in (recipe.toolkit, recipe.base)}):
            engine.pull(image, None)
        yield Site(root, root / "packages", recipes)
    finally:
        _clear(setting, server)


def _write_project(setting: Setting, root: Path, target: str, fingerprint: str, *, signed: bool) -> None:
    stated = {
        **stated_by(setting.chosen.effective, signed=signed),
        "about": "the bench's cold matrix",
        "packages": "packages",
        "key_fingerprint": fingerprint,
        "target": target,
        "lock": "matrix.lock",
        "clients": list(CLIENTS),
        "excludes": [],
    }
    matrix = {"schema": 1, "default_profile": PROFILE, "profiles": {PROFILE: stated}}
    write_atomically(root / "matrix.yaml", yaml.safe_dump(matrix))
    shutil.copytree(setting.call.root / "images" / "beegfs-client", root / "images" / "beegfs-client")


def stated_by(profile: Profile, *, signed: bool) -> dict[str, Any]:
    """Return a profile as matrix.yaml states it, with keys in the project's own folder or without any."""
    return {**profile.model_dump(mode="json", by_alias=True), **(_SIGNING if signed else _WITHOUT_SIGNING)}


def _copy_keys(setting: Setting, root: Path) -> None:
    keys = setting.layout.keys
    if not keys.is_dir():
        raise ToolError(f"the lab has no keys in {keys}", "Run `nox -s lab -- up`, which creates them.")
    shutil.copytree(keys, root / _KEYS)


def _recipes(root: Path) -> tuple[Recipe, ...]:
    call = Invocation(root, Console(stderr=True), PROFILE)
    chosen = select_profile(call)
    pins = pins_for(call, chosen)
    return tuple(recipes_for(call, chosen, pins, make_plan(chosen.name, chosen.effective, pins)))


def _clear(setting: Setting, server: Server) -> None:
    """Remove everything that this bench, or a killed one, created."""
    stop_server(setting.engine, server)
    for name in setting.engine.image_names():
        if f"/{setting.name}/" in name:
            setting.engine.remove_image(name)
    shutil.rmtree(setting.folder, ignore_errors=True)
