"""A command says once what its profile has no keys for."""

from __future__ import annotations

from typing import Any

import pytest

from kmatrix.commands.unsigned import unsigned_note
from tests.unit.support.made_up_profile import profile

IMAGES = {"key": "env:IMAGE_KEY", "public_keys": ["images.pub"]}
MODULES = {"key": "env:MODULE_KEY", "certificate": "modules.pem"}


@pytest.mark.parametrize(
    ("keys", "unsigned"),
    [
        ({}, "neither images nor modules are signed"),
        ({"image_signing": IMAGES}, "modules are not signed"),
        ({"module_signing": MODULES}, "images are not signed"),
        ({"image_signing": {"keyless": True}, "module_signing": MODULES}, ""),
        ({"image_signing": {"public_keys": ["images.pub"]}, "module_signing": MODULES}, "images are not signed"),
        ({"image_signing": IMAGES, "module_signing": MODULES}, ""),
    ],
)
def test_the_note_names_what_is_not_signed_and_where_to_read(keys: dict[str, Any], unsigned: str) -> None:
    note = unsigned_note("site", profile(**keys))
    assert (unsigned in note) if unsigned else not note
    if unsigned:
        assert note.startswith(f"note: {unsigned}, as profile site ")
        assert note.endswith("(docs/signing.md)")
