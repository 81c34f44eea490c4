"""Statements as bytes: the in-toto Statement v1 that attestations sign.

Their form is that of in-toto/attestation, spec/v1/statement.md. Version 0.1 has the same fields, and is read too.
"""

from __future__ import annotations

from typing import Any

from kmatrix.decide.formats.strict_json import strict_json
from kmatrix.decide.image_documents import json_bytes
from kmatrix.values.attestation import Statement
from kmatrix.values.names import digest as checked_digest

# The type of such a payload in an envelope (in-toto/attestation, spec/v1/envelope.md).
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_TYPE = "https://in-toto.io/Statement/v1"
_TYPES = (_TYPE, "https://in-toto.io/Statement/v0.1")
_ALGORITHM = "sha256"


class MalformedStatementError(ValueError):
    """The bytes are no statement about that digest; the message has the reason."""


def statement_bytes(statement: Statement) -> bytes:
    """Return a statement as JSON; an equal statement has equal bytes."""
    content = {
        "_type": _TYPE,
        "subject": [
            {"name": statement.name, "digest": {_ALGORITHM: statement.digest.removeprefix(f"{_ALGORITHM}:")}},
        ],
        "predicateType": statement.predicate_type,
        "predicate": statement.predicate,
    }
    return json_bytes(content)


def read_statement(payload: bytes, digest: str) -> Statement:
    """Return the statement that a payload is, which somebody else may have written.

    A statement may be about several subjects: it is one about each of them.

    Args:
        payload: the signed bytes.
        digest: of the image that the statement must be about.

    Raises:
        MalformedStatementError: it is no statement, or one about another digest.
    """
    try:
        return _statement(strict_json(payload), digest)
    except MalformedStatementError:
        raise
    except Exception as error:
        # Whoever holds a key, or held it once, can sign any bytes, and they must not end a run.
        raise MalformedStatementError(f"it is no in-toto statement ({error!r:.200})") from error


def _statement(content: Any, digest: str) -> Statement:
    if content["_type"] not in _TYPES:
        raise MalformedStatementError(f"it has the type {content['_type']!r:.80} instead of {_TYPE}")
    subjects = {f"{_ALGORITHM}:{each['digest'].get(_ALGORITHM)}": each.get("name", "") for each in content["subject"]}
    if checked_digest(digest) not in subjects:
        others = ", ".join(subjects)[:80]
        raise MalformedStatementError(f"it is about {others or 'nothing'}, another image")
    predicate = content["predicate"]
    if not isinstance(predicate, dict):
        raise TypeError("its predicate is no object")
    return Statement(_text(content["predicateType"]), _text(subjects[digest]), digest, predicate)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value
