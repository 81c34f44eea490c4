"""The profile that a command acts on, and the recipes of its cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmatrix.commands.invocation import Invocation
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.plan import Plan
from kmatrix.decide.render import make_recipe
from kmatrix.effects.disk.files import read_text
from kmatrix.effects.engine.build_context import read_image_source
from kmatrix.effects.signing.environment import take_keys
from kmatrix.stages.discover import expected_fingerprint
from kmatrix.values.errors import InputError, Problem
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Profile
from kmatrix.values.overrides import override
from kmatrix.values.recipe import ImageSource, Recipe

# It takes 12 MB of memory, which a run that signs nothing need not spend.
if TYPE_CHECKING:
    from kmatrix.effects.signing.module_keys import ModuleSigner

LAB = "lab"
# The same lab, with what `lab up --arch aarch64` adds to it.
LAB_AARCH64 = "lab-aarch64"
LABS = (LAB, LAB_AARCH64)


@dataclass(frozen=True)
class SelectedProfile:
    """A profile: its name, as matrix.yaml has it, and as it is in effect with overrides."""

    name: str
    as_written: Profile
    effective: Profile


def select_profile(call: Invocation, name: str | None = None) -> SelectedProfile:
    """Return the profile that a command acts on.

    Raises:
        InputError: matrix.yaml or an override is wrong, or there is no such profile.
    """
    matrix = read_matrix(read_text(call.root / "matrix.yaml", "matrix file"))
    wanted = name or call.profile or matrix.default_profile
    as_written = matrix.profile(wanted)
    # Before any other program is started: those that it names itself.
    take_keys(as_written)
    return SelectedProfile(wanted, as_written, override(as_written, call.overrides))


def image_source(call: Invocation) -> ImageSource:
    """Return the hand-written files of the client image."""
    return read_image_source(call.root / "images" / "beegfs-client")


def recipes_for(call: Invocation, chosen: SelectedProfile, pins: ProfileLock, found: Plan) -> list[Recipe]:
    """Return the recipe of every cell of a plan.

    Raises:
        InputError: the plan has no cells, the pins were resolved with another key or base, or there is no certificate.
    """
    _refuse_other_sources(call, chosen, pins)
    source = image_source(call)
    if not found.cells:
        raise InputError(
            f"the plan of profile {chosen.name} has no cells",
            f"{call.next('plan', chosen.name)} shows why each candidate is out.",
        )
    certificate = _certificate(call, chosen.effective)
    return [make_recipe(cell, chosen.name, chosen.effective, pins, source, certificate) for cell in found.cells]


def module_signer(call: Invocation, profile: Profile) -> ModuleSigner | None:
    """Return the key that a profile's modules are signed with; None if they are not signed.

    Raises:
        InputError: the key or its certificate is missing, they do not belong together, or git tracks the key.
    """
    if profile.module_signing is None:
        return None
    from kmatrix.effects.signing.module_keys import load_module_signer

    return load_module_signer(profile.module_signing, call.root, take_keys(profile), call.warn)


def _certificate(call: Invocation, profile: Profile) -> bytes:
    """Return the certificate (DER) of a profile's modules; empty if they are not signed.

    Raises:
        InputError: it is not there, or is none that modules can be signed with.
    """
    signing = profile.module_signing
    if signing is None:
        return b""
    from kmatrix.effects.signing.module_keys import load_certificate

    return load_certificate(signing, call.root)


def _refuse_other_sources(call: Invocation, chosen: SelectedProfile, pins: ProfileLock) -> None:
    """Refuse an overridden key or base: pins hold only for the ones that they were resolved with."""
    wanted = expected_fingerprint(chosen.effective, call.root)
    problems = [
        Problem(chosen.effective.lock, f"client {pin.version} for {pin.stream} has the key {pin.key.fingerprint}")
        for pin in pins.clients
        if pin.key.fingerprint != wanted
    ]
    if problems:
        problems.append(Problem("key_fingerprint", f"expected is the key {wanted}"))
    if chosen.effective.base.repository != pins.base.repository:
        problems.append(
            Problem("base", f"expected is {chosen.effective.base.repository}, pinned is {pins.base.repository}")
        )
    if problems:
        raise InputError(
            f"{chosen.effective.lock} was resolved with another key or base",
            f"Run {call.next('discover', chosen.name)}; use mirrors for a mirror.",
            tuple(problems),
        )
