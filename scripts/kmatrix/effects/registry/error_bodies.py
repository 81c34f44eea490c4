"""Error responses of registries: often the only source of the reason for a refusal.

The form is that of opencontainers/distribution-spec, spec.md ("Error Codes"); token services use it as well.
"""

from __future__ import annotations

import json
from typing import Any

import requests
import urllib3.exceptions

from kmatrix.effects.net.encodings import ERROR_BYTES, content_that
from kmatrix.values.errors import ProtocolError


def is_error(response: requests.Response) -> bool:
    """Return whether a response's body has the form that the protocol demands of errors; a proxy's own page does not.

    Raises:
        urllib3.exceptions.HTTPError, requests.RequestException, OSError: the body breaks off.
    """
    try:
        return bool(_errors_in(content_that(response, limit=ERROR_BYTES)))
    except (ValueError, RecursionError, ProtocolError):
        return False


def error_detail(response: requests.Response) -> str:
    """Return a registry's own error message, as ` (CODE: message)` on one line; empty if it sent none."""
    try:
        errors = _errors_in(content_that(response, limit=ERROR_BYTES))
        parts = [(str(error.get("code") or ""), str(error.get("message") or "")) for error in errors]
    except (ValueError, AttributeError, RecursionError, ProtocolError):
        return ""
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        # What is to be explained is known without it.
        return ""
    message = "; ".join(": ".join(part for part in pair if part) for pair in parts if any(pair))
    return f" ({' '.join(message.split())[:300]})" if message.strip() else ""


def _errors_in(content: bytes) -> list[Any]:
    parsed = json.loads(content)
    errors = parsed.get("errors") if isinstance(parsed, dict) else None
    return errors if isinstance(errors, list) else []
