"""The note that a profile signs nothing: that works, and clusters with a policy refuse the images."""

from __future__ import annotations

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile
from kmatrix.values.matrix import Profile


def note_unsigned(call: Invocation, chosen: SelectedProfile) -> None:
    """Say once in a command what its profile has no keys for."""
    if note := unsigned_note(chosen.name, chosen.effective):
        call.say(note)


def unsigned_note(name: str, profile: Profile) -> str:
    """Return what is not signed, in one line; empty if images and modules are signed.

    Args:
        name: of the profile.
        profile: the profile.
    """
    signing = profile.image_signing
    # Public keys alone verify what others publish; a run that publishes refuses them.
    images, modules = signing is None or not (signing.key or signing.keyless), profile.module_signing is None
    if images and modules:
        return f"note: neither images nor modules are signed, as profile {name} names no keys (docs/signing.md)"
    if images:
        return f"note: images are not signed, as profile {name} has no image key (docs/signing.md)"
    if modules:
        return f"note: modules are not signed, as profile {name} has no module_signing (docs/signing.md)"
    return ""
