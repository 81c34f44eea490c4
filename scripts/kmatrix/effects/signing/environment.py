"""Takes private keys and their passwords out of this process's environment, so that no program it starts has them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kmatrix.decide.key_guide import IMAGE_KEY_VARIABLE, MODULE_KEY_VARIABLE, PASSWORD
from kmatrix.values.matrix import ENV, Profile

IMAGE_KEY_PASSWORD = IMAGE_KEY_VARIABLE + PASSWORD
MODULE_KEY_PASSWORD = MODULE_KEY_VARIABLE + PASSWORD
_PREFIXES = (IMAGE_KEY_VARIABLE, MODULE_KEY_VARIABLE)
_taken: dict[str, str] = {}


def take_keys(profile: Profile | None = None) -> Mapping[str, str]:
    """Return the variables with private keys and their passwords, as far as they are set, by name.

    The first call removes them from the environment; QEMU, git and the container engine have no use for them. Those
    that docs/signing.md names leave it whatever the profile is: CI sets them for all.

    Args:
        profile: may name other variables; None for a command that has none.
    """
    signings = (profile.image_signing, profile.module_signing) if profile else ()
    sources = (signing.key for signing in signings if signing and signing.key)
    names = {source.removeprefix(ENV) for source in sources if source.startswith(ENV)}
    for name in names | {name for name in os.environ if name.startswith(_PREFIXES)}:
        value = os.environ.pop(name, None)
        if value is not None:
            _taken[name] = value
    return dict(_taken)
