"""Compare modules by the symbols that they need: which module of one kernel would load in another."""

from __future__ import annotations

import hashlib
import json

from kmatrix.values.gate_record import RecordedModule


def abi_of(module: RecordedModule) -> str:
    """Return 16 hexadecimal digits that identify the symbols which a module needs, with their CRCs."""
    text = json.dumps(sorted(module.needs.items()), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
