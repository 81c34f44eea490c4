"""JSON pointers and patches (RFC 6901 and RFC 6902), as far as kustomizations here use them."""

from __future__ import annotations

from typing import Any


def at(document: Any, pointer: str) -> Any:
    """What a JSON pointer points at, if anything."""
    for part in pointer.removeprefix("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            document = document[int(key) if isinstance(document, list) else key]
        except (KeyError, IndexError):
            return None
    return document


def changes(operation: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether an operation of a JSON patch finds its place: something that is there, or for `add` the end of a list."""
    path, _, last = operation["path"].rpartition("/")
    if operation["op"] == "add":
        return last == "-" and isinstance(at(document, path), list)
    return operation["op"] in {"replace", "remove"} and at(document, operation["path"]) is not None
