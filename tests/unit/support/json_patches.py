"""JSON pointers and patches (RFC 6901 and RFC 6902), as far as kustomizations here use them."""

from __future__ import annotations

from typing import Any


def at(document: Any, pointer: str) -> Any:
    """Return the value that a JSON pointer points at, or None."""
    for part in pointer.removeprefix("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            document = document[int(key) if isinstance(document, list) else key]
        except (KeyError, IndexError):
            return None
    return document


def changes(operation: dict[str, Any], document: dict[str, Any]) -> bool:
    """Return whether an operation of a JSON patch finds its place: an existing value, or a list's end for `add`."""
    path, _, last = operation["path"].rpartition("/")
    if operation["op"] == "add":
        return last == "-" and isinstance(at(document, path), list)
    return operation["op"] in {"replace", "remove"} and at(document, operation["path"]) is not None
