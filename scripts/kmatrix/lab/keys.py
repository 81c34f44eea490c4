"""The lab's own keys: one pair signs its images, another pair with a certificate its kernel modules.

They are created once and stay until a reset: what was signed with them stays in the lab's registry as long.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kmatrix.effects.signing.key_files import (
    IMAGE_FILES,
    MODULE_CERTIFICATE,
    MODULE_CERTIFICATE_DER,
    MODULE_FILES,
    KeyFile,
    write_key_files,
)
from kmatrix.lab.layout import Layout

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
    # By the files' form alone: to open keys takes 8 MB of memory, and an RSA key a second.
    try:
        found = {name: (folder / name).read_bytes() for name in names}
    except OSError:
        return False
    bodies = {name: _body(content) for name, content in found.items() if name != MODULE_CERTIFICATE_DER}
    if MODULE_CERTIFICATE_DER in found and bodies[MODULE_CERTIFICATE] != found[MODULE_CERTIFICATE_DER]:
        return False
    return all(bodies.values())


def _body(pem: bytes) -> bytes:
    """Return what a PEM holds (RFC 7468); empty if it is not whole."""
    match = re.fullmatch(rb"-----BEGIN ([A-Z ]+)-----\n(.+\n)-----END \1-----\n", pem, re.DOTALL)
    try:
        return base64.b64decode(match[2].replace(b"\n", b""), validate=True) if match else b""
    except ValueError:
        return b""
