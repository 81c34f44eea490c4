"""The lab's two servers as containers on 127.0.0.1: image registry and web server."""

from __future__ import annotations

from kmatrix.effects.engine.docker import Engine
from kmatrix.effects.lab.servers import Server, start_server
from kmatrix.lab.layout import LAB_LABEL, Layout

# What each serves once the lab is made: a server that runs and has it not lost its content.
PROOFS = {"lab's image registry": "/v2/lab/driver-toolkit/tags/list", "lab's web server": "/release/"}
_LABELS = {LAB_LABEL: "server"}


def servers(layout: Layout) -> tuple[Server, Server]:
    """The registry and the web server of a lab."""
    return (
        Server("lab's image registry", layout.registry_container, layout.registry, "/v2/"),
        Server("lab's web server", layout.web_container, layout.web, "/release/"),
    )


def start_registry(engine: Engine, layout: Layout, image: str) -> bool:
    """Start the registry unless it runs; its content is a volume that outlives it. Whether it was started."""
    command = ["docker-registry", "serve", "/etc/kmatrix-lab/registry.yml"]
    volumes = {layout.registry_container: {"bind": "/var/lib/registry", "mode": "rw"}}
    return start_server(engine, servers(layout)[0], image, command, 5000, {**volumes}, _LABELS)


def start_web(engine: Engine, layout: Layout, image: str) -> bool:
    """Start the web server unless it runs. Whether it was started."""
    layout.www.mkdir(parents=True, exist_ok=True)
    command = ["nginx", "-c", "/etc/kmatrix-lab/web.conf"]
    volumes = {str(layout.www): {"bind": "/srv/www", "mode": "ro"}}
    return start_server(engine, servers(layout)[1], image, command, 8080, {**volumes}, _LABELS)
