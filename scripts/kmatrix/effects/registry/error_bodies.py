"""Error responses of registries: often the only source of the reason for a refusal.

The form is that of opencontainers/distribution-spec, spec.md ("Error Codes"); token services use it as well.
"""

from __future__ import annotations

import json

import requests


def is_error_body(content: bytes) -> bool:
    """Return whether a body has the form that the protocol demands of errors; a proxy's own page does not."""
    try:
        parsed = json.loads(content)
    except ValueError:
        return False
    return isinstance(parsed, dict) and isinstance(parsed.get("errors"), list) and bool(parsed["errors"])


def error_detail(response: requests.Response) -> str:
    """Return a registry's own error message, as ` (CODE: message)` on one line; empty if it sent none."""
    try:
        errors = json.loads(response.content)["errors"]
        parts = [(str(error.get("code") or ""), str(error.get("message") or "")) for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, requests.RequestException):
        return ""
    message = "; ".join(": ".join(part for part in pair if part) for pair in parts if any(pair))
    return f" ({' '.join(message.split())[:300]})" if message.strip() else ""
