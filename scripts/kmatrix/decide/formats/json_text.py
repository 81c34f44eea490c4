"""Read JSON documents of services and images, with errors that name the document."""

from __future__ import annotations

import json
from typing import Any

from kmatrix.values.errors import ProtocolError

_ANOTHER_SERVICE = "Something else answered, such as a proxy's page: look at the reply with curl."


def json_object(text: str, what: str, hint: str = _ANOTHER_SERVICE) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: the document.
        what: its name, for messages.
        hint: the next step if it is none.

    Raises:
        ProtocolError: it is none; the message has its name.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{what} is not JSON: {error}", hint) from None
    if not isinstance(data, dict):
        raise ProtocolError(f"{what} is not a JSON object", hint)
    return data


def text_of(value: Any, name: str) -> str:
    """Return `value` if it is text.

    Raises:
        ValueError: it is not; the message has the name.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} is missing or is not text")
    return value
