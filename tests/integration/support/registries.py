"""Throw-away image registries on 127.0.0.1, run from the lab's services image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from testcontainers.core.container import DockerContainer

from tests.integration.support.lab import Lab
from tests.integration.support.session import Session

_PORT = 5000
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class ThrowAwayRegistry:
    """A running registry; `address` is HOST:PORT."""

    address: str
    container: DockerContainer

    def tags(self, repository: str) -> set[str]:
        """Return the tags of a repository's images, without those of records, signatures and attestations.

        There are none if the registry does not know the repository.
        """
        return {tag for tag in self._tags(repository) if not tag.startswith("sha256-")}

    def signed(self, repository: str) -> set[str]:
        """Return the digests that have a signature in cosign's classic form."""
        begin, end = "sha256-", ".sig"
        tags = {tag for tag in self._tags(repository) if tag.startswith(begin) and tag.endswith(end)}
        return {f"sha256:{tag.removeprefix(begin).removesuffix(end)}" for tag in tags}

    def repositories(self) -> set[str]:
        """Return the names of all repositories that were ever pushed here."""
        response = requests.get(f"http://{self.address}/v2/_catalog?n=1000", timeout=30)
        response.raise_for_status()
        return set(response.json()["repositories"])

    def manifest(self, repository: str, reference: str) -> dict[str, Any]:
        """Return the manifest of a tag or digest."""
        response = self._ask("GET", f"{repository}/manifests/{reference}", Accept=_MANIFEST)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    def digest(self, repository: str, tag: str) -> str:
        """Return the digest that a tag has now."""
        response = self._ask("HEAD", f"{repository}/manifests/{tag}", Accept=_MANIFEST)
        response.raise_for_status()
        return response.headers["Docker-Content-Digest"]

    def delete(self, repository: str, tag: str) -> None:
        """Remove a tag, with the manifest it names."""
        response = self._ask("DELETE", f"{repository}/manifests/{self.digest(repository, tag)}")
        response.raise_for_status()

    def _tags(self, repository: str) -> list[str]:
        response = self._ask("GET", f"{repository}/tags/list")
        if response.status_code == requests.codes.not_found:
            return []
        response.raise_for_status()
        return response.json()["tags"] or []

    def _ask(self, method: str, path: str, **headers: str) -> requests.Response:
        return requests.request(method, f"http://{self.address}/v2/{path}", headers=headers, timeout=30)


@contextmanager
def throw_away_registry(lab: Lab, session: Session, **options: Any) -> Iterator[ThrowAwayRegistry]:
    """Run a registry on a free port of 127.0.0.1; it is removed at the end, with everything in it.

    Args:
        lab: its services image is used.
        session: labels the container.
        options: further options of the engine's API for a container.
    """
    command = ["docker-registry", "serve", "/etc/kmatrix-lab/registry.yml"]
    with session.server(lab.services, command, _PORT, "/v2/", **options) as (address, container):
        yield ThrowAwayRegistry(address, container)
