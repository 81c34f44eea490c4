"""Servers in Docker's containers, with an address on this machine and content in volumes."""

from __future__ import annotations

import docker.errors

from kmatrix.effects.engine.docker.connection import Connection
from kmatrix.effects.engine.docker.containers import bound
from kmatrix.effects.engine.docker.errors import engine_errors
from kmatrix.effects.engine.errors import AddressInUseError
from kmatrix.values.engine import ServerContainer
from kmatrix.values.errors import ToolError


class Servers(Connection):
    """See `Engine` for every public method."""

    def start_server(self, server: ServerContainer) -> None:
        """See `Engine.start_server`."""
        host, _, published = server.address.partition(":")
        with engine_errors(f"create the container {server.container}"):
            config = self._api.create_host_config(
                port_bindings={server.port: (host, int(published))},
                binds=bound(server.mounts),
                restart_policy={"Name": "no"},
            )
            created = self._api.create_container(
                server.image,
                list(server.command),
                name=server.container,
                ports=[server.port],
                host_config=config,
                labels=dict(server.labels),
            )
        try:
            with engine_errors(f"start the container {server.container}"):
                self._api.start(created["Id"])
        except ToolError as error:
            self.remove_container(created["Id"])
            # Of Docker's own books ("port is already allocated"), or of the kernel ("address already in use").
            if "already" in str(error) or "in use" in str(error):
                raise AddressInUseError(error.message, error.hint) from error
            raise

    def server_runs(self, container: str) -> bool:
        """See `Engine.server_runs`."""
        with engine_errors(f"look for the container {container}"):
            found = self._api.containers(all=True, filters={"name": f"^/{container}$"})
        return bool(found) and found[0]["State"] == "running"

    def stop_server(self, container: str) -> bool:
        """See `Engine.stop_server`."""
        with engine_errors(f"look for the container {container}"):
            found = self._api.containers(all=True, quiet=True, filters={"name": f"^/{container}$"})
        for entry in found:
            self.remove_container(entry["Id"])
        return bool(found)

    def server_log(self, container: str, lines: int) -> str | None:
        """See `Engine.server_log`."""
        try:
            with engine_errors(f"read the log of the container {container}", absent_passes=True):
                return str(self._api.logs(container, tail=lines).decode("utf-8", "replace")).strip()
        except docker.errors.NotFound:
            return None

    def servers_on(self, port: int) -> tuple[str, ...]:
        """See `Engine.servers_on`."""
        with engine_errors("list containers"):
            found = self._api.containers(filters={"publish": str(port)})
        return tuple(str(entry["Names"][0]).lstrip("/") for entry in found)

    def remove_volume(self, name: str) -> None:
        """See `Engine.remove_volume`."""
        try:
            with engine_errors(f"remove the volume {name}", absent_passes=True):
                self._api.remove_volume(name)
        except docker.errors.NotFound:
            return
