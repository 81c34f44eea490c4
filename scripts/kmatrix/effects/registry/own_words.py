"""What a registry itself says of a refusal: often the only thing that tells why."""

from __future__ import annotations

import json

import requests


def words_of(response: requests.Response) -> str:
    """Return a registry's own words, in brackets on one line after a blank; empty where it has none.

    The form is that of opencontainers/distribution-spec, spec.md ("Error Codes"), which token services use as well.
    """
    try:
        errors = json.loads(response.content)["errors"]
        parts = [(str(error.get("code") or ""), str(error.get("message") or "")) for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, requests.RequestException):
        return ""
    told = "; ".join(": ".join(part for part in pair if part) for pair in parts if any(pair))
    return f" ({' '.join(told.split())[:300]})" if told.strip() else ""
