"""The keys that a run believes, the key that it signs with, and the attestations of an image that it believes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.referrers import attached
from kmatrix.effects.signing.cosign import require_cosign
from kmatrix.values.attestation import Statement
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ImageSigning
from kmatrix.values.names import ImageRef

# The libraries below them take 12 MB of memory, which a run without keys need not spend.
if TYPE_CHECKING:
    from kmatrix.effects.signing.image_keys import ImageSigner, PublicKey


@dataclass(frozen=True)
class Trust:
    """The keys of image signatures and attestations in a run.

    Attributes:
        keys: the public keys whose signatures are believed. Without any, records of gates are plain ones.
        signer: the image key; None where nothing is signed with a key.
        following: the key that is to replace it, and signs everything beside it until then.
        keyless: whether cosign adds a signature and attestations with the identity of the CI job.
    """

    keys: tuple[PublicKey, ...] = ()
    signer: ImageSigner | None = None
    keyless: bool = False
    following: ImageSigner | None = None

    @property
    def signers(self) -> tuple[ImageSigner, ...]:
        """The image keys of this run: everything that it publishes has a signature of each."""
        return tuple(signer for signer in (self.signer, self.following) if signer)

    @property
    def named(self) -> str:
        """The image keys of a run that has one, in words."""
        return "both image keys" if self.following else "the image key"

    @property
    def signs(self) -> bool:
        """Whether images are signed in this run, in whatever way."""
        return self.signer is not None or self.keyless

    def in_one(self, signer: ImageSigner) -> Trust:
        """Return the trust in one image key of this run alone."""
        return replace(self, keys=(signer.public,))


def load_trust(
    signing: ImageSigning | None,
    root: Path,
    environment: Mapping[str, str],
    *,
    signs: bool,
    say: Callable[[str], None] = lambda _: None,
) -> Trust:
    """Return the keys of a profile; the private one only where it `signs`.

    Args:
        signing: the profile's; None if it names no keys.
        root: the project's folder.
        environment: the variables with keys and passwords (see `take_keys`).
        signs: whether the run publishes images.
        say: see `read_private_key`.

    Raises:
        InputError: a key cannot be read, git tracks the private one, the profile has no image key although images are
            to be published and others' are to be verified, or keyless signatures are impossible here.
        UnreachableError: the service that keeps the key does not sign.
    """
    if signing is None:
        return Trust()
    from kmatrix.effects.signing.image_keys import load_image_signers, load_public_keys

    keys = load_public_keys(signing, root)
    if not signs:
        return Trust(keys)
    if keys and not signing.key:
        raise InputError(
            "image_signing has public_keys and no key: images that nobody signs cannot be published",
            "Name the private key as image_signing.key in matrix.yaml; `build --no-push` works without one.",
        )
    if signing.keyless:
        require_cosign()
    signers = load_image_signers(signing, root, environment, say) if signing.key else ()
    signer, following = (*signers, None, None)[:2]
    return Trust(keys, signer, signing.keyless, following)


def verified(
    registry: Registry,
    trust: Trust,
    ref: ImageRef,
    digest: str,
    say: Callable[[str], None],
    types: frozenset[str] = frozenset(),
) -> tuple[Statement, ...]:
    """Return the statements about an image that one of the trusted keys has signed.

    Args:
        registry: has the image.
        trust: the keys.
        ref: a name in the image's repository.
        digest: of the image's manifest or list.
        say: is given a line for each attestation that is not believed.
        types: the predicate types to look for; empty for all.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried. That is no absence.
    """
    from kmatrix.effects.signing.bundles import UnverifiedError, verified_statement

    found = []
    # What an attestation says about itself selects, and never admits.
    for each in attached(registry, ref, digest, say, types or None):
        try:
            statement = verified_statement(each.content, trust.keys, digest)
        except UnverifiedError as error:
            place = f"{ref.repository}@{digest}"
            say(f"note: {place}: the attestation {each.digest} is not believed: {error.reason}")
            continue
        if not types or statement.predicate_type in types:
            found.append(statement)
    return tuple(found)
