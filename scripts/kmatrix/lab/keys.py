"""The lab's own keys: one pair signs its images, another pair with a certificate its kernel modules.

They are created once and stay until a reset: what was signed with them stays in the lab's registry as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kmatrix.effects.signing.key_files import (
    IMAGE_FILES,
    IMAGE_KEY,
    IMAGE_PUBLIC_KEY,
    MODULE_CERTIFICATE,
    MODULE_CERTIFICATE_DER,
    MODULE_FILES,
    MODULE_KEY,
    KeyFile,
    write_key_files,
)
from kmatrix.lab.layout import Layout
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ImageSigning, ModuleSigning

_NAME = "BeeGFS lab, for tests alone"


def keys_are_there(layout: Layout) -> bool:
    """Return whether the lab's keys are there, each file with all of its content."""
    return all(_complete(layout.keys, names) for names in (IMAGE_FILES, MODULE_FILES))


def ensure_keys(layout: Layout) -> bool:
    """Create the keys that are missing; return whether any were. Nothing encrypts them.

    Raises:
        InputError: they cannot be written.
    """
    missing = [names for names in (IMAGE_FILES, MODULE_FILES) if not _complete(layout.keys, names)]
    for names in missing:
        # An interrupted run may have left a private key without its other half, or files without all of their content.
        for name in names:
            (layout.keys / name).unlink(missing_ok=True)
        write_key_files(layout.keys, _new(names))
    return bool(missing)


def _new(names: Sequence[str]) -> Sequence[KeyFile]:
    # Here: it takes 8 MB of memory, which a run of a profile without keys need not spend.
    from kmatrix.effects.signing.new_keys import new_image_key, new_module_key

    return new_image_key() if names == IMAGE_FILES else new_module_key(_NAME, datetime.now(UTC))


def _complete(folder: Path, names: Sequence[str]) -> bool:
    # Here, as in `_new`: only the lab has keys that it looks at.
    from kmatrix.effects.signing.image_keys import load_image_signer
    from kmatrix.effects.signing.module_keys import load_certificate

    try:
        if names == IMAGE_FILES:
            load_image_signer(ImageSigning(key=f"file:{IMAGE_KEY}", public_keys=(IMAGE_PUBLIC_KEY,)), folder, {})
            return True
        named = ModuleSigning(key=f"file:{MODULE_KEY}", certificate=MODULE_CERTIFICATE)
        certificate = load_certificate(named, folder)
        # To open an RSA key takes a second, because its numbers are checked; `build` does so, and `up` asks each time.
        key = (folder / MODULE_KEY).read_bytes().splitlines()
        is_whole = bool(key) and key[0].startswith(b"-----BEGIN ") and key[-1].startswith(b"-----END ")
        return is_whole and certificate == (folder / MODULE_CERTIFICATE_DER).read_bytes()
    except (InputError, OSError):
        return False
