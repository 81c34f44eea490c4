"""Volumes of a pod as a kubelet prepares them on the node, and as its runtime binds them into the container."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SOURCES = {
    "hostPath": frozenset(("path", "type")),
    "emptyDir": frozenset(("medium", "sizeLimit")),
    "secret": frozenset(("secretName", "optional", "defaultMode", "items")),
}


class UntranslatableError(ValueError):
    """The manifest has something that is not known here, or that a kubelet would refuse."""


@dataclass(frozen=True)
class HostPath:
    """A path of the host: a kubelet creates it (`DirectoryOrCreate`), requires it, or does not check it."""

    path: str
    kind: str


@dataclass(frozen=True)
class Tmpfs:
    """An emptyDir in memory; `size` in bytes, 0 for no limit."""

    path: str
    size: int


@dataclass(frozen=True)
class Folder:
    """A folder that the kubelet fills: a Secret's keys as files of a mode, or nothing for an emptyDir."""

    path: str
    files: Mapping[str, bytes]
    mode: int


def only_known(what: str, stated: Mapping[str, Any], known: frozenset[str]) -> None:
    if unknown := sorted(set(stated) - known):
        raise UntranslatableError(f"{what}: not known here: {', '.join(unknown)}")


def volumes_of(
    wishes: list[Mapping[str, Any]], folder: str, secrets: Mapping[str, Mapping[str, bytes]]
) -> tuple[dict[str, str], tuple[HostPath | Tmpfs | Folder, ...]]:
    sources: dict[str, str] = {}
    made: list[HostPath | Tmpfs | Folder] = []
    for wish in wishes:
        path = f"{folder}/volumes/{wish['name']}"
        kind = next((kind for kind in _SOURCES if kind in wish), None)
        if kind is None:
            raise UntranslatableError(f"volume {wish['name']}: its kind is not known here")
        only_known(f"volume {wish['name']}", wish, frozenset(("name", kind)))
        only_known(kind, wish[kind] or {}, _SOURCES[kind])
        if kind == "hostPath":
            path = wish["hostPath"]["path"]
            made.append(HostPath(path, wish["hostPath"].get("type", "")))
        elif kind == "emptyDir":
            stated = wish["emptyDir"] or {}
            memory = stated.get("medium") == "Memory"
            made.append(Tmpfs(path, _bytes(stated.get("sizeLimit", "0"))) if memory else Folder(path, {}, 0o755))
        else:
            made.append(_secret(wish["secret"], path, secrets))
        sources[wish["name"]] = path
    return sources, tuple(made)


def _secret(wish: Mapping[str, Any], path: str, secrets: Mapping[str, Mapping[str, bytes]]) -> Folder:
    content = secrets.get(wish["secretName"])
    if content is None and not wish.get("optional"):
        raise UntranslatableError(f"there is no Secret {wish['secretName']}: the pod would wait for it")
    files = dict(content or {})
    if "items" in wish:
        for item in wish["items"]:
            only_known("item", item, frozenset(("key", "path")))
        missing = [item["key"] for item in wish["items"] if item["key"] not in files]
        if missing and not wish.get("optional"):
            raise UntranslatableError(f"Secret {wish['secretName']} has no {missing[0]}: the pod would wait for it")
        files = {item["path"]: files[item["key"]] for item in wish["items"] if item["key"] in files}
    return Folder(path, files, int(wish.get("defaultMode", 0o644)))


def _bytes(quantity: object) -> int:
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi)?", str(quantity))
    if not match:
        raise UntranslatableError(f"not a size: {quantity}")
    return int(match[1]) * {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[match[2]]


def mount_of(wish: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    only_known("volumeMount", wish, frozenset(("name", "mountPath", "readOnly", "mountPropagation")))
    propagation = {None: "rprivate", "None": "rprivate", "HostToContainer": "rslave"}
    return bind(
        sources[wish["name"]],
        wish["mountPath"],
        read_only=bool(wish.get("readOnly")),
        propagation=propagation[wish.get("mountPropagation")],
    )


def bind(source: str, target: str, *, read_only: bool, propagation: str = "rprivate") -> dict[str, Any]:
    options = ["rbind", propagation, "ro" if read_only else "rw"]
    return {"destination": target, "type": "bind", "source": source, "options": options}
