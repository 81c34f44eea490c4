"""Read JSON that somebody else signed: every reader must understand the same bytes alike."""

from __future__ import annotations

import json
from typing import Any


def strict_json(content: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON; or an object has a name twice, of which readers take one or the other (RFC 8259, 4);
            or a text has half a surrogate pair, which no terminal and no file takes.
        RecursionError: it is too deep.
    """
    text = content.decode()
    value = json.loads(text, object_pairs_hook=_once)
    # Only an escape can give half a pair.
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has one name twice")
    return found
