"""Records of passed gates, put into the registries of tests as this project writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from kmatrix.decide.gate_record import record_image, record_tag
from kmatrix.values.gate_record import GatePass, GateRecord
from tests.unit.support.fake_registry import FakeRegistry
from tests.unit.support.writable_registry import Writable

PASSED = GatePass("2026-01-01T00:00:00Z", "0.1.0")
BOTH = ("static", "boot")


def record_of(digest: str, name: str, cell_key: str = "", gates: Iterable[str] = BOTH) -> GateRecord:
    """A record that an image has passed these gates."""
    return GateRecord(digest, name, cell_key, dict.fromkeys(gates, PASSED))


def put_record(server: FakeRegistry | Writable, path: str, record: GateRecord, tag: str = "") -> None:
    """Have a record in a repository, under its own tag or under another one."""
    image = record_image(record)
    for blob in (image.layer, image.config):
        server.blobs[f"/v2/{path}/blobs/sha256:{hashlib.sha256(blob).hexdigest()}"] = blob
    put_manifest(server, path, tag or record_tag(record.digest), image.manifest.content)


def put_manifest(server: FakeRegistry | Writable, path: str, tag: str, content: bytes) -> None:
    """Have a manifest under a tag."""
    name = f"/v2/{path}/manifests/{tag}"
    if isinstance(server, Writable):
        server.manifests[name] = ("", content)
    else:
        server.manifests[name] = content
