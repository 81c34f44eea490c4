"""Takes private keys and their passwords out of this process's environment, so that no program it starts has them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kmatrix.effects.signing.private_keys import ENV
from kmatrix.values.matrix import Profile

IMAGE_KEY_PASSWORD = "KMATRIX_IMAGE_KEY_PASSWORD"
MODULE_KEY_PASSWORD = "KMATRIX_MODULE_KEY_PASSWORD"
_taken: dict[str, str] = {}


def take_keys(profile: Profile) -> Mapping[str, str]:
    """Return the variables with a profile's private keys and their passwords, as far as they are set, by name.

    The first call removes them from the environment; QEMU, git and the container engine have no use for them.
    """
    sources = (signing.key for signing in (profile.image_signing, profile.module_signing) if signing and signing.key)
    names = [source.removeprefix(ENV) for source in sources if source.startswith(ENV)]
    for name in (*names, IMAGE_KEY_PASSWORD, MODULE_KEY_PASSWORD):
        value = os.environ.pop(name, None)
        if value is not None:
            _taken[name] = value
    return dict(_taken)
