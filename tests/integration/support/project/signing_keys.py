"""Keys of a project that signs: its own, so that no other project's keys verify what it publishes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kmatrix.effects.signing.key_files import (
    IMAGE_KEY,
    IMAGE_PUBLIC_KEY,
    MODULE_CERTIFICATE,
    MODULE_KEY,
    write_key_files,
)
from kmatrix.effects.signing.new_keys import new_image_key, new_module_key

IMAGES, MODULES = "images", "modules"
SIGNED = (IMAGES, MODULES)
FOLDER = "keys"
# The smallest that kernels accept is found soonest.
_BITS = 2048


def write_signing_keys(root: Path, signed: Collection[str], password: str = "") -> dict[str, Any]:
    """Write keys below a project's folder, and return the keys of the profile that sign with them.

    Args:
        root: the project's folder; the files are in its folder `keys`.
        signed: what the project signs: IMAGES, MODULES, both (SIGNED) or nothing.
        password: encrypts the private keys, unless it is empty.
    """
    profile: dict[str, Any] = {}
    if IMAGES in signed:
        write_key_files(root / FOLDER, new_image_key(password))
        public = f"{FOLDER}/{IMAGE_PUBLIC_KEY}"
        profile["image_signing"] = {"key": f"file:{FOLDER}/{IMAGE_KEY}", "public_keys": [public]}
    if MODULES in signed:
        name = f"a test's module key ({root.name})"[:64]
        write_key_files(root / FOLDER, new_module_key(name, datetime.now(UTC), 1, password, _BITS))
        certificate = f"{FOLDER}/{MODULE_CERTIFICATE}"
        profile["module_signing"] = {"key": f"file:{FOLDER}/{MODULE_KEY}", "certificate": certificate}
    return profile
