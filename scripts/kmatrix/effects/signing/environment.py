"""Takes keys, their passwords and a CI job's identity out of this process's environment: no program it starts has them.

cosign alone is given the identity. It finds it by itself (sigstore/cosign, pkg/providers): GitHub gives a job with the
permission `id-token: write` the two variables of its token service (pkg/providers/github), GitLab a token in
SIGSTORE_ID_TOKEN (pkg/providers/envvar).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from kmatrix.decide.key_guide import (
    IMAGE_KEY_VARIABLE,
    MODULE_KEY_VARIABLE,
    NEXT_IMAGE_KEY_VARIABLE,
    PASSWORD,
)
from kmatrix.values.matrix import ENV, Profile

IMAGE_KEY_PASSWORD = IMAGE_KEY_VARIABLE + PASSWORD
NEXT_IMAGE_KEY_PASSWORD = NEXT_IMAGE_KEY_VARIABLE + PASSWORD
MODULE_KEY_PASSWORD = MODULE_KEY_VARIABLE + PASSWORD
IDENTITY_TOKEN = "SIGSTORE_ID_TOKEN"
GITHUB_IDENTITY = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_IDENTITY = (IDENTITY_TOKEN, *GITHUB_IDENTITY)
_PREFIXES = (IMAGE_KEY_VARIABLE, MODULE_KEY_VARIABLE)
_taken: dict[str, str] = {}


def take_keys(profile: Profile | None = None) -> Mapping[str, str]:
    """Return the variables with private keys and their passwords, as far as they are set, by name.

    The first call removes them from the environment, and the job's identity with them; QEMU, git and the container
    engine have no use for them. Those that docs/signing.md names leave it whatever the profile is: CI sets them for
    all.

    Args:
        profile: may name other variables; None for a command that has none.
    """
    images, modules = (profile.image_signing, profile.module_signing) if profile else (None, None)
    sources = (*((images.key, images.next_key) if images else ()), modules.key if modules else None)
    names = {source.removeprefix(ENV) for source in sources if source and source.startswith(ENV)}
    _take({*names, *_IDENTITY, *(name for name in os.environ if name.startswith(_PREFIXES))})
    return {name: value for name, value in _taken.items() if name not in _IDENTITY}


def take_identity() -> Mapping[str, str]:
    """Return the variables with the identity of a CI job, as far as they are set, by name; see `take_keys`."""
    _take(_IDENTITY)
    return {name: value for name, value in _taken.items() if name in _IDENTITY}


def _take(names: Iterable[str]) -> None:
    for name in names:
        value = os.environ.pop(name, None)
        if value is not None:
            _taken[name] = value
