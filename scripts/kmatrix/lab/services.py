"""The lab's two servers as containers on 127.0.0.1: image registry and web server."""

from __future__ import annotations

from kmatrix.effects.engine import Engine
from kmatrix.effects.lab.servers import Server, start_server
from kmatrix.lab.layout import LAB_LABEL, Layout
from kmatrix.values.engine import Mount

# Each serves this once the lab is built: a running server that does not has lost its content.
PROOFS = {"lab's image registry": "/v2/lab/driver-toolkit/tags/list", "lab's web server": "/release/"}
_LABELS = {LAB_LABEL: "server"}


def servers(layout: Layout) -> tuple[Server, Server]:
    """Return the registry and the web server of a lab."""
    return (
        Server("lab's image registry", layout.registry_container, layout.registry, "/v2/"),
        Server("lab's web server", layout.web_container, layout.web, "/release/"),
    )


def start_registry(engine: Engine, layout: Layout, image: str) -> bool:
    """Start the registry unless it runs, and return whether it was started; its content, a volume, outlives it."""
    command = ["docker-registry", "serve", "/etc/kmatrix-lab/registry.yml"]
    content = Mount(layout.registry_container, "/var/lib/registry", writable=True)
    return start_server(engine, servers(layout)[0], image, command, 5000, [content], _LABELS)


def start_web(engine: Engine, layout: Layout, image: str) -> bool:
    """Start the web server unless it runs, and return whether it was started."""
    layout.www.mkdir(parents=True, exist_ok=True)
    command = ["nginx", "-c", "/etc/kmatrix-lab/web.conf"]
    content = Mount(str(layout.www), "/srv/www")
    return start_server(engine, servers(layout)[1], image, command, 8080, [content], _LABELS)
