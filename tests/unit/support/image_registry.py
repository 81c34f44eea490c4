"""An image registry of several repositories in memory: it mounts blobs, lists tags in pages, and deletes by digest.

It answers as distribution/distribution does: registry/handlers/manifests.go (a delete takes every tag of the manifest
with it), tags.go (pages, NAME_UNKNOWN), blobupload.go (201 for a blob that was mounted, else 202).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker.auth

from kmatrix.decide.cell_manifest import CONFIG
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import MANIFEST, digest, problem
from tests.unit.support.http_server import Reply, Request, WebServer, web_server

NO_CREDENTIALS = Credentials({}, "no-file", docker.auth.AuthConfig({}))


@dataclass
class Repository:
    """Its blobs and manifests by digest, and the digest of every tag."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class ImageRegistry:
    """A running registry.

    `page` is the number of tags in one answer, 0 for all; `mounts` and `deletes` are whether it does so; `referrers`
    has the subject of each manifest, or is None for a registry without that interface; `referrers_page` is the number
    of them in one answer, 0 for all. `instead` may answer any request.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    page: int = 0
    mounts: bool = True
    deletes: bool = True
    referrers: dict[str, str] | None = None
    referrers_page: int = 0
    instead: Callable[[Request], Reply | None] = lambda _: None
    web: WebServer = field(init=False)

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def ref(self, name: str, tag: str = "") -> ImageRef:
        return ImageRef.parse(f"{self.web.address}/{name}{':' if tag else ''}{tag}")

    def put(self, name: str, tag: str, content: bytes, media_type: str = MANIFEST) -> str:
        """Have a manifest, under a tag if there is one; returns its digest."""
        found = digest(content)
        self.repository(name).manifests[found] = (media_type, content)
        if tag:
            self.repository(name).tags[tag] = found
        return found

    def image(self, name: str, tag: str, config: Any, layers: tuple[bytes, ...] = (b"base",), **more: Any) -> str:
        """Have an image with all its blobs; returns the digest of its manifest."""
        raw = json.dumps(config).encode()
        for blob in (raw, *layers):
            self.repository(name).blobs[digest(blob)] = blob
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(raw), "size": len(raw)},
            "layers": [{"mediaType": "x", "digest": digest(blob), "size": len(blob)} for blob in layers],
            **more,
        }
        return self.put(name, tag, json.dumps(content).encode())

    def sent(self, *methods: str) -> list[str]:
        """Return the requests of these methods, as `METHOD path`."""
        found = [each for each in self.web.requests if each.method in methods or not methods]
        return [f"{each.method} {each.path.removeprefix('/v2/')}" for each in found]

    def answer(self, request: Request) -> Reply:
        if (instead := self.instead(request)) is not None:
            return instead
        path = request.path.removeprefix("/v2/")
        for part in ("blobs/uploads", "tags", "manifests", "blobs", "referrers"):
            name, found, rest = path.partition(f"/{part}/")
            if found:
                return {
                    "blobs/uploads": self._upload,
                    "tags": self._tags,
                    "manifests": self._manifest,
                    "blobs": self._blob,
                    "referrers": self._referrers,
                }[part](request, name, rest)
        return Reply(404, b"404 page not found\n")

    def _upload(self, request: Request, name: str, rest: str) -> Reply:
        if request.method == "PUT":
            self.repository(name).blobs[digest(request.body)] = request.body
            return Reply(201)
        wanted, source = request.query.get("mount", [""])[0], request.query.get("from", [""])[0]
        there = self.repositories[source].blobs if self.mounts and source in self.repositories else {}
        if wanted in there:
            self.repository(name).blobs[wanted] = there[wanted]
            return Reply(201)
        return Reply(202, headers={"Location": f"/v2/{name}/blobs/uploads/1"})

    def _blob(self, request: Request, name: str, rest: str) -> Reply:
        blobs = self.repositories.get(name, Repository()).blobs
        return Reply(200, blobs[rest]) if rest in blobs else problem(404, "BLOB_UNKNOWN")

    def _tags(self, request: Request, name: str, rest: str) -> Reply:
        if name not in self.repositories:
            return problem(404, "NAME_UNKNOWN")
        last = request.query.get("last", [""])[0]
        left = sorted(tag for tag in self.repositories[name].tags if tag > last)
        shown = left[: self.page] if self.page else left
        body = json.dumps({"name": name, "tags": shown}).encode()
        if len(shown) == len(left):
            return Reply(200, body)
        return Reply(200, body, {"Link": f'</v2/{name}/tags/list?last={shown[-1]}&n={self.page}>; rel="next"'})

    def _manifest(self, request: Request, name: str, rest: str) -> Reply:
        there = self.repository(name) if request.method == "PUT" else self.repositories.get(name, Repository())
        found = there.tags.get(rest, rest)
        if request.method == "PUT":
            content = json.loads(request.body)
            blobs = [each["digest"] for each in (content.get("config"), *content.get("layers", ())) if each]
            listed = [each["digest"] for each in content.get("manifests", ())]
            if any(each not in there.blobs for each in blobs) or any(each not in there.manifests for each in listed):
                return problem(400, "MANIFEST_BLOB_UNKNOWN")
            tag = "" if rest.startswith("sha256:") else rest
            put = self.put(name, tag, request.body, request.header("content-type") or "")
            headers = {"Docker-Content-Digest": put}
            if self.referrers is not None and "subject" in content:
                self.referrers[put] = content["subject"]["digest"]
                headers["OCI-Subject"] = self.referrers[put]
            return Reply(201, headers=headers)
        if request.method == "DELETE" and not self.deletes:
            return problem(405, "UNSUPPORTED", "The operation is unsupported.")
        if found not in there.manifests:
            return problem(404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            if not rest.startswith("sha256:"):
                return problem(400, "DIGEST_INVALID")
            del there.manifests[found]
            there.tags = {tag: named for tag, named in there.tags.items() if named != found}
            return Reply(202)
        media_type, content = there.manifests[found]
        return Reply(200, content, {"Content-Type": media_type, "Docker-Content-Digest": found})

    def _referrers(self, request: Request, name: str, rest: str) -> Reply:
        if self.referrers is None:
            return Reply(404, b"404 page not found\n")
        there = self.repositories.get(name, Repository()).manifests
        found = [each for each, subject in self.referrers.items() if subject == rest and each in there]
        start = int(request.query.get("start", ["0"])[0])
        end = start + self.referrers_page if self.referrers_page else len(found)
        entries = [_entry(each, json.loads(there[each][1])) for each in found[start:end]]
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        if end < len(found):
            headers["Link"] = f'</v2/{name}/referrers/{rest}?start={end}>; rel="next"'
        return Reply(200, json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), headers)


def _entry(digest: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a descriptor of a list of referrers, as spec.md has it: with the type and annotations of the manifest."""
    return {"digest": digest, **{key: manifest[key] for key in ("artifactType", "annotations") if key in manifest}}


@contextmanager
def image_registry() -> Iterator[ImageRegistry]:
    """Run a registry on a free port; stop it at the end."""
    registry = ImageRegistry()
    with web_server(registry.answer) as registry.web:
        yield registry
