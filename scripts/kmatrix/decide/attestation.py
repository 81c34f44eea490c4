"""Statements as bytes: the in-toto Statement v1 that attestations sign."""

from __future__ import annotations

from kmatrix.values.attestation import Statement


class MalformedStatementError(ValueError):
    """The bytes are no statement about that digest; the message has the reason, without the subject of a sentence."""


def statement_bytes(statement: Statement) -> bytes:
    """Return a statement as JSON; an equal statement has equal bytes."""
    raise NotImplementedError


def read_statement(payload: bytes, digest: str) -> Statement:
    """Return the statement that a payload is, which somebody else may have written.

    Args:
        payload: the signed bytes.
        digest: of the image that the statement must be about.

    Raises:
        MalformedStatementError: it is no statement, or one about another digest.
    """
    raise NotImplementedError
