"""Throw-away servers that fail: registries with passwords, proxies that misbehave, servers that go away."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
import requests
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy

from tests.integration.support.lab import Lab
from tests.integration.support.registries import ThrowAwayRegistry
from tests.integration.support.session import LABEL, Session
from tests.unit.support.http_server import closed_port

_SCRIPT = Path(__file__).with_name("misbehaving_proxy.py")
_REGISTRY = ("docker-registry", "serve", "/etc/kmatrix-lab/registry.yml")
_WEB = ("nginx", "-c", "/etc/kmatrix-lab/web.conf")
READ = ["GET", "HEAD"]
WRITE = ["POST", "PUT", "PATCH"]


@dataclass(frozen=True)
class Server:
    """A server on 127.0.0.1 that may be stopped and started again, at the same address and with the same content."""

    address: str
    container: DockerContainer
    ready: HttpWaitStrategy

    def stop(self) -> None:
        """Stop it at once."""
        self.container.get_wrapped_container().stop(timeout=0)

    def start(self) -> None:
        """Start it again and wait until it answers."""
        self.container.get_wrapped_container().start()
        self.ready.wait_until_ready(self.container)


@contextmanager
def _server(
    lab: Lab,
    session: Session,
    command: tuple[str, ...],
    port: int,
    ready_path: str,
    *,
    files: Mapping[Path, str] | None = None,
    environment: Mapping[str, str] | None = None,
    network: Network | None = None,
    alias: str = "",
    image: str = "",
) -> Iterator[Server]:
    """Run a server, by default of the lab's services image, with `files` mounted read-only (path here: path there)."""
    ready = HttpWaitStrategy(port, ready_path).for_status_code_matching(lambda code: code in (200, 401))
    container = DockerContainer(image or lab.services).with_command(list(command)).waiting_for(ready)
    for path, place in (files or {}).items():
        container.with_volume_mapping(str(path), place, "ro")
    for name, value in (environment or {}).items():
        container.with_env(name, value)
    if network:
        container.with_network(network).with_network_aliases(alias)
    # A port that the engine chooses would change with each start.
    published = closed_port()
    cast("dict[str, Any]", container.ports)[f"{port}/tcp"] = ("127.0.0.1", published)
    with container.with_kwargs(labels={LABEL: session.name}):
        yield Server(f"127.0.0.1:{published}", container, ready)


@contextmanager
def stoppable_registry(lab: Lab, session: Session) -> Iterator[tuple[Server, ThrowAwayRegistry]]:
    """Run a registry that may be stopped."""
    with _server(lab, session, _REGISTRY, 5000, "/v2/") as server:
        yield server, ThrowAwayRegistry(server.address, server.container)


@contextmanager
def stoppable_packages(lab: Lab, session: Session) -> Iterator[Server]:
    """Serve the lab's graph and packages from a server that may be stopped."""
    with _server(lab, session, _WEB, 8080, "/release/", files={lab.layout.www: "/srv/www"}) as server:
        yield server


@dataclass(frozen=True)
class Closed(ThrowAwayRegistry):
    """A registry with a password."""

    user: str
    password: str

    def _ask(self, method: str, path: str, **headers: str) -> requests.Response:
        url = f"http://{self.address}/v2/{path}"
        return requests.request(method, url, headers=headers, auth=(self.user, self.password), timeout=30)

    def config(self, repository: str, reference: str) -> bytes:
        """Return the configuration of an image, history included."""
        digest = self.manifest(repository, reference)["config"]["digest"]
        return self._ask("GET", f"{repository}/blobs/{digest}").content

    def asked(self, path: str) -> int:
        """Return the number of requests for anything below a path."""
        # The log may be late, but it is in order.
        last = f"last-{secrets.token_hex(8)}"
        self.tags(last)
        log = ""
        for part in self.container.get_wrapped_container().logs(stream=True, follow=True, stderr=False):
            log += part.decode()
            if f"/{last}/" in log:
                break
        return log.count(f'"GET /v2/{path}/')


@contextmanager
def closed_registry(lab: Lab, session: Session, folder: Path, user: str, password: str) -> Iterator[Closed]:
    """Run a registry with htpasswd authentication.

    Args:
        lab: its image is used.
        session: its label is set.
        folder: for the password file.
        user: the only user that it knows.
        password: the user's password.
    """
    client = docker.from_env()
    try:
        line = client.containers.run(
            lab.services, ["htpasswd", "-Bbn", user, password], remove=True, labels={LABEL: session.name}
        )
    finally:
        client.close()
    (folder / "htpasswd").write_bytes(line)
    environment = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "throw-away",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/etc/htpasswd",
    }
    files = {folder / "htpasswd": "/etc/htpasswd"}
    with _server(lab, session, _REGISTRY, 5000, "/v2/", files=files, environment=environment) as server:
        yield Closed(server.address, server.container, user, password)


@dataclass(frozen=True)
class Proxy:
    """A proxy at `address` in front of a registry; `registry` reaches the registry past it."""

    address: str
    registry: ThrowAwayRegistry

    def faults(self, *faults: dict[str, Any]) -> None:
        """Misbehave in these ways from now on, and forget earlier requests."""
        requests.post(f"http://{self.address}/-/faults", json=faults, timeout=30).raise_for_status()

    def asked(self, part: str = "", methods: list[str] | None = None) -> list[dict[str, Any]]:
        """Return the requests, in order, whose paths contain `part`."""
        response = requests.get(f"http://{self.address}/-/requests", timeout=30)
        response.raise_for_status()
        wanted = methods or READ + WRITE
        return [request for request in response.json() if part in request["path"] and request["method"] in wanted]


def fault(
    do: dict[str, Any], path: str = "/v2/", methods: list[str] | None = None, times: int | None = 1
) -> dict[str, Any]:
    """Return a fault for `Proxy.faults` (see misbehaving_proxy.py), by default of reading; `times` None is for ever."""
    return {"methods": methods or READ, "path": path, "times": times, "do": do}


@contextmanager
def misbehaving_proxy(lab: Lab, session: Session) -> Iterator[Proxy]:
    """Run a registry of its own with a proxy in front, on a network of their own."""
    with (
        Network(docker_network_kw={"labels": {LABEL: session.name}}) as network,
        _server(lab, session, _REGISTRY, 5000, "/v2/", network=network, alias="behind") as behind,
        _server(
            lab,
            session,
            ("python3", "/misbehaving_proxy.py", "behind:5000", "8000"),
            8000,
            "/-/requests",
            files={_SCRIPT: "/misbehaving_proxy.py"},
            network=network,
            alias="proxy",
            # The services image has no more of Python than Debian's smallest package.
            image=lab.workshop,
        ) as proxy,
    ):
        yield Proxy(proxy.address, ThrowAwayRegistry(behind.address, behind.container))
