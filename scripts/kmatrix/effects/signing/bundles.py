"""Attestations as Sigstore bundles."""

from __future__ import annotations

from collections.abc import Iterable

from kmatrix.effects.signing.image_keys import ImageSigner, PublicKey
from kmatrix.values.attestation import Statement


class UnverifiedError(ValueError):
    """A bundle is not believed; the message has the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def sign_statement(statement: Statement, signer: ImageSigner) -> bytes:
    """Return the bundle of a signed statement.

    Raises:
        UnreachableError: the service that keeps the key does not sign.
    """
    raise NotImplementedError


def verified_statement(bundle: bytes, keys: Iterable[PublicKey], digest: str) -> Statement:
    """Return the statement in a bundle, which somebody else may have written.

    Raises:
        UnverifiedError: none of the keys signed it, or it is no statement about that digest.
    """
    raise NotImplementedError
