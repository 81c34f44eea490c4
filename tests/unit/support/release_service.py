"""An update graph and a registry of releases on this machine, which misbehave for single releases as a test says.

Answers have the forms of the real services: Cincinnati (openshift/cincinnati, docs/design/openshift.md and
policy-engine/src/openapiv3.json), and Quay (quay/quay, endpoints/v2/manifest.py; endpoints/v2/blob.py, which redirects
to a storage host; endpoints/v2/v2auth.py), where payloads are public and components need a pull secret.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.unit.support.fake_registry import basic, digest, problem
from tests.unit.support.http_server import Reply, Request, WebServer, web_server
from tests.unit.support.release_images import (
    COMPONENTS,
    MANIFEST,
    PAYLOADS,
    MadePayload,
    MadeRelease,
    Maker,
    Part,
    with_top_layer,
)

CHANNELS = "io.openshift.upgrades.graph.release.channels"
Fault = Callable[[Reply], Reply]


@dataclass
class ReleaseService:
    """The running services: `registry` also has the graph and the token service, `storage` the content of blobs.

    Attributes:
        user: (user, password) that components need; None if everything is public.
        graphs: instead of the graph of all releases, by channel.
        faults: by path, of the registry or of the storage.
        over: set at the end, for answers that never come.
    """

    registry: WebServer
    storage: WebServer
    user: tuple[str, str] | None = None
    graphs: dict[str, Reply] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)
    payloads: dict[str, MadePayload] = field(default_factory=dict)
    contents: dict[str, Reply] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    _maker: Maker = field(default_factory=lambda: Maker(""))

    @property
    def graph(self) -> str:
        """The address of the update graph."""
        return f"{self.registry.url}/api/upgrades_info/v1/graph"

    def publish(self, releases: Iterable[MadeRelease], sample: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Add releases; see `Maker` for the other arguments."""
        self._maker = Maker(self.registry.address, sample, **more)
        for release in releases:
            self._add(self._maker.payload(release))

    def publish_again(self, version: str, payload_layer: bytes) -> None:
        """Give a release another payload, which differs in its topmost layer."""
        before = self.payloads[version]
        payload = with_top_layer(before.images["payload"], payload_layer)
        self._add(replace(before, images={**before.images, "payload": payload}))

    def publish_changed(self, version: str, part: Part, change: Callable[[bytes], bytes]) -> None:
        """Give a release other bytes as the manifest of one of its images, at the address of the image before."""
        before = self.payloads[version]
        image = before.images[part]
        if part == "payload":
            self._add(replace(before, images={**before.images, part: replace(image, manifest=change(image.manifest))}))
            return
        # The payload names the digest of the bytes.
        self._add(self._maker.payload(before.release, {part: change}))

    def _add(self, payload: MadePayload) -> None:
        version = payload.release.version
        self.payloads[version] = payload
        for image in payload.images.values():
            self._put(self.manifest_path(image.repository, image.digest), image.manifest, MANIFEST, version)
            for blob in image.blobs:
                path = f"/v2/{image.repository}/blobs/{digest(blob)}"
                moved = {"Location": f"{self.storage.url}/{digest(blob)}?signature=s3cr3t"}
                self.contents[path] = Reply(302, b"", {**moved, "Docker-Content-Digest": digest(blob)})
                self.owners[path] = version
                self._put(f"/{digest(blob)}", blob, "application/octet-stream", version)

    def image(self, repository: str, tag: str) -> str:
        """Add an image without layers, and return its name."""
        config = b'{"architecture": "amd64", "os": "linux"}'
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
        manifest["config"] = {"mediaType": "application/json", "size": len(config), "digest": digest(config)}
        raw = json.dumps(manifest).encode()
        for name in (tag, digest(raw)):
            self._put(self.manifest_path(repository, name), raw, MANIFEST, "")
        return f"{self.registry.address}/{repository}:{tag}"

    def path(self, version: str, part: Part, what: str = "manifest") -> str:
        """Return the path of a release's `manifest`, or, on the storage, of a `config` or the topmost `layer`."""
        image = self.payloads[version].images[part]
        if what == "manifest":
            return self.manifest_path(image.repository, image.digest)
        return f"/{digest(image.config if what == 'config' else image.layers[-1])}"

    @staticmethod
    def manifest_path(repository: str, name: str) -> str:
        """Return the path of a manifest."""
        return f"/v2/{repository}/manifests/{name}"

    def requests(self, *servers: WebServer) -> Counter[str]:
        """Return the number of requests for the content of each release, to registry and storage, or to one of them."""
        seen = [request for server in servers or (self.registry, self.storage) for request in server.requests]
        return Counter(self.owners[request.path] for request in seen if self.owners.get(request.path))

    def forget_requests(self) -> None:
        """Begin to count from here."""
        self.registry.requests.clear()
        self.storage.requests.clear()
        self.sent.clear()

    def _put(self, path: str, content: bytes, kind: str, owner: str) -> None:
        self.contents[path] = Reply(
            200, content, {"Content-Type": kind, "Docker-Content-Digest": digest(content), "Accept-Ranges": "bytes"}
        )
        self.owners[path] = owner

    def answer(self, request: Request) -> Reply:
        """Answer for either server."""
        reply = self._answer(request)
        fault = self.faults.get(request.path)
        # A request that is refused for want of a token never gets as far as the fault.
        if fault and reply.status != 401:
            reply = fault(reply)
        if owner := self.owners.get(request.path):
            self.sent[owner] += len(reply.body[: reply.cut])
        return reply

    def _answer(self, request: Request) -> Reply:
        if request.path.endswith("/graph"):
            return self._graph(request)
        if request.path == "/v2/auth":
            return self._token(request)
        if request.path.startswith("/v2/") and (refusal := self._refusal(request)):
            return refusal
        unknown = "MANIFEST_UNKNOWN" if "/manifests/" in request.path else "BLOB_UNKNOWN"
        return self.contents.get(request.path) or problem(404, unknown, "not found")

    def _graph(self, request: Request) -> Reply:
        channel = request.query.get("channel", [""])[0]
        if channel in self.graphs:
            return self.graphs[channel]
        minor = channel.rpartition("-")[2]
        versions = [version for version in self.payloads if version.startswith(f"{minor}.")]
        return Reply(200, json.dumps(self.graph_of(channel, versions)).encode(), {"Content-Type": "application/json"})

    def graph_of(self, channel: str, versions: Iterable[str]) -> dict[str, Any]:
        """Return the graph of some releases, each with an update from the one before."""
        nodes = [self._node(version, channel) for version in versions]
        edges = [[number, number + 1] for number in range(len(nodes) - 1)]
        return {"version": 1, "nodes": nodes, "edges": edges, "conditionalEdges": []}

    def _node(self, version: str, channel: str) -> dict[str, Any]:
        payload = self.payloads[version].images["payload"]
        metadata = {CHANNELS: f"candidate-{channel.rpartition('-')[2]},{channel}", "url": "https://errata.example"}
        return {
            "version": version,
            "payload": f"{self.registry.address}/{PAYLOADS}@{payload.digest}",
            "metadata": metadata,
        }

    def _token(self, request: Request) -> Reply:
        shown = request.header("authorization")
        if shown and (self.user is None or shown != basic(*self.user)):
            return problem(401, "UNAUTHORIZED", "Invalid Username or Password")
        repository = request.query["scope"][0].split(":")[1]
        allowed = repository != COMPONENTS or self.user is None or shown is not None
        access = [{"type": "repository", "name": repository, "actions": ["pull"] if allowed else []}]
        claims = {"sub": "robot" if shown else "(anonymous)", "access": access}
        encoded = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return Reply(200, json.dumps({"token": f"e30.{encoded}.c2ln"}).encode(), {"Content-Type": "application/json"})

    def _refusal(self, request: Request) -> Reply | None:
        repository = request.path.removeprefix("/v2/").rsplit("/", 2)[0]
        shown = (request.header("authorization") or "").removeprefix("Bearer ")
        if shown.count(".") == 2:
            claims = json.loads(base64.urlsafe_b64decode(shown.split(".")[1] + "=="))
            if any(entry["name"] == repository and "pull" in entry["actions"] for entry in claims["access"]):
                return None
        realm = f'Bearer realm="{self.registry.url}/v2/auth",service="{self.registry.address}"'
        challenge = f'{realm},scope="repository:{repository}:pull"'
        return problem(401, "UNAUTHORIZED", "access to the requested resource", **{"WWW-Authenticate": challenge})


@contextmanager
def release_service() -> Iterator[ReleaseService]:
    """Run the services on free ports; stop them at the end."""
    nothing: Callable[[Request], Reply] = lambda _: Reply(503)  # noqa: E731
    with web_server(nothing) as registry, web_server(nothing) as storage:
        service = ReleaseService(registry, storage)
        registry.answer = storage.answer = service.answer
        try:
            yield service
        finally:
            service.over.set()
