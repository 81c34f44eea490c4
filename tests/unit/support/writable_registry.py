"""An image registry in memory that takes uploads, on the protocol's own terms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import docker.auth

from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import digest, problem
from tests.unit.support.http_server import Reply, Request, WebServer, web_server


@dataclass
class Writable:
    """Its contents by path; `before` may answer the next requests instead; `place` is the address for a blob."""

    repository: str
    place: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    before: list[Reply | None] = field(default_factory=list)
    web: WebServer = field(init=False)

    def answer(self, request: Request) -> Reply:
        instead = self.before.pop(0) if self.before else None
        if instead is not None:
            return instead
        path = request.path
        if request.method == "POST":
            return Reply(202, headers={"Location": self.place})
        if request.method == "PUT" and "/uploads/" in path:
            assert request.query.get("state") in (["a&b"], None)
            self.blobs[f"/v2/{self.repository}/blobs/{request.query['digest'][0]}"] = request.body
            return Reply(201)
        if request.method == "PUT":
            found = digest(request.body)
            listed = [entry["digest"] for entry in json.loads(request.body).get("manifests", ())]
            if any(f"{path.rpartition('/')[0]}/{each}" not in self.manifests for each in listed):
                return problem(400, "MANIFEST_BLOB_UNKNOWN")
            for name in (path.rpartition("/")[2], found):
                self.manifests[f"{path.rpartition('/')[0]}/{name}"] = (
                    request.header("content-type") or "",
                    request.body,
                )
            return Reply(201, headers={"Docker-Content-Digest": found})
        if "/manifests/" in path:
            return Reply(200, self.manifests[path][1]) if path in self.manifests else problem(404, "MANIFEST_UNKNOWN")
        if "/blobs/" in path:
            return Reply(200, self.blobs[path]) if path in self.blobs else problem(404, "BLOB_UNKNOWN")
        if "/referrers/" in path:
            return Reply(404, b"404 page not found\n")
        return Reply(200, b'{"name": "any", "tags": []}')

    def sent(self) -> list[str]:
        """Return the requests for its repository, as `METHOD path`."""
        return [f"{each.method} {each.path.removeprefix(f'/v2/{self.repository}')}" for each in self.web.requests]


@contextmanager
def writable_registry(repository: str) -> Iterator[Writable]:
    """Run a registry on a free port; stop it at the end."""
    registry = Writable(repository, f"/v2/{repository}/blobs/uploads/1?state=a%26b")
    with web_server(registry.answer) as registry.web:
        yield registry


def ref(server: Writable, tag: str = "") -> ImageRef:
    return ImageRef.parse(f"{server.web.address}/team/image{':' if tag else ''}{tag}")


def writer(server: Writable, password: str | None = None) -> RegistryWriter:
    entries = {server.web.address: ("robot", password)} if password else {}
    return RegistryWriter(Credentials(entries, "the-file", docker.auth.AuthConfig({})))
