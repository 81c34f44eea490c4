"""The lab's own keys: one pair signs its images, another pair with a certificate its kernel modules.

They are created once and stay until a reset: what was signed with them stays in the lab's registry as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kmatrix.effects.signing.key_files import IMAGE_FILES, MODULE_FILES, KeyFile, write_key_files
from kmatrix.lab.layout import Layout

_NAME = "BeeGFS lab, for tests alone"


def keys_are_there(layout: Layout) -> bool:
    """Return whether every file of the lab's keys exists."""
    return all(_complete(layout.keys, names) for names in (IMAGE_FILES, MODULE_FILES))


def ensure_keys(layout: Layout) -> bool:
    """Create the keys that are missing; return whether any were. Nothing encrypts them.

    Raises:
        InputError: they cannot be written.
    """
    missing = [names for names in (IMAGE_FILES, MODULE_FILES) if not _complete(layout.keys, names)]
    for names in missing:
        # An interrupted run may have left a private key without its other half.
        for name in names:
            (layout.keys / name).unlink(missing_ok=True)
        write_key_files(layout.keys, _new(names))
    return bool(missing)


def _new(names: Sequence[str]) -> Sequence[KeyFile]:
    # Here: it takes 8 MB of memory, and a build looks only whether there are keys.
    from kmatrix.effects.signing.new_keys import new_image_key, new_module_key

    return new_image_key() if names == IMAGE_FILES else new_module_key(_NAME, datetime.now(UTC))


def _complete(folder: Path, names: Sequence[str]) -> bool:
    return all((folder / name).is_file() for name in names)
