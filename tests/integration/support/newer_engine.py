"""A second, newer engine: Debian's newest Docker with containerd's image store, in a container of the first one.

It shares the host's network, so that it reaches the same registries on 127.0.0.1, and has a bridge of its own: without
one, a Docker daemon deletes `docker0` under the engine that runs there. All it has is removed with its container.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors
from docker.types import Mount
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from tests.integration.support.session import LABEL, Session

_SUITE = "sid"
_PACKAGES = "docker.io,containerd,runc,ca-certificates"
_READY = "API listen on"
_START_SECONDS = 120
_END_SECONDS = 300


@dataclass(frozen=True)
class NewerEngine:
    """A running engine: where it listens, as DOCKER_HOST has it, and its version."""

    host: str
    version: str


@contextmanager
def newer_engine(session: Session, folder: Path) -> Iterator[NewerEngine]:
    """Run the engine; it is removed at the end, with all its images and containers.

    Args:
        session: labels its container and its network.
        folder: for its packages and its socket.
    """
    # Removing a daemon's store takes time on a busy machine.
    client = docker.from_env(timeout=_END_SECONDS)
    repository = "kmatrix-test/newer-engine"
    name = f"{repository}:{session.name}"
    sockets = folder / "run"
    sockets.mkdir()
    try:
        archive = folder / "root.tar"
        _unpack(archive)
        changes = [f'LABEL {LABEL}="{session.name}"', "ENV PATH=/usr/sbin:/usr/bin"]
        client.api.import_image(str(archive), repository=repository, tag=session.name, changes=changes)
        with Network(docker_network_kw={"labels": {LABEL: session.name}}) as network:
            assert network.id
            (folder / "daemon.json").write_text(json.dumps(_options(f"br-{network.id[:12]}")), encoding="utf-8")
            container = DockerContainer(name).with_command(["dockerd"])
            container.with_kwargs(
                labels={LABEL: session.name},
                network_mode="host",
                cgroupns="host",
                # A machine that is a container itself may have less than all that "privileged" asks for.
                cap_add=["SYS_ADMIN", "NET_ADMIN"],
                security_opt=["seccomp=unconfined", "apparmor=unconfined"],
                # An overlay cannot lie on an overlay; a nameless volume is removed with its container.
                mounts=[Mount("/var/lib/docker", None, type="volume")],
            )
            container.with_volume_mapping(str(folder / "daemon.json"), "/etc/docker/daemon.json", "ro")
            container.with_volume_mapping(str(sockets), "/sockets", "rw")
            container.with_volume_mapping("/sys/fs/cgroup", "/sys/fs/cgroup", "rw")
            container.waiting_for(LogMessageWaitStrategy(_READY).with_startup_timeout(_START_SECONDS))
            with _running(client, container):
                host = f"unix://{sockets / 'docker.sock'}"
                newer = docker.DockerClient(base_url=host)
                try:
                    yield NewerEngine(host, str(newer.version()["Version"]))
                finally:
                    newer.close()
    finally:
        with suppress(docker.errors.ImageNotFound):
            client.images.remove(name)
        client.close()


@contextmanager
def _running(client: docker.DockerClient, container: DockerContainer) -> Iterator[None]:
    """Run a container; an error about its start contains its log."""
    try:
        container.start()
    except RuntimeError as error:
        log = container.get_wrapped_container().logs(tail=15).decode("utf-8", "replace")
        client.api.remove_container(str(container.get_wrapped_container().id), force=True, v=True)
        raise AssertionError(f"the newer engine did not start:\n{log}") from error
    try:
        yield
    finally:
        client.api.remove_container(str(container.get_wrapped_container().id), force=True, v=True)


def _options(bridge: str) -> dict[str, object]:
    return {
        "features": {"containerd-snapshotter": True},
        "hosts": ["unix:///sockets/docker.sock"],
        "bridge": bridge,
        "iptables": False,
        "ip6tables": False,
        "ip-masq": False,
        "ip-forward": False,
    }


def _unpack(archive: Path) -> None:
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        f"--include={_PACKAGES}",
        # The newest suite may come from a mirror, days late.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(
            f'--setup-hook=mkdir -p "$1/usr/{name}" && ln -s usr/{name} "$1/{name}"'
            for name in ("bin", "lib", "lib64", "sbin")
        ),
        _SUITE,
        str(archive),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
