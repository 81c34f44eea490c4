"""An image registry in memory, on the protocol's own terms, with each kind of authentication."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import zstandard

from kmatrix.values.names import ImageRef
from tests.unit.support.http_server import Reply, Request, WebServer, web_server

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(files: dict[str, bytes], compression: str = "gzip") -> tuple[str, bytes]:
    """Return a layer as media type and blob."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("etc")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = buffer.getvalue()
    if compression == "gzip":
        return f"{LAYER}+gzip", gzip.compress(data, mtime=0)
    if compression == "zstd":
        return f"{LAYER}+zstd", zstandard.compress(data)
    return LAYER, data


def problem(status: int, code: str, message: str = "no", **headers: str) -> Reply:
    """Return an error in the protocol's form."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status, body, {"Content-Type": "application/json", **headers})


@dataclass
class FakeRegistry:
    """The contents of a registry and its way of authentication; its token service is on the same server."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    instead: dict[str, Reply] = field(default_factory=dict)
    authorization: str = ""
    challenge: str = ""
    web: WebServer = field(init=False)

    def image(self, name: str, layers: list[tuple[str, bytes]], config: Any) -> ImageRef:
        """Add an image, and return its reference by tag."""
        raw = json.dumps(config).encode()
        entries = [
            {"digest": self.blob(name, blob), "mediaType": media_type, "size": len(blob)} for media_type, blob in layers
        ]
        config_entry = {"digest": self.blob(name, raw), "mediaType": "application/json", "size": len(raw)}
        return self.manifest(name, {"mediaType": MANIFEST, "config": config_entry, "layers": entries})

    def blob(self, name: str, content: bytes) -> str:
        found = digest(content)
        self.blobs[f"/v2/{name}/blobs/{found}"] = content
        return found

    def manifest(self, name: str, content: Any, tag: str = "1") -> ImageRef:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.manifests[f"/v2/{name}/manifests/{tag}"] = raw
        self.manifests[f"/v2/{name}/manifests/{digest(raw)}"] = raw
        return ImageRef.parse(f"{self.web.address}/{name}:{tag}")

    def requests(self, part: str) -> list[Request]:
        """Return the requests whose paths contain `part`."""
        return [request for request in self.web.requests if part in request.path]

    def answer(self, request: Request) -> Reply:
        if request.path in self.instead:
            return self.instead[request.path]
        if self.authorization and request.header("authorization") != self.authorization:
            return problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": self.challenge})
        if request.path in self.manifests:
            return Reply(200, self.manifests[request.path], {"Content-Type": MANIFEST})
        if request.path in self.blobs:
            return Reply(200, self.blobs[request.path])
        return problem(404, "MANIFEST_UNKNOWN" if "/manifests/" in request.path else "NAME_UNKNOWN")


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    """Run a registry on a free port; stop it at the end."""
    registry = FakeRegistry()
    with web_server(registry.answer) as registry.web:
        yield registry
